package meta

import (
	"slices"
	"time"

	"github.com/distrifs/distrifs/meta/registry"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
)

// Rebalancing moves replicas from chunkservers that are fuller than the mean to
// those that are emptier, batch by batch, until all are within evenEnough of it: then
// it ends by itself. A batch is at most half of what the fullest has too much, and the
// next is chosen when heartbeats have told what the last has brought, so that
// nothing is moved to and fro.
const (
	evenEnough     = 0.05    // of the whole of a chunkserver
	rebalanceBatch = 1 << 10 // chunks
)

// uneven is where a batch moves chunks from, and where to.
type uneven struct {
	from   proto.NodeID
	excess uint64         // bytes to be moved from there
	to     []proto.NodeID // in no order
}

// unevenness finds the fullest chunkserver; false: all are even enough, or there is
// nowhere to move to.
func unevenness(uses []registry.Use) (u uneven, ok bool) {
	if len(uses) < 2 {
		return uneven{}, false
	}
	var mean float64
	for _, use := range uses {
		mean += use.Share() / float64(len(uses))
	}
	fullest := slices.MaxFunc(uses, func(a, b registry.Use) int {
		if a.Share() < b.Share() {
			return -1
		}
		return 1
	})
	emptiest := fullest.Share()
	for _, use := range uses {
		emptiest = min(emptiest, use.Share())
		if use.Share() < mean {
			u.to = append(u.to, use.Node)
		}
	}
	if fullest.Share()-mean <= evenEnough && mean-emptiest <= evenEnough {
		return uneven{}, false
	}
	u.from, u.excess = fullest.Node, uint64((fullest.Share()-mean)*float64(fullest.Total)/2)
	return u, true
}

// rebalance is the loop's part of rebalancing. All of it belongs to the repair loop.
type rebalance struct {
	settled time.Time // when heartbeats have told what the last batch has brought
	barren  bool      // the last batch found nothing to move
}

// batch lists chunks to be moved, if it is time for some; it ends rebalancing when
// there is nothing left to do.
func (m *Master) batch(b *rebalance) (list []need) {
	now := m.cfg.Now()
	switch {
	case !m.rebalancing():
		*b = rebalance{}
		return nil
	case m.repairs.occupied():
		b.settled = now.Add(2 * m.cfg.Heartbeat)
		return nil
	case now.Before(b.settled):
		return nil
	}
	u, ok := unevenness(m.nodes.Uses())
	if !ok || b.barren {
		if _, err := m.propose(&state.Operate{Move: state.Rebalance}); err != nil {
			m.log.Warn("end rebalancing", "error", err)
		}
		m.log.Info("rebalancing has ended", "even", !ok)
		return nil
	}
	list = m.movable(u)
	b.barren = len(list) == 0
	b.settled = now.Add(2 * m.cfg.Heartbeat)
	return list
}

// movable finds chunks with a replica where there is too little room.
func (m *Master) movable(u uneven) (list []need) {
	left := u.excess
	m.eachChunkIn(func(st *state.State, c state.Chunk) bool {
		n := need{chunk: c.ID, good: int(m.cluster.Replicas), bytes: lengthOf(st, c, m.cluster.ChunkSize), from: u.from, to: u.to}
		fits := slices.ContainsFunc(u.to, func(node proto.NodeID) bool { return !slices.Contains(c.Chain, node) })
		if !c.Committed || !fits || n.bytes == 0 || n.bytes > left || !slices.Contains(c.Chain, u.from) || m.nodes.Recent(c.ID) {
			return true
		}
		if m.nodes.Good(c) < int(m.cluster.Replicas) {
			return true
		}
		left -= n.bytes
		list = append(list, n)
		return len(list) < rebalanceBatch
	})
	return list
}
