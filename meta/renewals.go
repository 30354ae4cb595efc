package meta

import (
	"context"
	"maps"
	"math"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
)

// When a session ends without a goodbye, its client may be dead, in the middle of a write,
// or only slow. The chunks that it may have been writing to are renewed: after that its
// late writes are refused (L8), and replicas agree about bytes that it wrote and that were
// never acknowledged (G3). Until that was tried once, nobody is told where they are.
//
// It is soft state. Of a session that ends before it has resumed after a start of the master
// nobody knows what it was writing to. What others have open for writing then counts as that,
// and so does what is opened for writing for the first time since: late writes do harm only where
// somebody else writes, and replicas that differ say so themselves (unclean, broken).

const (
	maxRenewals    = 1 << 20 // chunks waiting
	renewalsAtOnce = 8
)

// renewals is the chunks that wait.
type renewals struct {
	wake chan struct{} // has one when some came

	mu     sync.Mutex // protects below; a leaf
	chunks map[proto.ChunkID]renewal

	unknown bool                       // a session has ended that may have been writing to anything
	since   map[proto.InodeID]struct{} // was renewed since, when it was opened for writing
}

// renewal is what became of a chunk that waits.
type renewal uint8

const (
	untried renewal = iota + 1
	failed          // for want of replicas; it is tried again
)

func newRenewals() *renewals {
	return &renewals{wake: make(chan struct{}, 1), chunks: map[proto.ChunkID]renewal{}}
}

// add does not block.
func (r *renewals) add(chunks []proto.ChunkID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range chunks {
		if len(r.chunks) < maxRenewals {
			r.chunks[id] = untried
		}
	}
	select {
	case r.wake <- struct{}{}:
	default: // it looks already
	}
}

// suspectAll is called when a session has ended of which nobody knows what it was writing to.
func (r *renewals) suspectAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unknown, r.since = true, map[proto.InodeID]struct{}{}
}

// suspects tells, once for each file, whether such a session may have been writing to it.
func (r *renewals) suspects(ino proto.InodeID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, renewed := r.since[ino]; renewed || !r.unknown {
		return false
	}
	if len(r.since) >= maxRenewals {
		clear(r.since) // once more does no harm
	}
	r.since[ino] = struct{}{}
	return true
}

// hides tells whether a chunk is to be renewed before anybody uses it.
func (r *renewals) hides(id proto.ChunkID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.chunks[id] == untried
}

// set notes what became of a chunk; 0: nothing is left to do.
func (r *renewals) set(id proto.ChunkID, what renewal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.chunks[id] = what; what == 0 {
		delete(r.chunks, id)
	}
}

func (r *renewals) list() []proto.ChunkID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.chunks))
}

// abandoned queues the chunks of a file that a client may have been writing to when its
// session ended.
func (m *Master) abandoned(ino proto.InodeID) {
	var chunks []proto.ChunkID
	m.machine.read(func(st *state.State) {
		st.FileChunks(ino, 0, math.MaxInt, func(c state.Chunk) bool {
			if c.Committed && !c.Shared() {
				chunks = append(chunks, c.ID)
			}
			return len(chunks) < maxRenewals
		})
	})
	if len(chunks) > 0 {
		m.renewals.add(chunks)
	}
}

// writtenTo is called when a client has a file open for writing, before it is told where
// to write.
func (m *Master) writtenTo(ino proto.InodeID) {
	if m.renewals.suspects(ino) {
		m.abandoned(ino)
	}
}

// renewChunks is the loop.
func (m *Master) renewChunks(ctx context.Context) {
	every(ctx, m.cfg.RepairEvery, m.renewals.wake, func() {
		var group errgroup.Group
		group.SetLimit(renewalsAtOnce)
		for _, id := range m.renewals.list() {
			group.Go(func() error {
				m.renewOne(ctx, id)
				return nil
			})
		}
		_ = group.Wait() // each has noted its outcome
	})
}

func (m *Master) renewOne(ctx context.Context, id proto.ChunkID) {
	ctx, cancel := context.WithTimeout(ctx, chainWithin)
	defer cancel()
	done, err := m.work.wait(ctx, id)
	if err != nil {
		return
	}
	defer done()
	c, ok := m.machine.chunk(id)
	if !ok {
		m.renewals.set(id, 0)
		return
	}
	if err := m.renew(ctx, c); err != nil {
		m.log.Info("a chunk whose writer is gone cannot be renewed yet", "chunk", id, "error", err)
		m.renewals.set(id, failed)
		return
	}
	m.renewals.set(id, 0)
}
