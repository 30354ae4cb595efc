package fusefs

import (
	"context"
	"sync"
)

// writing holds the WRITEs under way. The kernel lets go of a page while it is being
// written; if the page is dropped meanwhile, as a recall has it done, a READ may ask for
// it before the WRITE has come into effect, and leave in the page cache, for longer than
// the WRITE lasts, what was there before. So a READ waits for the WRITEs in its range.
// They need nothing that it holds.
type writing struct {
	mu    sync.Mutex
	nodes map[uint64]map[*writeSpan]struct{}
}

type writeSpan struct {
	start, end uint64
	done       chan struct{}
}

// begin notes a WRITE until end is called.
func (w *writing) begin(node, off uint64, n int) (end func()) {
	span := &writeSpan{start: off, end: off + uint64(n), done: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.nodes == nil {
		w.nodes = map[uint64]map[*writeSpan]struct{}{}
	}
	if w.nodes[node] == nil {
		w.nodes[node] = map[*writeSpan]struct{}{}
	}
	w.nodes[node][span] = struct{}{}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		close(span.done)
		delete(w.nodes[node], span)
		if len(w.nodes[node]) == 0 {
			delete(w.nodes, node)
		}
	}
}

// wait waits for the WRITEs in a range that are under way now.
func (w *writing) wait(ctx context.Context, node, off uint64, n uint32) {
	for _, span := range w.over(node, off, off+uint64(n)) {
		select {
		case <-span.done:
		case <-ctx.Done():
			return
		}
	}
}

func (w *writing) over(node, start, end uint64) (spans []*writeSpan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for span := range w.nodes[node] {
		if span.start < end && start < span.end {
			spans = append(spans, span)
		}
	}
	return spans
}
