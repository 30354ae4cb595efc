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
// A WRITE that the kernel has sent before a READ may get here behind it. It cannot have sent one
// of the same page after a READ, which keeps the page locked: so a READ in whose range a
// WRITE begins before it is answered is made again.
type writing struct {
	mu    sync.Mutex
	nodes map[uint64]*spans
}

// spans are those of one node.
type spans struct {
	writes map[*writeSpan]struct{}
	reads  map[*readSpan]struct{}
}

type writeSpan struct {
	start, end uint64
	done       chan struct{}
}

type readSpan struct {
	start, end uint64
	disturbed  bool // a WRITE has begun in it
}

// maxDisturbed is how often a READ is made again.
const maxDisturbed = 8

// node finds the spans of one, or makes them; mu is held.
func (w *writing) node(node uint64) *spans {
	if w.nodes == nil {
		w.nodes = map[uint64]*spans{}
	}
	n := w.nodes[node]
	if n == nil {
		n = &spans{writes: map[*writeSpan]struct{}{}, reads: map[*readSpan]struct{}{}}
		w.nodes[node] = n
	}
	return n
}

// drop forgets a node without spans; mu is held.
func (w *writing) drop(node uint64, n *spans) {
	if len(n.writes) == 0 && len(n.reads) == 0 {
		delete(w.nodes, node)
	}
}

// begin notes a WRITE until end is called.
func (w *writing) begin(node, off uint64, size int) (end func()) {
	span := &writeSpan{start: off, end: off + uint64(size), done: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.node(node)
	n.writes[span] = struct{}{}
	for r := range n.reads {
		if r.start < span.end && span.start < r.end {
			r.disturbed = true
		}
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		close(span.done)
		delete(n.writes, span)
		w.drop(node, n)
	}
}

// read runs fn, a READ, behind the WRITEs in its range, and again if one began meanwhile.
func (w *writing) read(ctx context.Context, node, off uint64, size uint32, fn func()) {
	span := &readSpan{start: off, end: off + uint64(size)}
	for tries := 0; ; tries++ {
		before := w.beginRead(node, span)
		for _, write := range before {
			select {
			case <-write.done:
			case <-ctx.Done():
			}
		}
		fn()
		if !w.endRead(node, span) || tries == maxDisturbed || ctx.Err() != nil {
			return
		}
	}
}

// beginRead notes a READ, and gives the WRITEs in its range.
func (w *writing) beginRead(node uint64, span *readSpan) (before []*writeSpan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.node(node)
	n.reads[span] = struct{}{}
	span.disturbed = false
	for write := range n.writes {
		if write.start < span.end && span.start < write.end {
			before = append(before, write)
		}
	}
	return before
}

// endRead tells whether a WRITE has begun in the range of a READ.
func (w *writing) endRead(node uint64, span *readSpan) (disturbed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.nodes[node]
	delete(n.reads, span)
	w.drop(node, n)
	return span.disturbed
}
