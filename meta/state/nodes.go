package state

import (
	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// node is a chunkserver; its slot is its id. Nodes are never forgotten.
type node struct {
	instance uuid.UUID
	address  ref   // blob
	leaving  bool  // decommissioned
	away     int64 // end of maintenance in seconds since 1970; 0: none

	incarnation uint64 // of the start that registered last; 0: not known
}

func (n *node) freeLink() *uint32 { return &n.address }

func (s *State) registerNode(c *RegisterNode) Result {
	if len(c.Address) > MaxAddress || c.Instance == uuid.Nil {
		return Result{Kind: proto.Invalid}
	}
	for i := uint32(1); i < s.nodes.length; i++ {
		if s.nodes.get(i).instance != c.Instance {
			continue
		}
		if c.Incarnation < s.nodes.get(i).incarnation {
			return Result{Kind: proto.OldEpoch}
		}
		n := s.nodes.mut(i)
		s.arena.freeBlob(n.address)
		n.address, n.incarnation = s.arena.newBlob([]byte(c.Address)), c.Incarnation
		return Result{Node: proto.NodeID(i)}
	}
	if s.nodes.live >= MaxNodes {
		return Result{Kind: proto.NoSpace}
	}
	id := s.addNode(c.Instance, []byte(c.Address))
	s.nodes.mut(uint32(id)).incarnation = c.Incarnation
	return Result{Node: id}
}

func (t *tables) addNode(instance uuid.UUID, address []byte) proto.NodeID {
	i := t.nodes.alloc()
	*t.nodes.mut(i) = node{instance: instance, address: t.arena.newBlob(address)}
	return proto.NodeID(i)
}

// Nodes lists the chunkservers in order of their ids.
func (s *State) Nodes() []NodeInfo {
	list := make([]NodeInfo, 0, s.nodes.live)
	for i := uint32(1); i < s.nodes.length; i++ {
		n := s.nodes.get(i)
		list = append(list, NodeInfo{
			ID: proto.NodeID(i), Instance: n.instance, Address: string(s.arena.blob(nil, n.address)),
			Incarnation: n.incarnation, Decommissioned: n.leaving, Maintenance: Time{Sec: n.away},
		})
	}
	return list
}

func (s *State) operate(c *Operate) Result {
	if c.Move == Rebalance {
		if c.Node != 0 {
			return Result{Kind: proto.Invalid}
		}
		s.rebalancing = c.On
		return Result{}
	}
	if c.Node == 0 || uint32(c.Node) >= s.nodes.length {
		return Result{Kind: proto.NotFound}
	}
	switch c.Move {
	case Decommission:
		s.nodes.mut(uint32(c.Node)).leaving = c.On
	case Maintenance:
		until := int64(0)
		if c.On {
			until = max(1, c.Until.Sec)
		}
		s.nodes.mut(uint32(c.Node)).away = until
	default:
		return Result{Kind: proto.Invalid}
	}
	return Result{}
}

// Rebalancing tells whether chunks are to move to where there is more room.
func (s *State) Rebalancing() bool { return s.rebalancing }
