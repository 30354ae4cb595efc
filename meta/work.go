package meta

import (
	"context"
	"sync"

	"github.com/distrifs/distrifs/proto"
)

// chunkWork sees to it that one party at a time changes a chunk's chain (L3).
type chunkWork struct {
	mu   sync.Mutex
	busy map[proto.ChunkID]chan struct{} // closed when the work is done

	// The replicas of these are being made equal: one may serve already what another
	// does not have yet, so nobody is told where they are.
	unequal map[proto.ChunkID]struct{}
}

// try begins work on a chunk, unless somebody is at it.
func (w *chunkWork) try(id proto.ChunkID) (done func(), ok bool) {
	done, _ = w.begin(id)
	return done, done != nil
}

// wait begins work on a chunk when it is its turn.
func (w *chunkWork) wait(ctx context.Context, id proto.ChunkID) (done func(), err error) {
	for {
		done, other := w.begin(id)
		if done != nil {
			return done, nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (w *chunkWork) begin(id proto.ChunkID) (done func(), other <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if busy, taken := w.busy[id]; taken {
		return nil, busy
	}
	if w.busy == nil {
		w.busy = map[proto.ChunkID]chan struct{}{}
	}
	mine := make(chan struct{})
	w.busy[id] = mine
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.busy, id)
		close(mine)
	}, nil
}

// unlike marks a chunk whose replicas are being made equal, until equal is called. The
// caller has the chunk to itself.
func (w *chunkWork) unlike(id proto.ChunkID) (equal func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unequal == nil {
		w.unequal = map[proto.ChunkID]struct{}{}
	}
	w.unequal[id] = struct{}{}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.unequal, id)
	}
}

func (w *chunkWork) isUnlike(id proto.ChunkID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, is := w.unequal[id]
	return is
}
