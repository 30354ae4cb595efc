package meta

import (
	"context"
	"slices"

	"github.com/distrifs/distrifs/meta/registry"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
)

// Making replicas equal. Members of a chain agree about every byte that was acknowledged,
// and may differ in others: when a write failed in mid-chain, when its writer died, when a
// chunkserver died in mid-write. They are made equal at a version that nobody writes at
// yet:
//
//  1. one of them, the base, takes the version on: from then on it refuses older ones,
//     so it has all that was acknowledged, and stays as it is
//  2. the others, who refuse them too from when they begin, compare their checksums
//     with the base's, fetch what differs, and take the version on
//
// In between nobody is told where the chunk is: else somebody could read an unacknowledged
// byte from the base that is gone if the base dies.

// fence brings members that go on to the chunk's version, equal to each other and
// to those that have it already. It returns those that did not confirm; when the base did
// not, nobody else was asked. unwritten allows to make an empty replica, if nobody has one.
func (m *Master) fence(ctx context.Context, c state.Chunk, nodes []proto.NodeID, unwritten bool) (failed []proto.NodeID) {
	if len(nodes) == 0 {
		return nil
	}
	base := chooseBase(c, m.members(c), nodes)
	if base.Node == 0 || base.Holds.Version == 0 && !unwritten {
		return nodes // who is not there may have the bytes
	}
	others := slices.DeleteFunc(slices.Clone(nodes), func(node proto.NodeID) bool { return node == base.Node })
	if !base.Good(c.Version) {
		defer m.work.unlike(c.ID)()
		failed = m.onEach([]proto.NodeID{base.Node}, "set version", c, func(node proto.NodeID) error {
			return m.setVersion(ctx, node, c, base.Holds.Version == 0 && !c.Committed, base.Holds.Unclean)
		})
		if len(failed) > 0 {
			return failed
		}
	}
	return m.onEach(others, "make equal", c, func(node proto.NodeID) error {
		return m.copyTo(ctx, node, c, []proto.NodeID{base.Node})
	})
}

// chooseBase finds the member that the others are made equal to: one that has the version
// already, or of the given ones that are there the most trusted; if several are, rather one
// whose disk is not slow, for all wait for it. The zero Member: none is.
func chooseBase(c state.Chunk, members []registry.Member, nodes []proto.NodeID) registry.Member {
	given := func(m registry.Member) bool { return m.Connected && slices.Contains(nodes, m.Node) }
	for _, fits := range []func(registry.Member) bool{
		func(m registry.Member) bool { return m.Connected && m.Good(c.Version) },
		func(m registry.Member) bool { return given(m) && isOf(m.Holds, c) && m.Holds.Sound() },
		func(m registry.Member) bool { return given(m) && isOf(m.Holds, c) && m.Holds.Whole() },
		func(m registry.Member) bool { return given(m) && m.Holds.Version == c.Version },
		func(m registry.Member) bool { return given(m) && isOf(m.Holds, c) },
		given,
	} {
		if i := slices.IndexFunc(members, func(m registry.Member) bool { return fits(m) && !m.Holds.Slow }); i >= 0 {
			return members[i]
		}
		if i := slices.IndexFunc(members, fits); i >= 0 {
			return members[i]
		}
	}
	return registry.Member{}
}

// settle makes members equal that are behind, at the version that the chain has in the
// log. If somebody is away who may have that version, too, and other bytes, it is raised, so that he
// is not taken for equal when he comes back. The caller has the chunk to itself.
func (m *Master) settle(ctx context.Context, c state.Chunk) (state.Chunk, error) {
	members := m.members(c)
	var forward []proto.NodeID
	based, away := false, false // one serves at this version; one is not there
	for i, s := range judge(c, members, m.giveUp()) {
		switch {
		case s == behind && members[i].Connected:
			forward = append(forward, members[i].Node)
		case s == good && members[i].Connected:
			based = true
		case s != lost:
			away = true
		}
	}
	if len(forward) == 0 {
		return c, nil
	}
	if away && !based {
		return m.raise(ctx, c, forward, "a member is away")
	}
	m.fence(ctx, c, forward, false)
	return m.current(c)
}

// bringForward has members take on the version that the chain has in the log. If they
// may lack acknowledged bytes, it is raised first, and all that are not corrupt are made
// equal to the last resort. The caller has the chunk to itself.
func (m *Master) bringForward(ctx context.Context, c state.Chunk) {
	var err error
	if members := m.members(c); lacking(c, members, c.Chain) {
		var nodes []proto.NodeID
		for _, member := range members {
			if stands(member, c) {
				nodes = append(nodes, member.Node)
			}
		}
		_, err = m.raise(ctx, c, nodes, "power loss")
	} else {
		_, err = m.settle(ctx, c)
	}
	if err != nil {
		m.log.Warn("bring replicas forward", "chunk", c.ID, "version", c.Version, "error", err)
	}
}

// raise makes members equal at the next version, without a change of the chain.
func (m *Master) raise(ctx context.Context, c state.Chunk, nodes []proto.NodeID, why string) (state.Chunk, error) {
	if err := m.ripen(ctx, c, nodes); err != nil {
		return c, err
	}
	c, err := m.changeChain(c, c.Chain, why)
	if err != nil {
		return c, err
	}
	m.fence(ctx, c, nodes, false)
	return m.current(c)
}

// ripen comes before the version is raised for members to go on with: who is two versions
// behind is trusted no more, so those that have all that was acknowledged must not be left
// there, however often the master and they die before they hear of the next one. Where
// no good replica goes on, all that are there and may yet have to stand take the version on
// that is in the log. They are unclean at it, for nobody has compared them. Unavailable: none
// of the nodes did.
func (m *Master) ripen(ctx context.Context, c state.Chunk, nodes []proto.NodeID) error {
	var older []proto.NodeID
	ripe := false
	for _, member := range m.members(c) {
		goesOn := slices.Contains(nodes, member.Node)
		switch {
		case goesOn && member.Good(c.Version):
			return nil
		case !stands(member, c):
		case member.Holds.Version == c.Version:
			ripe = ripe || goesOn
		default:
			older = append(older, member.Node)
		}
	}
	if len(older) == 0 {
		return nil
	}
	failed := m.onEach(older, "take on version", c, func(node proto.NodeID) error { return m.takeOn(ctx, node, c) })
	for _, node := range older {
		ripe = ripe || slices.Contains(nodes, node) && !slices.Contains(failed, node)
	}
	if !ripe {
		return proto.E(proto.Unavailable, "raise version of", chunkName(c), "no chunkserver confirms the one in the log; try again")
	}
	return nil
}

// renew raises the version of a chunk and makes its replicas equal: after that nobody
// can write to it who could before, and all agree about every byte (L8, G3). The
// caller has the chunk to itself.
func (m *Master) renew(ctx context.Context, c state.Chunk) error {
	c, err := m.settle(ctx, c)
	if err == nil {
		_, err = m.replaceChain(ctx, c, failure{})
	}
	return err
}
