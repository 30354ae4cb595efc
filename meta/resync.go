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
// already, or of the given ones that are there the most trusted. The zero Member: none is.
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
		if i := slices.IndexFunc(members, fits); i >= 0 {
			return members[i]
		}
	}
	return registry.Member{}
}

// settle makes members equal that are behind, at the version that the chain has in the
// log. If somebody is away who may have that version, too, and other bytes, the chunk is
// unsure from then on. The caller has the chunk to itself.
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
		m.work.doubt(c.ID, true)
	}
	m.fence(ctx, c, forward, false)
	return m.current(c)
}

// bringForward has members take on the version that the chain has in the log. If they
// may lack acknowledged bytes, it is raised first, and all that are not corrupt are made
// equal to the last resort. The caller has the chunk to itself.
func (m *Master) bringForward(ctx context.Context, c state.Chunk) {
	members := m.members(c)
	if !lacking(c, members, c.Chain) {
		if _, err := m.settle(ctx, c); err != nil {
			m.log.Warn("bring replicas forward", "error", err)
		}
		return
	}
	var nodes []proto.NodeID
	for _, member := range members {
		if member.Connected && isOf(member.Holds, c) && !member.Holds.Corrupt {
			nodes = append(nodes, member.Node)
		}
	}
	c, err := m.changeChain(c, c.Chain, "power loss")
	if err != nil {
		m.log.Warn("bring replicas forward", "error", err)
		return
	}
	m.fence(ctx, c, nodes, false)
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
