package meta

import (
	"time"

	"github.com/distrifs/distrifs/proto"
)

// hot are chunks that lack replicas and are being written to. A copy makes their writers
// wait, so it is put off until nobody has written for a moment (Config.Quiet). A file that is written
// to without end, as a database's log is, would never have its redundancy back: after
// hotFor such times it is copied all the same.
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

// done forgets what was not spared in this look.
func (s *sparing) done() { s.hot.since = s.next }
