package meta

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/distrifs/distrifs/meta/registry"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Repair brings committed chunks back to their number of good replicas. A look at all
// chunks finds those that can be helped, and queues the neediest; work on one of them is:
//
//  1. a member that is behind is made equal, and the last resort is
//     told that its bytes stand; neither waits for the end of safe mode, for nobody can
//     read or write before. The same is done, at the next version, when a
//     chunkserver says that a write failed in mid-chain and its writer does nothing
//  2. otherwise the next version, with the good members and new ones, goes into the
//     log; the good ones are fenced at it, and the new ones copy from them (L1). What is
//     being written to is copied ahead of that, so that writers wait for less (hot.go)
//
// A chunkserver takes part in RepairStreams copies at a time, as the source or the
// target, each at its share of RepairRate; the least busy are chosen. So a repair never
// takes more than that from the requests of users.
//
// From the fence until the new member has confirmed, the chunk's location lacks an
// address for it: readers go to the others, writers wait. A copy that fails leaves a
// member without a replica, which the next look sees.
const (
	maxRepairs  = 64      // chunks worked on at a time
	repairRound = 1 << 10 // chunks queued by a look
	// restShare is how much longer than a look the pause before the next one is.
	restShare = 4
	// allBusy is how many chunks in a row find no free chunkserver before the rest of
	// the queue is left for later.
	allBusy = 64
)

// wakeRepair has the repair loop look at once.
func (m *Master) wakeRepair() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// repair is the loop. Work that it began has ended when it returns.
func (m *Master) repair(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	ticker := time.NewTicker(m.cfg.RepairEvery)
	defer ticker.Stop()
	var rest time.Time
	late := false // a look was asked for and did not happen
	var even rebalance
	for {
		look := false
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			look = true
			m.tellRepairs()
		case <-m.kick:
			look = true
		case <-m.repairs.finished:
		}
		if look || late {
			began := m.cfg.Now()
			if late = began.Before(rest); !late {
				list, t := m.needy()
				for _, n := range m.batch(&even) {
					list = append(list, n)
					t.add(n)
				}
				m.repairs.found(list, t)
				ended := m.cfg.Now()
				rest = ended.Add(restShare * ended.Sub(began))
			}
		}
		m.dispatch(ctx, &group)
	}
}

// tellRepairs keeps the log to one line for what was repaired since the last.
func (m *Master) tellRepairs() {
	if chunks, waiting := m.repairs.news(); chunks > 0 {
		m.log.Info("chunks repaired", "chunks", chunks, "waiting", waiting)
	}
}

// needy lists chunks that can be helped now, those with the fewest good replicas
// first and those that only have to move last, and counts all there are. What was
// written a moment ago is left for later, but not for ever: see hot.
func (m *Master) needy() (list []need, t tally) {
	var byGood [maxReplicas][]need
	var moves []need
	mayCopy, anyLeaving := !m.inSafeMode(), m.nodes.Leaving()
	spared := m.hot.look(m.cfg.Now())
	defer spared.done()
	var reserves []proto.InodeID
	t.toMove = map[proto.NodeID]uint64{}
	for _, node := range m.nodes.Decommissioned() {
		t.toMove[node] = 0 // "it may go" is said of whom a whole look found nothing for
	}
	m.eachChunkIn(func(st *state.State, c state.Chunk) bool {
		n := need{chunk: c.ID, good: m.nodes.Good(c)}
		counted := false
		if anyLeaving {
			var movable bool
			counted, movable = m.countLeaving(c, t.toMove)
			n.leaving = movable && m.planLeaving(c, 0).needed()
		}
		if !c.Committed {
			switch {
			case st.Reserved(c.Inode):
				if !m.nodes.Stay(c.Chain) {
					reserves = append(reserves, c.Inode)
				}
				return true
			case !counted || !m.sessions.isOpen(c.Inode) || spared.spare(c.ID, hotFor*m.cfg.Quiet):
				return true
			}
			n.unsettled, n.leaving = !n.leaving, true
		}
		if n.good >= int(m.cluster.Replicas) && !n.leaving {
			return true
		}
		if m.repairs.working(c.ID) {
			spared.keep(c.ID)
			return true
		}
		forward := false
		if !n.leaving {
			p := m.plan(c)
			if forward = len(p.forward) > 0; !forward && !p.needed() {
				return true
			}
		}
		n.hot = m.nodes.Recent(c.ID)
		if !forward && (!mayCopy || n.hot && (n.leaving || spared.spare(c.ID, hotFor*m.cfg.Quiet))) {
			return true
		}
		n.bytes = lengthOf(st, c, m.cluster.ChunkSize)
		t.add(n)
		switch {
		case n.leaving && len(moves) < repairRound:
			moves = append(moves, n)
		case !n.leaving && len(byGood[n.good]) < repairRound:
			byGood[n.good] = append(byGood[n.good], n)
		}
		return true
	})
	if mayCopy {
		m.recallReserves(reserves)
	}
	for _, some := range byGood {
		list = append(list, some...)
	}
	list = append(list, moves...)
	return list[:min(len(list), repairRound)], t
}

// countLeaving counts a chunk for the members that have to give it up, and tells whether there
// are any, and any from which it can be moved.
func (m *Master) countLeaving(c state.Chunk, toMove map[proto.NodeID]uint64) (counted, movable bool) {
	for _, member := range m.members(c) {
		if member.Leaving || member.Holds.Failing {
			toMove[member.Node]++
			counted = true
		}
		movable = movable || member.Leaving
	}
	return counted, movable
}

// plan is planRepair, less what no chunkserver could take, and less what comes back
// from maintenance.
func (m *Master) plan(c state.Chunk) repairPlan {
	members := m.members(c)
	p := m.planAsSoonAs(c, members)
	if len(p.forward) > 0 || p.renew {
		return p
	}
	// One whose connection broke a moment ago counts as good until it is dead, and cannot be asked.
	p.sources = slices.DeleteFunc(slices.Clone(p.sources), func(node proto.NodeID) bool { return !m.nodes.Connected(node) })
	again := slices.DeleteFunc(slices.Clone(p.again), func(node proto.NodeID) bool { return !m.nodes.Roomy(node) })
	p.want += len(p.again) - len(again) // where a replica was lost and none fits, another server takes it
	p.again = again
	if p.want > 0 {
		p.want = min(p.want, m.nodes.Others(c.Chain))
	}
	return p
}

// planAsSoonAs is planRepair with the patience that the chunk allows. While there is a
// good replica to copy from, too many copies are the worst that can come of haste: who
// is dead is replaced at once. Where there is none, who comes back may be the last that has
// the bytes, so nobody is given up early. Who is in maintenance is waited for.
func (m *Master) planAsSoonAs(c state.Chunk, members []registry.Member) repairPlan {
	patience := m.giveUp()
	if slices.ContainsFunc(members, func(member registry.Member) bool { return member.Good(c.Version) }) {
		patience = m.cfg.DeadAfter + m.cfg.RepairDelay
		for i, member := range members {
			if member.Gone >= m.cfg.RepairDelay {
				members[i].Silence = patience
			}
		}
	}
	if onlyMaintenance(judge(c, members, patience), members) {
		return repairPlan{}
	}
	return planRepair(c, members, patience, int(m.cluster.Replicas), int(m.cluster.MinReplicas))
}

// onlyMaintenance tells whether a chunk lacks nothing but members in maintenance.
func onlyMaintenance(standings []standing, members []registry.Member) bool {
	absent := 0
	for i, s := range standings {
		switch {
		case s == good:
		case s == pending && members[i].Maintenance:
			absent++
		default:
			return false
		}
	}
	return absent > 0
}

// dispatch begins work on chunks of the queue as long as there are free chunkservers.
func (m *Master) dispatch(ctx context.Context, group *sync.WaitGroup) {
	queue, room := m.repairs.queue()
	skipped := 0
	for _, n := range queue {
		if room == 0 || skipped == allBusy || ctx.Err() != nil {
			return
		}
		begun, free := m.beginRepair(ctx, n, group)
		switch {
		case begun:
			room, skipped = room-1, 0
		case free:
			m.repairs.skip(n)
		default:
			skipped++
		}
	}
}

// beginRepair begins work on one chunk in the background, unless there is none, or a
// writer's report is being worked on (free), or everybody it takes is busy.
func (m *Master) beginRepair(ctx context.Context, n need, group *sync.WaitGroup) (begun, free bool) {
	done, ok := m.work.try(n.chunk)
	if !ok {
		return false, true
	}
	c, ok := m.machine.chunk(n.chunk)
	if !ok || !c.Committed && !n.leaving {
		done()
		return false, true
	}
	if n.moves() {
		return m.beginMove(ctx, c, n, group, done)
	}
	p := m.plan(c)
	switch {
	case len(p.forward) > 0:
		m.inBackground(group, n, nil, done, func() int { m.bringForward(ctx, c); return 0 })
		return true, true
	case !p.needed() || m.inSafeMode():
		done()
		return false, true
	case p.renew:
		m.inBackground(group, n, nil, done, func() int {
			if err := m.renew(ctx, c); err != nil {
				m.log.Info("replicas cannot be made equal yet", "chunk", c.ID, "version", c.Version, "error", err)
			}
			return 0
		})
		return true, true
	}
	targets := m.repairTargets(c, p)
	p.sources = m.repairs.byLoad(p.sources)
	if len(targets) == 0 || m.repairs.isBusy(p.sources[0]) {
		done()
		return false, false
	}
	if ahead := m.ahead(c, targets); n.hot && len(ahead) > 0 {
		done()
		nodes := append([]proto.NodeID{p.sources[0]}, ahead...)
		m.inBackground(group, n, nodes, func() {}, func() int { m.copyAhead(ctx, c, p.sources, ahead); return 0 })
		return true, true
	}
	nodes := append([]proto.NodeID{p.sources[0]}, targets...)
	m.inBackground(group, n, nodes, done, func() int { return m.addReplicas(ctx, c, p, targets, n.hot) })
	return true, true
}

// beginMove is beginRepair for a chunk whose replicas are to move.
func (m *Master) beginMove(ctx context.Context, c state.Chunk, n need, group *sync.WaitGroup, done func()) (begun, free bool) {
	if n.unsettled && !c.Committed {
		m.inBackground(group, n, nil, done, func() int { m.settleAssigned(c); return 0 })
		return true, true
	}
	p := m.planLeaving(c, n.from)
	if !p.needed() || m.inSafeMode() {
		done()
		return false, true
	}
	targets := m.moveTargets(c, p, n)
	source := m.repairs.byLoad(slices.Concat(p.keep, p.leaving))[0]
	if p.want > 0 && (len(targets) == 0 || m.repairs.isBusy(source)) {
		done()
		return false, false
	}
	m.inBackground(group, n, append(slices.Clone(targets), source), done, func() int { return m.move(ctx, c, p, targets) })
	return true, true
}

// inBackground runs work that answers how many copies it made.
func (m *Master) inBackground(group *sync.WaitGroup, n need, nodes []proto.NodeID, done func(), work func() int) {
	m.repairs.begin(n, nodes)
	group.Go(func() {
		copies := work()
		done()
		m.repairs.end(n, nodes, copies, m.cfg.Now())
	})
}

// repairTargets chooses who copies the chunk, of those that are not busy.
func (m *Master) repairTargets(c state.Chunk, p repairPlan) []proto.NodeID {
	targets := slices.DeleteFunc(slices.Clone(p.again), m.repairs.isBusy)
	if p.want > 0 {
		targets = append(targets, m.nodes.PlaceBeside(p.want, c.ID, c.Chain, m.repairs.isBusy)...)
	}
	return targets
}

// addReplicas is step 2. It answers how many copies were made.
func (m *Master) addReplicas(ctx context.Context, c state.Chunk, p repairPlan, targets []proto.NodeID, hot bool) (copies int) {
	targets = slices.DeleteFunc(targets, func(node proto.NodeID) bool { return !m.clear(c, node) })
	chain := slices.Concat(p.keep, targets)
	if len(targets) == 0 || len(chain) < int(m.cluster.MinReplicas) {
		return 0
	}
	next, err := m.changeChain(c, chain, "repair")
	if err != nil {
		m.log.Warn("repair", "error", err)
		return 0
	}
	if failed := m.fence(ctx, next, p.sources, false); len(failed) > 0 {
		return 0
	}
	failed := m.onEach(targets, "copy", next, func(node proto.NodeID) error { return m.repairCopy(ctx, node, next, p.sources, hot) })
	m.log.Debug("chunk repaired", "chunk", c.ID, "version", next.Version, "chain", next.Chain, "copied_to", targets, "failed", failed)
	return len(targets) - len(failed)
}

// repairCopy has a member fetch the chunk.
func (m *Master) repairCopy(ctx context.Context, node proto.NodeID, c state.Chunk, sources []proto.NodeID, hot bool) error {
	return m.orderCopy(ctx, node, c, m.repairOrder(node, c, sources, hot))
}

// repairOrder is a copy at its share of the repair rate, or at all of it if somebody waits.
func (m *Master) repairOrder(node proto.NodeID, c state.Chunk, sources []proto.NodeID, hot bool) *pb.CopyChunk {
	command := &pb.CopyChunk{Chunk: uint64(c.ID), Version: uint64(c.Version), Sources: m.sources(sources), Afresh: m.nodes.Holds(node, c).Accused}
	if m.cfg.RepairRate > 0 {
		command.Rate = max(1, m.cfg.RepairRate/uint64(m.cfg.RepairStreams))
		if hot {
			command.Rate = m.cfg.RepairRate
		}
	}
	return command
}

func (m *Master) orderCopy(ctx context.Context, node proto.NodeID, c state.Chunk, command *pb.CopyChunk) error {
	timeout := m.cfg.CopyTimeout
	if command.Rate > 0 {
		timeout += time.Duration(m.cluster.ChunkSize/command.Rate) * 2 * time.Second
	}
	return m.order(ctx, timeout, node, c.ID, &pb.NodeCommand{Command: &pb.NodeCommand_Copy{Copy: command}})
}

// clear tells whether the chunk may be copied to a chunkserver: not where a newer
// replica is. An older or an unsound one is made equal by the copy.
func (m *Master) clear(c state.Chunk, node proto.NodeID) bool {
	held := m.nodes.Holds(node, c)
	if held.Version > c.Version { // L1
		m.log.Error("a replica is newer than the log: it is left alone", "chunk", c.ID, "version", c.Version, "node", node, "has", held.Version)
	}
	return held.Version <= c.Version
}

const (
	maxExtra    = 1 << 10 // replicas that a round removes
	extraAtOnce = 32
)

// removeExtras is the loop that removes replicas from chunkservers that are not in the
// chain of a chunk which has all it needs: what a repair or a returned server has left
// behind.
func (m *Master) removeExtras(ctx context.Context) {
	every(ctx, m.cfg.RepairEvery, nil, func() {
		if m.inSafeMode() {
			return
		}
		var group errgroup.Group
		group.SetLimit(extraAtOnce)
		for _, s := range m.extras() {
			group.Go(func() error {
				if ctx.Err() == nil {
					m.removeOneExtra(ctx, s)
				}
				return nil
			})
		}
		_ = group.Wait() // each has told the log
	})
}

func (m *Master) extras() (extra []registry.Stray) {
	m.machine.read(func(st *state.State) {
		extra = m.nodes.Strays(maxExtra, func(s registry.Stray) bool {
			c, ok := st.Chunk(s.Chunk)
			// From a disk that has failed nothing can be removed.
			return ok && s.Alive && !s.Replica.Failing && s.Replica.Version <= c.Version && !slices.Contains(c.Chain, s.Node)
		})
	})
	return extra
}

// removeOneExtra tells whether the replica is gone: one that may still be needed stays for now.
func (m *Master) removeOneExtra(ctx context.Context, s registry.Stray) (gone bool) {
	done, ok := m.work.try(s.Chunk)
	if !ok {
		return false
	}
	defer done()
	c, ok := m.machine.chunk(s.Chunk)
	if !ok || slices.Contains(c.Chain, s.Node) || m.nodes.Good(c) < int(m.cluster.Replicas) || m.nodes.Recent(c.ID) {
		return false
	}
	if err := m.deleteFrom(ctx, s.Node, c.ID, s.Replica.Version, "not in the chain"); err != nil {
		m.log.Warn("delete extra replica", "chunk", c.ID, "node", s.Node, "error", err)
		return false
	}
	m.log.Debug("extra replica removed", "chunk", c.ID, "node", s.Node, "version", s.Replica.Version)
	return true
}

// watchNodes declares chunkservers dead.
func (m *Master) watchNodes(ctx context.Context) {
	every(ctx, min(time.Second, m.cfg.DeadAfter/4), nil, func() {
		for _, id := range m.nodes.Tick() {
			m.log.Warn("chunkserver is dead", "node", id, "silent", m.cfg.DeadAfter)
			m.wakeRepair()
		}
	})
}
