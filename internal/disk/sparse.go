package disk

import "bytes"

const (
	sectorSize = 512
	pageSize   = 4096
)

type page [pageSize]byte

// sparse is the content of a file in memory: pages that were never written, or
// that a hole covers, cost nothing and read as zero.
//
// Invariant: every byte at or beyond size, within a page, is zero.
type sparse struct {
	size  int64
	pages map[int64]*page // by offset / pageSize
}

func (s *sparse) readAt(p []byte, off int64) int {
	if off >= s.size {
		return 0
	}
	p = p[:min(int64(len(p)), s.size-off)]
	eachPage(off, int64(len(p)), func(index, from, to, done int64) {
		if pg := s.pages[index]; pg != nil {
			copy(p[done:], pg[from:to])
		} else {
			clear(p[done : done+to-from])
		}
	})
	return len(p)
}

func (s *sparse) writeAt(p []byte, off int64) {
	eachPage(off, int64(len(p)), func(index, from, to, done int64) {
		copy(s.page(index)[from:to], p[done:])
	})
	s.size = max(s.size, off+int64(len(p)))
}

func (s *sparse) page(index int64) *page {
	pg := s.pages[index]
	if pg == nil {
		pg = new(page)
		if s.pages == nil {
			s.pages = map[int64]*page{}
		}
		s.pages[index] = pg
	}
	return pg
}

// zero makes the bytes from off to end read as zero, whatever the size, and
// calls changed for each sector that held something there.
func (s *sparse) zero(off, end int64, changed func(sector int64)) {
	for index, pg := range s.pages {
		from, to := max(off, index*pageSize), min(end, (index+1)*pageSize)
		for at := from; at < to; {
			next := min(to, (at/sectorSize+1)*sectorSize)
			clear(pg[at-index*pageSize : next-index*pageSize])
			changed(at / sectorSize)
			at = next
		}
		if to-from == pageSize {
			delete(s.pages, index)
		}
	}
}

// copySector takes one sector, whatever the size, from other.
func (s *sparse) copySector(other *sparse, sector int64) {
	index, from := sector*sectorSize/pageSize, sector*sectorSize%pageSize
	src := other.pages[index]
	if src == nil {
		if dst := s.pages[index]; dst != nil {
			clear(dst[from : from+sectorSize])
		}
		return
	}
	copy(s.page(index)[from:from+sectorSize], src[from:from+sectorSize])
}

func (s *sparse) resize(size int64) {
	s.zero(size, max(size, s.size), func(int64) {})
	s.size = size
}

func (s *sparse) clone() sparse {
	c := sparse{size: s.size, pages: make(map[int64]*page, len(s.pages))}
	var none page
	for index, pg := range s.pages {
		if !bytes.Equal(pg[:], none[:]) {
			same := *pg
			c.pages[index] = &same
		}
	}
	return c
}

// eachPage cuts n bytes at off at the borders of pages. from and to are offsets
// in the page, done is how much came before.
func eachPage(off, n int64, visit func(index, from, to, done int64)) {
	for done := int64(0); done < n; {
		index, from := (off+done)/pageSize, (off+done)%pageSize
		to := min(pageSize, from+n-done)
		visit(index, from, to, done)
		done += to - from
	}
}
