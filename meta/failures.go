package meta

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/distrifs/distrifs/meta/registry"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// chainWithin bounds the wait for the work on one report; the client reports again.
const chainWithin = 20 * time.Second

// suspectWithin is how long a suspect may take to show that it is there.
const suspectWithin = 500 * time.Millisecond

// ReportChainFailure gives a writer a chain that works in place of one that does not:
//
//  1. one at a time for each chunk; who reports a version that is no more is answered
//     with what became of it (L3)
//  2. survivors are chosen; if they are fewer than min-replicas, fresh chunkservers
//     join, or who is suspected and there stays; they are asked whether they are there
//     before somebody who has the bytes is given up for them
//  3. the next version with the new chain goes into the log (L1)
//  4. survivors are fenced at it and made equal, fresh ones copy from them
//  5. who did not confirm becomes a suspect, and it goes on at 2
//
// The answer's chain is confirmed by every member, and its version is higher than the
// one reported, even if its members are the same: at a version at which a write has
// failed, chunkservers take no more. TooFewReplicas or Unavailable: not possible at
// present. NoSpace: too few chunkservers have room. IO: the bytes are lost. NotFound: they never were, and the chunk is gone.
func (m *Master) ReportChainFailure(ctx context.Context, req *pb.ReportChainFailureRequest) (*pb.ChunkLocation, error) {
	id := proto.ChunkID(req.Chunk)
	r, err := m.enter(req.Caller, "replace chain of", fmt.Sprintf("chunk %v version %d", id, req.Version))
	if err != nil {
		return nil, err
	}
	if r.session == nil {
		return nil, r.fail(proto.SessionExpired, "a report needs a session")
	}
	ctx, cancel := context.WithTimeout(ctx, chainWithin)
	defer cancel()
	done, err := m.work.wait(ctx, id)
	if err != nil {
		return nil, r.fail(proto.Unavailable, "the chain is being changed; try again")
	}
	c, kind := m.reported(r, req)
	if kind != proto.OK {
		done()
		return nil, r.fail(kind, "")
	}
	m.log.Info("chain failure reported", "chunk", id, "version", req.Version, "current", c.Version, "suspects", req.Failed, "by", r.session.client, "reason", req.Reason)
	type outcome struct {
		chunk state.Chunk
		err   error
	}
	finished := make(chan outcome, 1)
	m.loops.Go(func() {
		defer done()
		c, err := m.chainFor(c, req)
		finished <- outcome{c, err}
	})
	select {
	case o := <-finished:
		if o.err != nil {
			return nil, r.wrap(o.err)
		}
		return m.locate(o.chunk), nil
	case <-ctx.Done():
		return nil, r.fail(proto.Unavailable, "the chain is being changed; try again")
	}
}

// chainFor carries a report out. It goes on when the reporter has stopped waiting, who
// will ask again: else a long copy would begin anew with every report. The caller has
// the chunk to itself.
func (m *Master) chainFor(c state.Chunk, req *pb.ReportChainFailureRequest) (state.Chunk, error) {
	ctx, cancel := context.WithTimeout(m.stopping, m.cfg.CopyTimeout)
	defer cancel()
	suspects := nodeIDs(req.Failed)
	outdated := proto.Version(req.Version) < c.Version
	if outdated {
		suspects = nil // of a chain that is no more
	}
	if !req.Unwritten {
		m.probe(ctx, c)
	}
	c, err := m.settle(ctx, c)
	if err == nil && (!outdated || !m.complete(c)) {
		c, err = m.replaceChain(ctx, c, failure{suspects, req.Unwritten, req.Full && !outdated})
	}
	if proto.KindOf(err) == proto.IO && req.Unwritten && !c.Committed {
		err = m.discard(c)
	}
	return c, err
}

// discard frees a chunk that no byte was acknowledged in and that nobody has a replica
// of: its writer gets another one. The error is never nil.
func (m *Master) discard(c state.Chunk) error {
	if _, err := m.propose(&state.DropAssigned{Inode: c.Inode, Chunks: []proto.ChunkID{c.ID}}); err != nil {
		return &proto.Error{Kind: proto.KindOf(err), Op: "drop", Subject: chunkName(c), Err: err}
	}
	m.log.Info("a chunk without replicas and acknowledged bytes is dropped", "chunk", c.ID, "version", c.Version)
	return proto.E(proto.NotFound, "", chunkName(c), "nothing was written to it and no replica is left: ask for another")
}

// reported finds the chunk of a report, if the reporter may write to it.
func (m *Master) reported(r *request, req *pb.ReportChainFailureRequest) (c state.Chunk, kind proto.Kind) {
	m.machine.read(func(st *state.State) {
		var ok bool
		if c, ok = st.Chunk(proto.ChunkID(req.Chunk)); !ok {
			kind = proto.NotFound
			return
		}
		file := c.Inode
		if c.Shared() { // no writer's, but one of the files it stands in is to be synced
			file = proto.InodeID(req.Inode)
		}
		kind = m.mayWrite(st, r, file)
	})
	if kind == proto.OK && proto.Version(req.Version) > c.Version {
		kind = proto.Invalid // never issued
	}
	return c, kind
}

func nodeIDs(list []uint32) (ids []proto.NodeID) {
	for _, id := range list {
		ids = append(ids, proto.NodeID(id))
	}
	return ids
}

// complete tells whether every member of the chain may be written to.
func (m *Master) complete(c state.Chunk) bool {
	return !slices.Contains(readable(c, m.members(c), m.giveUp()), false)
}

// probe asks the members that are there without a replica, as far as is known, whether
// they have one: they may have been written to since their last heartbeat.
func (m *Master) probe(ctx context.Context, c state.Chunk) {
	if c.Version != firstVersion || c.Committed && m.nodes.Good(c) > 0 {
		return
	}
	var unknown []proto.NodeID
	for _, member := range m.members(c) {
		if member.Connected && member.Known && member.Holds.Version == 0 {
			unknown = append(unknown, member.Node)
		}
	}
	m.onEach(unknown, "confirm version", c, func(node proto.NodeID) error { return m.setVersion(ctx, node, c, false, false) })
}

// current reads a chunk again.
func (m *Master) current(c state.Chunk) (state.Chunk, error) {
	now, ok := m.machine.chunk(c.ID)
	if !ok {
		return c, proto.E(proto.NotFound, "", chunkName(c), "it was freed meanwhile")
	}
	return now, nil
}

// failure is why a chain has to be replaced.
type failure struct {
	suspects  []proto.NodeID
	unwritten bool // nothing that the reporter wrote was ever acknowledged
	full      bool // the suspects said themselves that they have no room
}

// replaceChain is steps 2 to 5. The caller has the chunk to itself.
func (m *Master) replaceChain(ctx context.Context, c state.Chunk, f failure) (state.Chunk, error) {
	var blamed proto.NodeID
	if f.full { // who passes on what its successor said blames nobody
		m.nodes.Full(f.suspects)
	} else {
		m.nodes.Suspect(f.suspects)
		blamed = m.blames.last(c.ID)
		m.blames.note(c.ID, accuser(c, f.suspects))
	}
	for ctx.Err() == nil {
		members := m.members(c)
		left, fresh, err := m.nextChain(c, members, f, blamed)
		if err != nil {
			return c, err
		}
		if silent := m.unconfirmed(ctx, c, members, left, f.suspects); len(silent) > 0 {
			f.suspects, blamed = append(f.suspects, silent...), 0
			continue
		}
		if err := m.ripen(ctx, c, left); err != nil {
			return c, err
		}
		if c, err = m.changeChain(c, slices.Concat(left, fresh), "chain failed"); err != nil {
			return c, err
		}
		failed := m.fence(ctx, c, left, f.unwritten)
		if len(failed) == 0 {
			failed = m.onEach(fresh, "copy", c, func(node proto.NodeID) error { return m.copyTo(ctx, node, c, left) })
		}
		if len(failed) == 0 {
			m.wakeRepair()
			return m.current(c)
		}
		f.suspects, blamed = append(f.suspects, failed...), 0
	}
	return c, proto.E(proto.Unavailable, "", "", "the chunkservers do not confirm the new chain; try again")
}

// unconfirmed asks those who are to go on whether they are there, if for them somebody is
// given up who may be as good as they: on a suspicion, then, and what is known of the others
// may be as old as their last heartbeat (L4). It gives those who do not confirm that they have the bytes.
// A suspect that is let off because of its accuser has to do so soon: it was silent before.
func (m *Master) unconfirmed(ctx context.Context, c state.Chunk, members []registry.Member, left, suspects []proto.NodeID) []proto.NodeID {
	givenUp := slices.ContainsFunc(members, func(member registry.Member) bool {
		return member.Good(c.Version) && member.Connected && !slices.Contains(left, member.Node)
	})
	if !givenUp {
		return nil
	}
	return m.onEach(left, "confirm version", c, func(node proto.NodeID) error {
		if slices.Contains(suspects, node) {
			limited, cancel := context.WithTimeout(ctx, suspectWithin)
			defer cancel()
			return m.setVersion(limited, node, c, false, false)
		}
		return m.setVersion(ctx, node, c, false, false)
	})
}

// nextChain chooses who goes on and who joins.
func (m *Master) nextChain(c state.Chunk, members []registry.Member, f failure, blamed proto.NodeID) (left, fresh []proto.NodeID, err error) {
	if m.tooEarly(c, members, f.suspects) {
		return nil, nil, proto.E(proto.Unavailable, "", "", "the master has just started and has not heard of every chunkserver")
	}
	least := int(m.cluster.MinReplicas)
	may := usable(c, members, m.giveUp(), f.unwritten)
	left = survivors(c, members, may, f.suspects, blamed)
	if len(left) >= least {
		return left, nil, nil
	}
	if fresh = m.joining(c, members, may, left, f.suspects); fresh != nil {
		return left, fresh, nil
	}
	// L4: never below min-replicas on a suspicion alone.
	all := survivors(c, members, may, nil, 0)
	if f.full && len(all) > len(left) {
		return nil, nil, proto.E(proto.NoSpace, "", "", fmt.Sprintf("%d of %d chunkservers of the chain have room, and no other has; at least %d are needed", len(left), len(c.Chain), least))
	}
	if len(all) >= least {
		return all, nil, nil
	}
	if fresh = m.joining(c, members, may, all, f.suspects); fresh != nil {
		return all, fresh, nil
	}
	switch {
	case len(all) > 0:
		return nil, nil, proto.E(proto.TooFewReplicas, "", "",
			fmt.Sprintf("%d of %d replicas are left and no chunkserver can take another; at least %d are needed", len(all), len(c.Chain), least))
	case hopeless(c, members, m.giveUp()):
		if _, err := m.current(c); err != nil { // its replicas were deleted
			return nil, nil, err
		}
		return nil, nil, proto.E(proto.IO, "", "", "no member of the chain has a replica any more")
	default:
		return nil, nil, proto.E(proto.Unavailable, "", "", "no member of the chain is there with a good replica")
	}
}

// joining are those who make up min-replicas with the members that go on, by copying
// from them; nil: there are not enough, or there is nobody to copy from.
func (m *Master) joining(c state.Chunk, members []registry.Member, usable []bool, left, suspects []proto.NodeID) []proto.NodeID {
	if len(left) == 0 {
		return nil
	}
	missing := int(m.cluster.MinReplicas) - len(left)
	if fresh, err := m.nodes.Place(missing, missing, c.Chain...); err == nil {
		return fresh
	}
	if fresh := replaceable(c, members, m.giveUp(), usable, suspects); len(fresh) >= missing {
		return fresh[:missing]
	}
	return nil
}

// tooEarly spares members that may be about to register again after a start of the master.
func (m *Master) tooEarly(c state.Chunk, members []registry.Member, suspects []proto.NodeID) bool {
	if m.cfg.Now().Sub(m.started) >= m.cfg.DeadAfter {
		return false
	}
	for i, s := range judge(c, members, m.giveUp()) {
		if s == pending && !slices.Contains(suspects, members[i].Node) {
			return true
		}
	}
	return false
}
