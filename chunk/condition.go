package chunk

import "github.com/distrifs/distrifs/proto"

// condition is what is wrong with a folder's disk as a whole. Its replicas are reported
// with it, and the master has them elsewhere: those of a slow disk move, those of one that
// failed are replaced from others. They are readable here as long as the disk gives them.
type condition uint32

const (
	healthy condition = iota
	slow              // far slower than others: takes no new replicas
	failing           // an operation failed: takes no writes
)

// judge brings condition up to date. Needs mu.
func (f *folder) judge() {
	now := healthy
	switch {
	case f.fault != nil:
		now = failing
	case f.pulse.slow:
		now = slow
	}
	f.condition.Store(uint32(now))
}

func (f *folder) is(c condition) bool { return condition(f.condition.Load()) == c }

// tellConditions has the master told of all replicas in folders whose condition is
// another than it was told. It is called from one goroutine, and waits for no disk.
func (s *Store) tellConditions() {
	for _, f := range s.folders {
		now := condition(f.condition.Load())
		if now == f.told {
			continue
		}
		f.told = now
		count := 0
		for _, r := range s.replicas(func(proto.ChunkID) bool { return true }) {
			if r.mayBeIn(f) {
				s.changes.note(r.id, false)
				count++
			}
		}
		s.changes.kick()
		s.log.Warn("the condition of a data folder has changed: the master is told of its replicas", "folder", f.path, "replicas", count)
	}
}

// mayBeIn is also true for a replica that is in use, in whatever folder: who uses it may wait
// for its disk, and to tell of one too many costs nothing.
func (r *replica) mayBeIn(f *folder) bool {
	if !r.mu.TryRLock() {
		return true
	}
	defer r.mu.RUnlock()
	return r.folder == f && r.state == whole
}
