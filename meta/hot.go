package meta

import (
	"context"
	"slices"
	"time"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
)

// hot are chunks that lack replicas and are being written to. A copy makes their writers
// wait, so it is put off until nobody has written for a moment (Config.Quiet). A file that is written
// to without end, as a database's log is, would never have its redundancy back: after
// hotFor such times it is copied all the same, but twice: ahead of the change of its chain, while its
// writers go on, and then what they have changed meanwhile, for which they wait.
//
// What was copied ahead is a mixture of moments, and was never part of the chain: it lacks what was
// acknowledged since. So it gets a version that nobody will ever trust, that before the
// chain's present one, and is one of the older replicas that repair copies to first.
//
// It belongs to the goroutine of the repair loop.
type hot struct {
	since map[proto.ChunkID]time.Time // found wanting, and spared in every look since then
}

// hotFor is for how many times Config.Quiet a chunk is spared.
const hotFor = 2

// maxHot bounds the memory of hot: what does not fit is spared for as long as it is hot.
const maxHot = 1 << 16

// sparing is one look at all chunks.
type sparing struct {
	hot  *hot
	now  time.Time
	next map[proto.ChunkID]time.Time
}

func (h *hot) look(now time.Time) *sparing {
	return &sparing{hot: h, now: now, next: map[proto.ChunkID]time.Time{}}
}

// spare tells whether a chunk, which is hot, may wait for longer.
func (s *sparing) spare(id proto.ChunkID, longest time.Duration) bool {
	since, before := s.hot.since[id]
	if !before {
		since = s.now
	}
	if len(s.next) < maxHot {
		s.next[id] = since
	}
	return s.now.Sub(since) < longest
}

// keep spares a chunk that is being worked on no longer for that.
func (s *sparing) keep(id proto.ChunkID) {
	if since, before := s.hot.since[id]; before {
		s.next[id] = since
	}
}

// done forgets what was not spared in this look.
func (s *sparing) done() { s.hot.since = s.next }

// ahead are those of the targets of a copy that a hot chunk is to be copied to ahead: they have
// nothing of it, and no version would make one that is in the chain look trusted.
func (m *Master) ahead(c state.Chunk, targets []proto.NodeID) (list []proto.NodeID) {
	for _, node := range targets {
		if c.Version > firstVersion && !slices.Contains(c.Chain, node) && m.nodes.Holds(node, c).Version == 0 {
			list = append(list, node)
		}
	}
	return list
}

// copyAhead copies a chunk to chunkservers that are to join its chain, which goes on meanwhile.
func (m *Master) copyAhead(ctx context.Context, c state.Chunk, sources, targets []proto.NodeID) {
	failed := m.onEach(targets, "copy ahead", c, func(node proto.NodeID) error {
		command := m.repairOrder(node, c, sources, false)
		command.OfChunk, command.OfVersion, command.Version = command.Chunk, command.Version, command.Version-1
		return m.orderCopy(ctx, node, c, command)
	})
	m.log.Debug("chunk copied ahead", "chunk", c.ID, "version", c.Version, "to", targets, "failed", failed)
	m.wakeRepair()
}
