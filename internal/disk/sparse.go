package disk

import "bytes"

const (
	sectorSize     = 512
	pageSize       = 4096
	sectorsPerPage = pageSize / sectorSize
)

// page is bytes of one file or, once it is shared, of several: from then on it never changes.
type page struct {
	data   [pageSize]byte
	shared bool
}

// zeroPage is all pages to which nothing but zeros were written.
var zeroPage = &page{shared: true}

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
			copy(p[done:], pg.data[from:to])
		} else {
			clear(p[done : done+to-from])
		}
	})
	return len(p)
}

func (s *sparse) writeAt(p []byte, off int64) {
	eachPage(off, int64(len(p)), func(index, from, to, done int64) {
		piece := p[done : done+to-from]
		if old := s.pages[index]; (old == nil || old == zeroPage) && bytes.Equal(piece, zeroPage.data[:len(piece)]) {
			s.put(index, zeroPage)
			return
		}
		copy(s.own(index).data[from:], piece)
	})
	s.size = max(s.size, off+int64(len(p)))
}

func (s *sparse) put(index int64, pg *page) {
	if s.pages == nil {
		s.pages = map[int64]*page{}
	}
	s.pages[index] = pg
}

// own gives a page that may be changed.
func (s *sparse) own(index int64) *page {
	pg := s.pages[index]
	switch {
	case pg == nil || pg == zeroPage:
		pg = new(page)
	case pg.shared:
		pg = &page{data: pg.data}
	default:
		return pg
	}
	s.put(index, pg)
	return pg
}

// zero makes the bytes from off to end read as zero, whatever the size, and
// calls changed for each sector that held something there.
func (s *sparse) zero(off, end int64, changed func(sector int64)) {
	for index, pg := range s.pages {
		from, to := max(off, index*pageSize), min(end, (index+1)*pageSize)
		for at := from; at < to; at = (at/sectorSize + 1) * sectorSize {
			changed(at / sectorSize)
		}
		switch {
		case to-from == pageSize:
			delete(s.pages, index)
		case from < to && pg != zeroPage:
			clear(s.own(index).data[from-index*pageSize : to-index*pageSize])
		}
	}
}

// copySector takes one sector, whatever the size, from other.
func (s *sparse) copySector(other *sparse, sector int64) {
	index, from := sector/sectorsPerPage, sector%sectorsPerPage*sectorSize
	src := other.pages[index]
	if src != nil {
		copy(s.own(index).data[from:from+sectorSize], src.data[from:])
	} else if s.pages[index] != nil {
		clear(s.own(index).data[from : from+sectorSize])
	}
}

// share makes a page that of other.
func (s *sparse) share(other *sparse, index int64) {
	pg := other.pages[index]
	if pg == nil {
		delete(s.pages, index)
		return
	}
	if !pg.shared { // else somebody else may be looking
		pg.shared = true
	}
	s.put(index, pg)
}

func (s *sparse) resize(size int64) {
	if size < s.size {
		s.zero(size, s.size, func(int64) {})
	}
	s.size = size
}

func (s *sparse) clone() sparse {
	c := sparse{size: s.size, pages: make(map[int64]*page, len(s.pages))}
	for index, pg := range s.pages {
		if pg != zeroPage && pg.data != zeroPage.data {
			c.share(s, index)
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

// sectors are those of one page, a bit each.
type sectors uint8

// unsynced are the sectors of a file that differ from what is durable, by page.
type unsynced map[int64]dirt

// dirt is the unsynced sectors of one page.
type dirt struct {
	changed sectors
	failed  sectors // of changed: a failed Sync had them
}

// change notes that sectors from first to the one before end were changed.
func (u unsynced) change(first, end int64) {
	for first < end {
		index, n := first/sectorsPerPage, min(end-first, sectorsPerPage-first%sectorsPerPage)
		mask := sectors((1<<n - 1) << (first % sectorsPerPage))
		d := u[index]
		u[index] = dirt{d.changed | mask, d.failed &^ mask}
		first += n
	}
}

// clear notes that a sector does not differ any more.
func (u unsynced) clear(sector int64) {
	index, mask := sector/sectorsPerPage, sectors(1)<<(sector%sectorsPerPage)
	d := u[index]
	if d.changed &^= mask; d.changed == 0 {
		delete(u, index)
	} else {
		u[index] = dirt{d.changed, d.failed &^ mask}
	}
}

// each visits the sectors of a page, in order.
func (s sectors) each(index int64, visit func(sector int64)) {
	for i := range int64(sectorsPerPage) {
		if s>>i&1 != 0 {
			visit(index*sectorsPerPage + i)
		}
	}
}
