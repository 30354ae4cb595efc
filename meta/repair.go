package meta

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/distrifs/distrifs/meta/registry"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
)

// Repair brings committed chunks back to their number of good replicas. A round looks
// at every chunk and works on the neediest, a few at a time:
//
//  1. a member that is behind is brought forward (SetVersion), and the last resort is
//     told that its bytes stand; neither waits for the end of safe mode, for nobody can
//     read or write before
//  2. otherwise the next version, with the good members and new ones, goes into the
//     log; the good ones are fenced at it, and the new ones copy from them (L1)
//
// From the fence until the new member has confirmed, the chunk's location lacks an
// address for it: readers go to the others, writers wait. A copy that fails leaves a
// member without a replica, which the next round sees.
const (
	maxRepairs  = 8       // chunks worked on at a time
	repairRound = 1 << 10 // chunks of a round
	// restShare is how much longer than a round the pause before the next one is.
	restShare = 4
)

// wakeRepair has the repair loop look at once.
func (m *Master) wakeRepair() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// repair is the loop.
func (m *Master) repair(ctx context.Context) {
	var rest time.Time
	every(ctx, m.cfg.RepairEvery, m.kick, func() {
		if m.cfg.Now().Before(rest) {
			return
		}
		began := m.cfg.Now()
		m.repairAll(ctx, m.needy())
		if !m.inSafeMode() {
			m.removeExtra(ctx)
		}
		ended := m.cfg.Now()
		rest = ended.Add(min(restShare*ended.Sub(began), time.Minute))
	})
}

// need is a chunk that lacks replicas.
type need struct {
	chunk proto.ChunkID
	good  int
}

// needy lists the chunks that can be helped now, those with the fewest good replicas
// first. What was written a moment ago is left for later.
func (m *Master) needy() []need {
	var list []need
	mayCopy := !m.inSafeMode()
	m.eachChunk(func(c state.Chunk) bool {
		good := m.nodes.Good(c)
		if !c.Committed || good >= int(m.cluster.Replicas) {
			return true
		}
		p := m.plan(c)
		if len(p.forward) > 0 || mayCopy && p.needed() && !m.nodes.Recent(c.ID) {
			list = append(list, need{c.ID, good})
		}
		return len(list) < 64*repairRound
	})
	slices.SortStableFunc(list, func(a, b need) int { return cmp.Compare(a.good, b.good) })
	return list[:min(len(list), repairRound)]
}

// plan is planRepair, less the replicas that no chunkserver could take.
func (m *Master) plan(c state.Chunk) repairPlan {
	p := planRepair(c, m.members(c), m.giveUp(), int(m.cluster.Replicas), int(m.cluster.MinReplicas))
	if p.want > 0 {
		p.want = min(p.want, m.nodes.Others(c.Chain))
	}
	return p
}

func (m *Master) repairAll(ctx context.Context, list []need) {
	room := make(chan struct{}, maxRepairs)
	var group sync.WaitGroup
	for _, n := range list {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		group.Go(func() {
			defer func() { <-room }()
			m.repairOne(ctx, n.chunk)
		})
	}
	group.Wait()
}

// repairOne works on one chunk, unless a writer's report is being worked on.
func (m *Master) repairOne(ctx context.Context, id proto.ChunkID) {
	done, ok := m.work.try(id)
	if !ok {
		return
	}
	defer done()
	c, ok := m.machine.chunk(id)
	if !ok || !c.Committed {
		return
	}
	p := m.plan(c)
	switch {
	case len(p.forward) > 0:
		m.fence(ctx, c, p.forward, false)
	case p.needed() && !m.inSafeMode():
		m.addReplicas(ctx, c, p)
	}
}

// addReplicas is step 2.
func (m *Master) addReplicas(ctx context.Context, c state.Chunk, p repairPlan) {
	targets := p.again
	if p.want > 0 {
		more, err := m.nodes.Place(p.want, 0, c.Chain...)
		if err != nil {
			m.log.Warn("no place for another replica", "chunk", c.ID, "error", err)
		}
		targets = slices.Concat(targets, more)
	}
	targets = slices.DeleteFunc(targets, func(node proto.NodeID) bool { return !m.clear(ctx, c, node) })
	chain := slices.Concat(p.keep, targets)
	if len(targets) == 0 || len(chain) < int(m.cluster.MinReplicas) {
		return
	}
	next, err := m.changeChain(c, chain, "repair")
	if err != nil {
		m.log.Warn("repair", "error", err)
		return
	}
	if failed := m.fence(ctx, next, p.sources, false); len(failed) > 0 {
		return
	}
	failed := m.onEach(targets, "copy", next, func(node proto.NodeID) error { return m.copyTo(ctx, node, next, p.sources) })
	m.log.Info("chunk repaired", "chunk", c.ID, "version", next.Version, "chain", next.Chain, "copied_to", targets, "failed", failed)
}

// clear removes a stale replica from a chunkserver before the chunk is copied to it;
// an unsound one of the current version stays until the copy replaces it. It answers
// false when the chunkserver cannot be copied to.
func (m *Master) clear(ctx context.Context, c state.Chunk, node proto.NodeID) bool {
	switch held := m.nodes.Holds(node, c); {
	case held.Version > c.Version: // L1
		m.log.Error("a replica is newer than the log: it is left alone", "chunk", c.ID, "version", c.Version, "node", node, "has", held.Version)
		return false
	case held.Version != 0 && held.Version < c.Version:
		if err := m.deleteFrom(ctx, node, c.ID, held.Version, "stale"); err != nil {
			m.log.Warn("delete stale replica", "chunk", c.ID, "node", node, "error", err)
			return false
		}
	}
	return true
}

// maxExtra is how many replicas a round removes.
const maxExtra = 256

// removeExtra removes replicas from chunkservers that are not in the chain of a chunk
// which has all it needs: what a repair or a returned server has left behind.
func (m *Master) removeExtra(ctx context.Context) {
	var extra []registry.Stray
	m.machine.read(func(st *state.State) {
		extra = m.nodes.Strays(maxExtra, func(s registry.Stray) bool {
			c, ok := st.Chunk(s.Chunk)
			return ok && s.Alive && s.Replica.Version <= c.Version && !slices.Contains(c.Chain, s.Node)
		})
	})
	for _, s := range extra {
		if ctx.Err() != nil {
			return
		}
		m.removeOneExtra(ctx, s)
	}
}

func (m *Master) removeOneExtra(ctx context.Context, s registry.Stray) {
	done, ok := m.work.try(s.Chunk)
	if !ok {
		return
	}
	defer done()
	c, ok := m.machine.chunk(s.Chunk)
	if !ok || slices.Contains(c.Chain, s.Node) || m.nodes.Good(c) < int(m.cluster.Replicas) || m.nodes.Recent(c.ID) {
		return
	}
	if err := m.deleteFrom(ctx, s.Node, c.ID, s.Replica.Version, "not in the chain"); err != nil {
		m.log.Warn("delete extra replica", "chunk", c.ID, "node", s.Node, "error", err)
		return
	}
	m.log.Info("extra replica removed", "chunk", c.ID, "node", s.Node, "version", s.Replica.Version)
}

// watchNodes declares chunkservers dead.
func (m *Master) watchNodes(ctx context.Context) {
	every(ctx, min(time.Second, m.cfg.DeadAfter/4), nil, func() {
		for _, id := range m.nodes.Tick() {
			m.log.Warn("chunkserver is dead", "node", id, "silent", m.cfg.DeadAfter)
		}
	})
}
