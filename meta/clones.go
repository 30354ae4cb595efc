package meta

import (
	"context"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// A writer to a shared chunk gets a clone of it, in the place where he writes:
//
//  1. the clone is assigned in the log, with the members that hold the chunk (L1)
//  2. each of them copies its own replica, or another one's if its own is damaged
//  3. if one cannot, the clone goes on with the others, as any chain that failed
//  4. the log has it take the place; what was shared is freed if this was its last one
//
// Readers find the old chunk up to step 4 and the clone from then on, with the same
// bytes. A crash before leaves a clone that the next writer goes on with, or that goes
// when its place goes or nobody writes.

// unshareFirst sees to it that the first chunk of a range is not shared, and gives how
// many from there on are not. Shared ones are cloned one by one, when they are written to.
func (m *Master) unshareFirst(ctx context.Context, r *request, ino proto.InodeID, first uint64, count int) (int, error) {
	for {
		shared, kind := m.sharedFrom(r, ino, first, count)
		switch {
		case kind != proto.OK:
			return 0, r.fail(kind, "")
		case !shared.Shared():
			return count, nil
		case shared.Index > first:
			return int(shared.Index - first), nil
		}
		if err := m.unshare(ctx, r, ino, first, shared.ID); err != nil {
			return 0, err
		}
		count = 1
	}
}

// sharedFrom finds the first shared chunk of a range, if the caller may write to it.
func (m *Master) sharedFrom(r *request, ino proto.InodeID, first uint64, count int) (found state.Chunk, kind proto.Kind) {
	m.machine.read(func(st *state.State) {
		if kind = m.mayWrite(st, r, ino); kind != proto.OK {
			return
		}
		kind = st.FileChunks(ino, first, count, func(c state.Chunk) bool {
			if c.Shared() {
				found = c
			}
			return !c.Shared()
		})
	})
	return found, kind
}

// unshare makes the chunk of a place one that can be written to. It goes on when the
// writer has stopped waiting, who will ask again.
func (m *Master) unshare(ctx context.Context, r *request, ino proto.InodeID, index uint64, shared proto.ChunkID) error {
	ctx, cancel := context.WithTimeout(ctx, chainWithin)
	defer cancel()
	// The claim lasts as long as the clone takes, and comes before the chunk is ours.
	claim := &request{op: r.op, subject: r.subject, session: r.session}
	if err := m.secure(ctx, claim, claim.exists(ino)); err != nil {
		m.leave(claim)
		return err
	}
	done, err := m.work.wait(ctx, shared)
	if err != nil {
		m.leave(claim)
		return r.fail(proto.Unavailable, "the chunk is being copied; try again")
	}
	finished := make(chan error, 1)
	m.loops.Go(func() {
		defer m.leave(claim)
		defer done()
		finished <- m.clone(r, ino, index, shared)
	})
	select {
	case err := <-finished:
		return r.wrap(err)
	case <-ctx.Done():
		return r.fail(proto.Unavailable, "the chunk is being copied; try again")
	}
}

// clone is steps 1 to 4. The caller has the shared chunk to itself.
func (m *Master) clone(r *request, ino proto.InodeID, index uint64, id proto.ChunkID) error {
	ctx, cancel := context.WithTimeout(m.stopping, m.cfg.CopyTimeout)
	defer cancel()
	shared, ok := m.standsAt(ino, index)
	if !ok || shared.ID != id {
		return nil // somebody else has done it, or the place is gone
	}
	sources := m.goodMembers(shared)
	if len(sources) < int(m.cluster.MinReplicas) {
		return proto.E(proto.TooFewReplicas, "", chunkName(shared), "too few of its replicas can be copied at present")
	}
	c := &state.AssignChunks{Header: m.header(r), Inode: ino, First: index, Chains: [][]proto.NodeID{sources}}
	c.Origin = state.Origin{}
	result, err := m.propose(c)
	if err != nil {
		return err
	}
	clone := result.Chunks[0]
	done, err := m.work.wait(ctx, clone.ID)
	if err != nil {
		return proto.Unavailable
	}
	defer done()
	if clone, err = m.fillClone(ctx, clone, shared, sources); err != nil {
		return err
	}
	if _, err = m.propose(&state.TakeClone{Clone: clone.ID}); proto.KindOf(err) == proto.NotFound {
		return proto.E(proto.Unavailable, "", chunkName(clone), "its place was changed meanwhile; try again")
	}
	if err == nil {
		m.log.Info("shared chunk cloned", "chunk", shared.ID, "clone", clone.ID, "chain", clone.Chain, "inode", ino, "index", index)
	}
	return err
}

// standsAt gives the chunk of a place, if it is shared.
func (m *Master) standsAt(ino proto.InodeID, index uint64) (found state.Chunk, ok bool) {
	m.machine.read(func(st *state.State) {
		st.FileChunks(ino, index, 1, func(c state.Chunk) bool {
			found, ok = c, c.Shared()
			return false
		})
	})
	return found, ok
}

// goodMembers are those of a chain that have a good replica and take orders.
func (m *Master) goodMembers(c state.Chunk) (good []proto.NodeID) {
	for _, member := range m.members(c) {
		if member.Connected && member.Good(c.Version) {
			good = append(good, member.Node)
		}
	}
	return good
}

// fillClone is steps 2 and 3.
func (m *Master) fillClone(ctx context.Context, clone, shared state.Chunk, sources []proto.NodeID) (state.Chunk, error) {
	failed := m.onEach(clone.Chain, "clone", clone, func(node proto.NodeID) error {
		return m.cloneTo(ctx, node, clone, shared, sources)
	})
	switch len(failed) {
	case 0:
		return clone, nil
	case len(clone.Chain):
		return clone, proto.E(proto.Unavailable, "", chunkName(clone), "no chunkserver could copy the shared chunk; try again")
	}
	return m.replaceChain(ctx, clone, failure{suspects: failed})
}

// cloneTo has a member make its replica of a clone.
func (m *Master) cloneTo(ctx context.Context, node proto.NodeID, clone, shared state.Chunk, sources []proto.NodeID) error {
	command := &pb.CopyChunk{
		Chunk: uint64(clone.ID), Version: uint64(clone.Version), Sources: m.sources(sources),
		OfChunk: uint64(shared.ID), OfVersion: uint64(shared.Version),
	}
	return m.order(ctx, m.cfg.CopyTimeout, node, clone.ID, &pb.NodeCommand{Command: &pb.NodeCommand_Copy{Copy: command}})
}
