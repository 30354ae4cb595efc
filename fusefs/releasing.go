package fusefs

import "sync"

// releasing knows whose locks are being taken off behind the last close of a file. The
// kernel does not wait for that before close(2) returns, as it does for a local file: a
// lock that is asked for next must not be refused for one that is about to go. Whose
// RELEASE was sent before is known when all requests from before have come (arrivals.go).
type releasing struct {
	mu      sync.Mutex
	ended   uint64 // how many there were
	pending map[uint64]int
	changed *sync.Cond // signalled when one has ended; nil before the first
}

func (r *releasing) begin(node uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending == nil {
		r.pending = make(map[uint64]int)
		r.changed = sync.NewCond(&r.mu)
	}
	r.pending[node]++
}

func (r *releasing) end(node uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended++
	if r.pending[node]--; r.pending[node] == 0 {
		delete(r.pending, node)
	}
	r.changed.Broadcast()
}

// done is how many have ended by now.
func (r *releasing) done() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// since waits until none is under way on a node, and tells whether any has ended since
// done answered before.
func (r *releasing) since(before, node uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.pending[node] > 0 {
		r.changed.Wait()
	}
	return r.ended != before
}
