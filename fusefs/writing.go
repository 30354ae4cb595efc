package fusefs

import (
	"context"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// writing keeps WRITEs and READs apart. The kernel lets go of a page while it is being
// written; if the page is dropped meanwhile, as a recall has it done, a READ may ask for
// it before the WRITE has come into effect, and leave in the page cache, for longer than
// the WRITE lasts, what was there before. So a READ waits for the WRITEs in its range.
// They need nothing that it holds.
//
// A WRITE that the kernel has sent before a READ may get here behind it: several threads read requests.
// It cannot have been sent after a READ of the same page that is not answered, which
// keeps the page locked: so a READ in whose range a WRITE begins is made again. And a WRITE that finds,
// by the numbers of requests, that a READ which was sent behind it has been answered, has the pages of both
// dropped before it is answered itself. These are the READ's, unlocked; whatever locks them by then
// does not wait for the answer to the WRITE. No others: the last page of a WRITE may be locked until its answer.
type writing struct {
	mu     sync.Mutex
	writes map[*writeSpan]struct{} // of all nodes: the kernel sends few at once
	reads  map[*readSpan]struct{}

	answered [rememberedReads]readSpan // the last ones, in no order
	next     int                       // the place of the oldest
	newest   uint64                    // the highest number of one that was answered
}

const (
	maxDisturbed    = 8    // times that a READ is made again
	rememberedReads = 1024 // far more than a request is overtaken by
)

// span is a range of a node.
type span struct{ node, start, end uint64 }

func spanOf(node, off uint64, size int) span { return span{node, off, off + uint64(size)} }

func (s *span) overlaps(other *span) bool {
	return s.node == other.node && s.start < other.end && other.start < s.end
}

type writeSpan struct {
	span
	done chan struct{}
}

type readSpan struct {
	span
	number    uint64 // of the request: later ones have higher ones
	paged     bool   // it goes into the page cache
	disturbed bool   // a WRITE has begun in it
}

// begin notes a WRITE until end is called, which tells what of it READs have overtaken.
func (w *writing) begin(in *fuse.WriteIn, size int) (end func() (overtaken span)) {
	write := &writeSpan{spanOf(in.NodeId, in.Offset, size), make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writes == nil {
		w.writes = map[*writeSpan]struct{}{}
	}
	w.writes[write] = struct{}{}
	for read := range w.reads {
		read.disturbed = read.disturbed || read.overlaps(&write.span)
	}
	overtaken := w.overtaken(&write.span, in.Unique)
	return func() span {
		w.mu.Lock()
		defer w.mu.Unlock()
		close(write.done)
		delete(w.writes, write)
		return overtaken
	}
}

// overtaken gives the part of a range in which READs have been answered that were sent after a request, as
// far as they are remembered. mu is held.
func (w *writing) overtaken(s *span, number uint64) (part span) {
	if w.newest <= number {
		return span{}
	}
	for i := range w.answered {
		read := &w.answered[i]
		switch {
		case read.number <= number || !read.overlaps(s):
		case part == span{}:
			part = span{s.node, max(s.start, read.start), min(s.end, read.end)}
		default:
			part.start, part.end = min(part.start, max(s.start, read.start)), max(part.end, min(s.end, read.end))
		}
	}
	return part
}

// read runs fn, a READ, behind the WRITEs in its range, and again if one began meanwhile.
func (w *writing) read(ctx context.Context, in *fuse.ReadIn, paged bool, fn func()) {
	read := &readSpan{span: spanOf(in.NodeId, in.Offset, int(in.Size)), number: in.Unique, paged: paged}
	for tries := 0; ; tries++ {
		for _, write := range w.beginRead(read) {
			select {
			case <-write.done:
			case <-ctx.Done():
			}
		}
		fn()
		if !w.endRead(read, tries == maxDisturbed || ctx.Err() != nil) {
			return
		}
	}
}

// beginRead notes a READ, and gives the WRITEs in its range.
func (w *writing) beginRead(read *readSpan) (before []*writeSpan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reads == nil {
		w.reads = map[*readSpan]struct{}{}
	}
	w.reads[read] = struct{}{}
	read.disturbed = false
	for write := range w.writes {
		if write.overlaps(&read.span) {
			before = append(before, write)
		}
	}
	return before
}

// endRead tells whether a READ is to be made again, as it is not the last time, for a WRITE has begun in
// its range. Else it is about to be answered.
func (w *writing) endRead(read *readSpan, last bool) (again bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.reads, read)
	if read.disturbed && !last {
		return true
	}
	if read.paged {
		w.newest = max(w.newest, read.number)
		w.answered[w.next] = *read
		w.next = (w.next + 1) % rememberedReads
	}
	return false
}
