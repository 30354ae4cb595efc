package chunk

import (
	"context"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// changes remembers which replicas the master has not heard of since they came,
// went, or changed otherwise than by growing. It is bounded by the number of
// chunk ids that the store has seen since the last heartbeat.
type changes struct {
	mu      sync.Mutex // protects pending
	pending map[proto.ChunkID]struct{}

	wake chan struct{} // has one when something urgent is pending
}

func newChanges() changes {
	return changes{pending: map[proto.ChunkID]struct{}{}, wake: make(chan struct{}, 1)}
}

// note remembers a replica; urgent: a heartbeat is to go out at once.
func (c *changes) note(id proto.ChunkID, urgent bool) {
	c.mu.Lock()
	c.pending[id] = struct{}{}
	c.mu.Unlock()
	if urgent {
		c.kick()
	}
}

func (c *changes) kick() {
	select {
	case c.wake <- struct{}{}:
	default: // somebody is awake already
	}
}

// take hands over at most limit ids, in order; more tells whether some are left.
func (c *changes) take(limit int) (ids []proto.ChunkID, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.pending {
		if len(ids) == limit {
			return ids, true
		}
		ids = append(ids, id)
		delete(c.pending, id)
	}
	slices.Sort(ids)
	return ids, false
}

// replicaState describes a replica to the master; nil: there is none.
func (s *Store) replicaState(id proto.ChunkID) *pb.ReplicaState {
	if r := s.find(id); r != nil {
		return r.describe()
	}
	return nil
}

// stateWithin is replicaState for who cannot wait for a disk; busy: the replica was in use until ctx ended.
func (s *Store) stateWithin(ctx context.Context, id proto.ChunkID) (state *pb.ReplicaState, busy bool) {
	r := s.find(id)
	if r == nil {
		return nil, false
	}
	if r.mu.TryRLock() {
		defer r.mu.RUnlock()
		return r.describeLocked(), false
	}
	if !r.awaited.CompareAndSwap(false, true) {
		return nil, true // it has been in use since an earlier heartbeat
	}
	done := make(chan *pb.ReplicaState, 1)
	go func() { // ends with the work on the replica; one for each at most
		state := r.describe()
		r.awaited.Store(false)
		done <- state
	}()
	select {
	case state = <-done:
		return state, false
	case <-ctx.Done():
		return nil, true
	}
}

// noteBroken remembers that a write was applied at a version here and failed elsewhere in
// the chain. The master hears of it unless its writer has seen to it by then, and a later
// start counts the replica as unclean.
func (s *Store) noteBroken(chunk uuid.UUID, v proto.Version) {
	id, err := s.identify("note", chunk)
	if err != nil {
		return
	}
	if r := s.find(id); r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.version == v {
			r.broken = v
			s.changes.note(id, false)
		}
	}
}

// describe is nil for a replica that has no file, yet or any more. One whose
// footer cannot be read counts as of the first version.
func (r *replica) describe() *pb.ReplicaState {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.describeLocked()
}

// describeLocked is describe for who has mu.
func (r *replica) describeLocked() *pb.ReplicaState {
	if r.state != whole {
		return nil
	}
	return &pb.ReplicaState{
		Chunk:   uint64(r.id),
		Version: uint64(max(r.version, 1)),
		Length:  uint64(r.length),
		Unclean: r.unclean, Complete: r.unclean && !r.gaps,
		Broken:  r.broken == r.version,
		Corrupt: r.corrupt.Load() || r.lost.Load() != nil,
		Slow:    r.folder.is(slow), Failing: r.folder.is(failing),
	}
}

// replicaStates describes every replica for which want is true, in order of ids.
func (s *Store) replicaStates(want func(proto.ChunkID) bool) []*pb.ReplicaState {
	chosen := s.replicas(want)
	slices.SortFunc(chosen, func(a, b *replica) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	states := make([]*pb.ReplicaState, 0, len(chosen))
	for _, r := range chosen {
		if st := r.describe(); st != nil {
			states = append(states, st)
		}
	}
	return states
}

// replicas lists those for whose ids want is true, in no order.
func (s *Store) replicas(want func(proto.ChunkID) bool) (list []*replica) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id, r := range s.index {
		if want(id) {
			list = append(list, r)
		}
	}
	return list
}

// count is the number of replicas.
func (s *Store) count() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.index)
}

func (s *Store) disks() []*pb.DiskStatus {
	var list []*pb.DiskStatus
	for _, f := range s.folders {
		list = append(list, f.status())
	}
	return list
}
