package client

import (
	"container/list"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/distrifs/distrifs/internal/late"
	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
)

// Small files ahead of their reader. Programs open the files of a directory one behind the
// other, in the order of its listing, as grep does, or of their names, as a compiler does. Who has
// opened a few so has the bytes of the next ones fetched, many with one request, more each
// time: a small file costs its reader a wake-up of somebody else less then.
//
// Why they are right (G3): they are fetched under the lease of the inode, and used if that
// same lease is held (its tenure) when the file is opened: nobody else has written to it. This client
// itself has not, for whoever has the state of an inode made takes what was fetched with it, and there
// it is good until the file is written to (inode.content). What is under way is in the table, too.
//
// A file is fetched so only once under a lease, and not after it was opened: the kernel has its pages then.

const (
	aheadLargest = 64 << 10              // bytes of a file that is fetched
	aheadRow     = 5                     // 2^5 files are fetched ahead at most
	aheadSkips   = 2                     // files that may be left out in a row,
	aheadBetween = 64                    // and opens of other files between two of it
	aheadStrays  = 3                     // files opened in another order, before names are sorted
	aheadTable   = 8 << 20               // bytes of files that nobody has opened yet
	aheadWait    = 50 * time.Millisecond // for one that is under way; then it is read as usual
)

// row is what a lease on a file remembers of its place among others. Guarded by leases.mu.
type row struct {
	dir     proto.InodeID // where it was listed
	next    proto.InodeID // the file behind it there, or by name; 0: not known
	opened  uint8         // files that were opened in that order up to one before it, aheadRow at most,
	when    uint32        // and when: leases.opened
	fetched uint8         // files behind it that were fetched
	over    bool          // it was fetched, or opened
}

// pageEnd is where a page of a listing ended. Guarded by leases.mu.
type pageEnd struct {
	cookie uint64        // of its last entry
	file   proto.InodeID // the last one, in it or before
}

// noteOrder remembers in which order files were listed, in the page of a directory behind from;
// l.mu is held.
func (l *leases) noteOrder(dir *lease, from uint64, entries []DirEntry) {
	var last *lease
	if from != 0 && from == dir.pageEnd.cookie {
		last = l.held[dir.pageEnd.file]
	}
	for i := range entries {
		if attr := entries[i].Attr; attr == nil || !attr.isRegular() {
			continue
		}
		if h := l.held[entries[i].Inode]; h != nil {
			if last != nil {
				last.row.next = h.ino
			}
			h.row.dir, last = dir.ino, h
		}
	}
	if n := len(entries); n > 0 && last != nil {
		dir.pageEnd = pageEnd{entries[n-1].Cookie, last.ino}
	}
}

// strays notes that a file was opened that nothing had led to, and tells whether its directory is
// to be put into the order of names; l.mu is held.
func (l *leases) strays(h *lease) bool {
	dir := l.held[h.row.dir]
	if dir == nil || dir.names == nil || !dir.names.complete || len(dir.names.byName) > maxAlong { // everybody waits for the sorting
		return false
	}
	dir.names.strays++
	return dir.names.strays == aheadStrays
}

// sortNames puts the files of a directory into the order of their names.
func (l *leases) sortNames(dir proto.InodeID) {
	type file struct {
		name string
		ino  proto.InodeID
	}
	var files []file
	l.mu.Lock()
	if h := l.held[dir]; h != nil && h.names != nil {
		for name, known := range h.names.byName {
			if at := l.held[known.ino]; at != nil && at.row.dir == dir {
				files = append(files, file{name, known.ino})
			}
		}
	}
	l.mu.Unlock()
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := 1; k < len(files); k++ {
		if at := l.held[files[k-1].ino]; at != nil {
			at.row.next = files[k].ino
		}
	}
}

// aheadFile is a file whose bytes are there before it is opened, or on their way.
type aheadFile struct {
	ino    proto.InodeID
	tenure uint64 // of the lease
	size   int64
	loc    location
	elem   *list.Element

	data   []byte        // all of it
	ready  chan struct{} // closed when data has been read,
	failed bool          // or has not; written before

	fetched, dropped bool // the memory is free when both are; filesAhead.mu
}

// opens notes that a file is opened, and lists which ones to fetch now. unsorted: a directory whose
// names are to be sorted; 0: none.
func (l *leases) opens(ino proto.InodeID) (wanted []*aheadFile, unsorted proto.InodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.usable(ino)
	if h == nil {
		return nil, 0
	}
	h.row.over = true
	l.opened++
	if l.opened-h.row.when > aheadBetween {
		h.row.opened, h.row.fetched = 0, 0
	}
	window := 1 << h.row.opened
	switch {
	case h.row.opened == 0 && l.strays(h):
		unsorted = h.row.dir
	case h.row.opened > 0 && int(h.row.fetched) <= window/2:
		wanted = l.following(h, window)
	}
	for at, skips := l.held[h.row.next], 0; at != nil && skips <= aheadSkips; at, skips = l.held[at.row.next], skips+1 {
		at.row.opened, at.row.when = max(at.row.opened, min(h.row.opened+1, aheadRow)), l.opened
		at.row.fetched = max(at.row.fetched, uint8(max(0, int(h.row.fetched)-1-skips)))
	}
	return wanted, unsorted
}

// following lists what is to be fetched of the window of files behind one; l.mu is held.
func (l *leases) following(h *lease, window int) (wanted []*aheadFile) {
	at := l.held[h.row.next]
	for k := 0; k < window && at != nil; k++ {
		if k >= int(h.row.fetched) {
			h.row.fetched++
			if l.fetchable(at) {
				at.row.over = true
				wanted = append(wanted, &aheadFile{ino: at.ino, tenure: at.granted, size: int64(at.attr.Size), ready: make(chan struct{})})
			}
		}
		at = l.held[at.row.next]
	}
	return wanted
}

func (l *leases) fetchable(h *lease) bool {
	return !h.row.over && h.hasAttr && h.attr.isRegular() && 0 < h.attr.Size && h.attr.Size <= aheadLargest &&
		h.recall == nil && l.validFor(h) && !l.distrusted.has(h.ino)
}

// filesAhead is the table of what nobody has opened yet. Its mu is a leaf.
type filesAhead struct {
	budget   *semaphore.Weighted // of bytes read ahead
	patience time.Duration       // aheadWait

	mu    sync.Mutex
	files map[proto.InodeID]*aheadFile
	used  list.List // of *aheadFile, the oldest first
	bytes int64
}

func newFilesAhead(budget *semaphore.Weighted) *filesAhead {
	return &filesAhead{budget: budget, patience: aheadWait, files: map[proto.InodeID]*aheadFile{}}
}

// add takes a file in, if there is memory for it. Older ones go for it.
func (t *filesAhead) add(f *aheadFile) bool {
	if !t.budget.TryAcquire(f.size) {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.files[f.ino]; old != nil {
		t.drop(t.remove(old))
	}
	for t.bytes+f.size > aheadTable {
		t.drop(t.remove(t.used.Front().Value.(*aheadFile)))
	}
	t.files[f.ino], f.elem = f, t.used.PushBack(f)
	t.bytes += f.size
	return true
}

// remove takes a file out of the table; t.mu is held.
func (t *filesAhead) remove(f *aheadFile) *aheadFile {
	t.used.Remove(f.elem)
	delete(t.files, f.ino)
	t.bytes -= f.size
	return f
}

// take takes a file out that is opened; nil: it was not fetched.
func (t *filesAhead) take(ino proto.InodeID) *aheadFile {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.files[ino]; f != nil {
		return t.remove(f)
	}
	return nil
}

// done is called when nobody needs a file any more that was taken.
func (t *filesAhead) done(f *aheadFile) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(f)
}

// drop lets go of a file that is not in the table; t.mu is held.
func (t *filesAhead) drop(f *aheadFile) {
	f.dropped = true
	t.free(f)
}

// arrived is called when a file has been read, or has not.
func (t *filesAhead) arrived(f *aheadFile, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.failed, f.fetched = !ok, true
	close(f.ready)
	t.free(f)
}

// free gives the memory back when nobody writes to it, nor will read it; t.mu is held.
func (t *filesAhead) free(f *aheadFile) {
	if f.fetched && f.dropped {
		t.budget.Release(f.size)
	}
}

// readFilesAhead is called when a file is opened: it has others fetched, if that pays.
func (c *Client) readFilesAhead(ino proto.InodeID) {
	wanted, unsorted := c.leases.opens(ino)
	if unsorted != 0 {
		c.workers.Go(func() { c.leases.sortNames(unsorted) })
	}
	var files []*aheadFile
	for _, f := range wanted {
		loc, ok := c.locations.get(f.ino, 0)
		if ok && loc.committed && len(loc.chain) > 0 && !loc.silent() && c.awaitsOpen(f) {
			f.loc = loc
			files = append(files, f)
		}
	}
	if len(files) > 0 {
		c.workers.Go(func() { c.fetchFiles(files) })
	}
}

// fetchFiles asks as few chunkservers as possible for files.
func (c *Client) fetchFiles(files []*aheadFile) {
	for len(files) > 0 {
		from := c.health.order(files[0].loc.chain)[0]
		var list []pipeline.ReadRequest
		var into [][]byte
		var asked, others []*aheadFile
		for _, f := range files {
			if !slices.Contains(f.loc.chain, from) {
				others = append(others, f)
				continue
			}
			list = append(list, pipeline.ReadRequest{Chunk: c.cluster.ChunkUUID(f.loc.chunk), Version: f.loc.version, From: from})
			f.data = make([]byte, f.size)
			into, asked = append(into, f.data), append(asked, f)
		}
		c.data.ReadEach(c.background, list, into, func(k, n int, err error) {
			c.ahead.arrived(asked[k], err == nil && n == len(into[k]))
		})
		files = others
	}
}

// awaitsOpen puts a file into the table, unless it is open.
func (c *Client) awaitsOpen(f *aheadFile) bool {
	c.inodesMu.Lock()
	defer c.inodesMu.Unlock()
	return c.inodes[f.ino] == nil && c.ahead.add(f)
}

// takeFetched gives what was fetched of a file whose state is made now, if it is good;
// inodesMu is held.
func (c *Client) takeFetched(ino proto.InodeID) *aheadFile {
	f := c.ahead.take(ino)
	if f == nil {
		return nil
	}
	if tenure, held := c.leases.tenure(ino); held && tenure == f.tenure {
		return f
	}
	c.ahead.done(f)
	return nil
}

// readFetched fills p from what was fetched of the file ahead of its reader, as it was known
// at content.
func (i *inode) readFetched(ctx context.Context, p []byte, off int64, content uint64) bool {
	i.mu.Lock()
	f := i.fetched
	i.mu.Unlock()
	if f == nil {
		return false
	}
	good := false
	if content == 0 && off+int64(len(p)) <= f.size {
		limited := late.WithTimeout(ctx, i.c.ahead.patience)
		defer limited.End()
		good = late.Wait(limited, f.ready) == nil && !f.failed
	}
	if good {
		copy(p, f.data[off:])
	}
	if !good || off+int64(len(p)) == f.size {
		i.forgetFetched()
	}
	return good
}

// forgetFetched lets go of what was fetched of the file.
func (i *inode) forgetFetched() {
	i.mu.Lock()
	f := i.fetched
	i.fetched = nil
	i.mu.Unlock()
	if f != nil {
		i.c.ahead.done(f)
	}
}
