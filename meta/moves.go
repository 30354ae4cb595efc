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

// Moves take replicas away from where they are good: from a chunkserver that is
// decommissioned, from a disk that is failing, or from one that is fuller than others.
// A chunk that moves never has fewer good replicas than before: first it gets the new
// ones, in a chain with the old ones, and then the old ones leave the chain, to be
// removed like any surplus. Old ones on slow disks are not waited for: they stay a version
// behind, with all that was acknowledged, until they leave.
//
// What operators asked for is in the log and is taken up again after a restart. Moves come
// behind repairs and take their share of the same streams and rate.

// maxMaintenance bounds how long the replicas of an absent chunkserver are not replaced.
const maxMaintenance = 7 * 24 * time.Hour

// Operate begins or ends what an operator wants.
func (m *Master) Operate(_ context.Context, req *pb.OperateRequest) (*pb.OperateReply, error) {
	node := proto.NodeID(req.Node)
	refuse := func(kind proto.Kind, detail string) error {
		return proto.E(kind, moveNames[req.Move], fmt.Sprintf("chunkserver %d", node), detail)
	}
	if _, known := m.nodeInfo(node); !known && req.Move != pb.Move_MOVE_REBALANCE {
		return nil, refuse(proto.NotFound, "no chunkserver has this number; see distrifs status")
	}
	c := &state.Operate{Node: node, Move: state.Move(req.Move), On: req.On}
	switch {
	case req.Move == pb.Move_MOVE_MAINTENANCE && req.On:
		length := time.Duration(req.Seconds) * time.Second
		if req.Seconds == 0 || req.Seconds > uint64(maxMaintenance/time.Second) {
			return nil, refuse(proto.Invalid, "it may take from 1 second to 7 days")
		}
		c.Until = state.Time{Sec: m.cfg.Now().Add(length).Unix()}
	case req.Move == pb.Move_MOVE_DECOMMISSION && req.On:
		if left := m.nodes.Staying(node); left < int(m.cluster.Replicas) {
			return nil, refuse(proto.Busy,
				fmt.Sprintf("%d others are there, and a chunk has %d replicas: add chunkservers first", left, m.cluster.Replicas))
		}
	}
	if _, err := m.propose(c); err != nil {
		return nil, refuse(proto.KindOf(err), err.Error())
	}
	m.log.Info("operator", "move", moveNames[req.Move], "on", req.On, "node", node)
	m.wakeRepair()
	return &pb.OperateReply{Chunks: m.membersOf(node)}, nil
}

var moveNames = map[pb.Move]string{
	pb.Move_MOVE_NONE: "operate", pb.Move_MOVE_DECOMMISSION: "decommission", pb.Move_MOVE_MAINTENANCE: "maintenance", pb.Move_MOVE_REBALANCE: "rebalance",
}

// membersOf counts the chunks that have a replica on a chunkserver.
func (m *Master) membersOf(node proto.NodeID) (count uint64) {
	m.eachChunk(func(c state.Chunk) bool {
		if slices.Contains(c.Chain, node) {
			count++
		}
		return true
	})
	return count
}

// operated follows a change in the log. It needs the machine's lock.
func (m *Master) operated(node proto.NodeID) {
	for _, info := range m.machine.st.Nodes() {
		if info.ID == node {
			m.nodes.Operate(info)
		}
	}
}

func (m *Master) rebalancing() (on bool) {
	m.machine.read(func(st *state.State) { on = st.Rebalancing() })
	return on
}

// movePlan is what a chunk needs whose replicas are to move.
type movePlan struct {
	keep    []proto.NodeID // good and to stay, in the chain's order
	leaving []proto.NodeID // good and to leave
	slow    []proto.NodeID // of these the ones on slow disks
	want    int            // new ones wanted before these leave
}

// planMove says how to move a chunk's replicas away from members that want to leave.
// One whose members are not all accounted for is left to repair, and to time.
func planMove(c state.Chunk, members []registry.Member, giveUp time.Duration, replicas int, leaves func(registry.Member) bool) (p movePlan) {
	standings := judge(c, members, giveUp)
	for i, member := range members {
		switch {
		case standings[i] == behind || standings[i] == pending:
			return movePlan{}
		case standings[i] != good:
		case leaves(member):
			p.leaving = append(p.leaving, member.Node)
			if member.Holds.Slow {
				p.slow = append(p.slow, member.Node)
			}
		default:
			p.keep = append(p.keep, member.Node)
		}
	}
	if len(p.leaving) == 0 {
		return movePlan{}
	}
	p.want = max(0, replicas-len(p.keep))
	return p
}

// quick are the good ones that can be waited for; all of them, if they are all slow.
func (p movePlan) quick() []proto.NodeID {
	all := slices.Concat(p.keep, p.leaving)
	if len(p.slow) == len(all) {
		return all
	}
	return slices.DeleteFunc(all, func(node proto.NodeID) bool { return slices.Contains(p.slow, node) })
}

// needed tells whether there is anything to do.
func (p movePlan) needed() bool { return len(p.leaving) > 0 }

// planLeaving is planMove for what has to leave its place, or for what rebalancing wants
// to leave from.
func (m *Master) planLeaving(c state.Chunk, from proto.NodeID) movePlan {
	return planMove(c, m.members(c), m.giveUp(), int(m.cluster.Replicas), func(member registry.Member) bool {
		return member.Leaving || member.Node == from
	})
}

// moveTargets chooses where a chunk moves to, of those that are not busy. Rebalancing
// moves only to where there is more room.
func (m *Master) moveTargets(c state.Chunk, p movePlan, n need) []proto.NodeID {
	return m.nodes.PlaceBeside(p.want, c.ID, c.Chain, func(node proto.NodeID) bool {
		return m.repairs.isBusy(node) || n.from != 0 && !slices.Contains(n.to, node)
	})
}

// move is work on a chunk. It answers how many copies were made.
func (m *Master) move(ctx context.Context, c state.Chunk, p movePlan, targets []proto.NodeID) (copies int) {
	if len(targets) > 0 {
		var err error
		if copies, c, err = m.widen(ctx, c, p, targets); err != nil || copies < len(targets) {
			return copies
		}
	}
	if len(p.keep)+len(targets) < int(m.cluster.Replicas) {
		return copies // the rest leaves when there are enough
	}
	stay := slices.Concat(p.keep, targets)
	next, err := m.changeChain(c, stay, "move")
	if err != nil {
		m.log.Warn("move", "error", err)
		return copies
	}
	m.fence(ctx, next, stay, false)
	return copies
}

// widen adds members to the chain of a chunk whose members are all good.
func (m *Master) widen(ctx context.Context, c state.Chunk, p movePlan, targets []proto.NodeID) (copies int, next state.Chunk, err error) {
	targets = slices.DeleteFunc(slices.Clone(targets), func(node proto.NodeID) bool { return !m.clear(c, node) })
	chain := slices.Concat(slices.DeleteFunc(slices.Clone(c.Chain), func(node proto.NodeID) bool {
		return !slices.Contains(p.keep, node) && !slices.Contains(p.leaving, node)
	}), targets)
	if len(targets) == 0 || len(chain) > maxReplicas {
		return 0, c, proto.E(proto.Busy, "move", chunkName(c), "there is no place in its chain")
	}
	if next, err = m.changeChain(c, chain, "move"); err != nil {
		m.log.Warn("move", "error", err)
		return 0, c, err
	}
	sources := m.repairs.byLoad(p.quick())
	if failed := m.fence(ctx, next, sources, false); len(failed) > 0 {
		return 0, next, proto.E(proto.Unavailable, "move", chunkName(c), "a member did not confirm")
	}
	failed := m.onEach(targets, "copy", next, func(node proto.NodeID) error { return m.repairCopy(ctx, node, next, sources, false) })
	return len(targets) - len(failed), next, nil
}
