package meta

import (
	"context"
	"time"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
)

const (
	reapEvery  = time.Second
	reapBatch  = 512     // inodes of one command
	reapRound  = 1 << 16 // inodes looked at in a round
	dropRound  = 1 << 12 // chunks dropped in a round
	maxWatched = 1 << 20 // assigned chunks whose grace is being counted
)

// reapOrphans frees the inodes that have no name and that nobody has open, and the
// chunks that were assigned to a file and never committed when nobody has it open.
//
// Opens are soft state: after a start, sessions have one time-out to come back and
// claim theirs; until all have or are gone, nothing is reaped. An orphan is reaped at the second look, so that an open
// by who has just looked the file up, or a Hello that passed one by, is not missed; and not
// while somebody has a lease on it, who may have opened it without a call (openshere.go).
func (m *Master) reapOrphans(ctx context.Context) {
	seen := map[proto.InodeID]bool{}
	unused := map[proto.ChunkID]time.Time{}
	var dropped time.Time
	every(ctx, reapEvery, nil, func() {
		now := m.cfg.Now()
		if !m.sessions.complete() {
			return
		}
		seen = m.reapRound(seen)
		if now.Sub(dropped) >= m.cfg.Grace/4 { // it looks at every chunk
			dropped = now
			unused = m.dropRound(unused)
		}
	})
}

// reapRound frees the orphans that the last round saw too, and returns those it saw. The
// leases are looked at before the opens: who gives one back has said before what is open.
func (m *Master) reapRound(last map[proto.InodeID]bool) map[proto.InodeID]bool {
	var orphans []proto.InodeID
	m.machine.read(func(st *state.State) {
		st.EachOrphan(func(ino proto.InodeID) bool {
			if !m.sessions.isOpen(ino) {
				orphans = append(orphans, ino)
			}
			return len(orphans) < reapRound
		})
	})
	seen := make(map[proto.InodeID]bool, len(orphans))
	for _, ino := range orphans {
		seen[ino] = true
	}
	var due []proto.InodeID
	for _, ino := range m.leases.ask(orphans) {
		if last[ino] {
			due = append(due, ino)
			delete(seen, ino)
		}
	}
	due = m.sessions.doom(due)
	for len(due) > 0 {
		batch := due[:min(len(due), reapBatch)]
		due = due[len(batch):]
		if _, err := m.propose(&state.Reap{Inodes: batch}); err != nil {
			m.log.Warn("reap orphans", "error", err)
			return seen
		}
	}
	return seen
}

// dropRound drops the assigned chunks whose grace is over, and returns since when
// the others have been unused.
func (m *Master) dropRound(since map[proto.ChunkID]time.Time) map[proto.ChunkID]time.Time {
	due, unused := graceOver(m.assignedUnopened(), since, m.cfg.Now(), m.cfg.Grace)
	for _, c := range due {
		if err := m.drop(c); err != nil && proto.KindOf(err) != proto.Stale {
			m.log.Warn("drop an unused chunk", "chunk", c.ID, "error", err)
		}
	}
	return unused
}

// graceOver gives the chunks that were unused for a grace already, as many as a round drops, and
// since when the others have been.
func graceOver(chunks []state.Chunk, since map[proto.ChunkID]time.Time, now time.Time, grace time.Duration) (due []state.Chunk, unused map[proto.ChunkID]time.Time) {
	unused = map[proto.ChunkID]time.Time{}
	for _, c := range chunks {
		first, known := since[c.ID]
		if !known {
			first = now
		}
		if now.Sub(first) >= grace && len(due) < dropRound {
			due = append(due, c)
		} else {
			unused[c.ID] = first
		}
	}
	return due, unused
}

// drop takes a chunk from its file, when nobody relies on its being there.
func (m *Master) drop(c state.Chunk) error {
	ctx, cancel := context.WithTimeout(m.stopping, maxOwing)
	defer cancel()
	r := &request{op: "drop a chunk of", subject: inodeName(uint64(c.Inode))}
	defer m.leave(r)
	if err := m.secure(ctx, r, r.exists(c.Inode)); err != nil {
		return err
	}
	_, err := m.propose(&state.DropAssigned{Inode: c.Inode, Chunks: []proto.ChunkID{c.ID}})
	return err
}

// assignedUnopened lists chunks that were assigned and not committed, of files that
// nobody has open.
func (m *Master) assignedUnopened() []state.Chunk {
	var assigned uint64
	m.machine.read(func(st *state.State) { assigned = st.Stats().Assigned })
	if assigned == 0 {
		return nil
	}
	var chunks []state.Chunk
	m.eachChunk(func(c state.Chunk) bool {
		if !c.Committed && !m.sessions.isOpen(c.Inode) {
			chunks = append(chunks, c)
		}
		return len(chunks) < maxWatched
	})
	return chunks
}

// scanPiece is how many chunks are looked at before writers get their turn.
const scanPiece = 1 << 14

// eachChunk calls fn for the live chunks in order of slots until it answers false.
// Changes may come in between; fn must not block.
func (m *Master) eachChunk(fn func(state.Chunk) bool) {
	m.eachChunkIn(func(_ *state.State, c state.Chunk) bool { return fn(c) })
}

// eachChunkIn is eachChunk for those who look at more of the state than the chunk.
func (m *Master) eachChunkIn(fn func(*state.State, state.Chunk) bool) {
	for from, more := uint32(1), true; more && m.stopping.Err() == nil; {
		more = false
		count := 0
		m.machine.read(func(st *state.State) {
			st.EachChunk(from, func(c state.Chunk) bool {
				if count == scanPiece {
					from, more = c.ID.Slot(), true
					return false
				}
				count++
				return fn(st, c)
			})
		})
	}
}
