package fusefs

import (
	"context"
	"sync"
)

// writing holds the WRITEs and READs under way. The kernel lets go of a page while it is being
// written; if the page is dropped meanwhile, as a recall has it done, a READ may ask for
// it before the WRITE has come into effect, and leave in the page cache, for longer than
// the WRITE lasts, what was there before. So a READ waits for the WRITEs in its range.
// They need nothing that it holds.
//
// A WRITE that the kernel has sent before a READ may get here behind it (arrivals.go). When the client
// had pages dropped, a READ waits for what was sent before it. When the kernel was short of
// memory and dropped one by itself, this helps: it cannot have sent a WRITE of the same page after
// a READ, which keeps the page locked, so a READ in whose range a WRITE begins before it is
// answered is made again.
type writing struct {
	mu     sync.Mutex
	writes map[*writeSpan]struct{} // of all nodes: the kernel sends few at once
	reads  map[*readSpan]struct{}
}

// span is a range of a node.
type span struct{ node, start, end uint64 }

func (s *span) overlaps(other *span) bool {
	return s.node == other.node && s.start < other.end && other.start < s.end
}

type writeSpan struct {
	span
	done chan struct{}
}

type readSpan struct {
	span
	disturbed bool // a WRITE has begun in it
}

// maxDisturbed is how often a READ is made again.
const maxDisturbed = 8

// begin notes a WRITE until end is called.
func (w *writing) begin(node, off uint64, size int) (end func()) {
	write := &writeSpan{span{node, off, off + uint64(size)}, make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writes == nil {
		w.writes = map[*writeSpan]struct{}{}
	}
	w.writes[write] = struct{}{}
	for read := range w.reads {
		read.disturbed = read.disturbed || read.overlaps(&write.span)
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		close(write.done)
		delete(w.writes, write)
	}
}

// read runs fn, a READ, behind the WRITEs in its range, and again if one began meanwhile.
func (w *writing) read(ctx context.Context, node, off uint64, size uint32, fn func()) {
	read := &readSpan{span: span{node, off, off + uint64(size)}}
	for tries := 0; ; tries++ {
		for _, write := range w.beginRead(read) {
			select {
			case <-write.done:
			case <-ctx.Done():
			}
		}
		fn()
		if !w.endRead(read) || tries == maxDisturbed || ctx.Err() != nil {
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

// endRead tells whether a WRITE has begun in the range of a READ.
func (w *writing) endRead(read *readSpan) (disturbed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.reads, read)
	return read.disturbed
}
