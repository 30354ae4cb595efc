package chunk

import (
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/distrifs/distrifs/proto"
)

// How many replicas are synced at once without being asked for: in the background,
// where requests come first, and at a stop.
const (
	idleSyncers = 2
	stopSyncers = 16
)

// Sync makes everything durable that was written to the replica before: its bytes
// (fdatasync) and its name. After a failure the replica is lost (L9).
func (s *Store) Sync(chunk uuid.UUID, v proto.Version) error {
	s.load.Add(1)
	defer s.load.Add(-1)
	id, err := s.identify("sync", chunk)
	if err != nil {
		return err
	}
	r := s.find(id)
	if r == nil {
		return proto.E(proto.NoReplica, "sync", fmt.Sprintf("chunk %v", id), "")
	}
	exclusive, err := r.lockForRead("sync", v)
	if err != nil {
		return err
	}
	needed := r.writes != r.synced || r.fresh || r.stale
	r.unlock(exclusive)
	if !needed {
		return nil
	}
	return r.sync(false)
}

// sync makes the replica durable, without mu while the disk works. With settle it
// ends the period if nobody wrote meanwhile.
func (r *replica) sync(settle bool) error {
	r.mu.Lock()
	if r.state != whole || r.lost.Load() != nil {
		defer r.mu.Unlock()
		return r.check("sync", r.version)
	}
	err := r.open()
	if err == nil && r.stale {
		err = r.rewrite()
	}
	if err != nil {
		r.mu.Unlock()
		return err
	}
	r.pins.Add(1)
	file, writes, fresh, version := r.file, r.writes, r.fresh, r.version
	r.mu.Unlock()

	err = file.Sync()
	var nameErr error
	if fresh {
		nameErr = r.folder.fs.SyncDir(r.folder.dirOf(r.id))
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pins.Add(-1) == 0 && r.state == gone {
		r.close()
	}
	if r.state == gone {
		return r.check("sync", r.version)
	}
	if err != nil {
		return r.lose(r.folder.failed("sync", r.subject(), err)) // L9
	}
	if nameErr != nil {
		return r.lose(r.folder.failed("sync folder of", r.subject(), nameErr)) // L9
	}
	r.synced, r.fresh, r.firm = max(r.synced, writes), false, max(r.firm, version)
	if settle && r.writes == writes && r.file != nil {
		return r.endPeriod()
	}
	return nil
}

// endPeriod takes the flag away, when everything is durable. The flag itself may
// stay on disk a while: that costs a needless check after a crash, no more. A replica
// that may differ from the others keeps it, so that a later start knows.
// Needs mu for writing, and an open file.
func (r *replica) endPeriod() error {
	differs := r.unclean && !r.gaps || r.broken == r.version
	if r.flags&flagWriting == 0 || r.stale || differs {
		return nil
	}
	if err := r.writeFooter(r.ownFlags()); err != nil {
		return err
	}
	r.store.dirty.remove(r)
	return nil
}

// unsynced tells whether a stop would leave bytes that are not durable.
func (r *replica) unsynced() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.writes != r.synced || r.stale || r.lost.Load() != nil
}

// rewrite brings table and footer on disk up to memory again, after a write of
// them had failed. Needs mu for writing, and an open file.
func (r *replica) rewrite() error {
	if _, err := r.file.WriteAt(encodeEntries(nil, r.table), r.layout().tableAt()); err != nil {
		return r.folder.failed("write table of", r.subject(), err)
	}
	if err := r.writeFooter(r.flags); err != nil {
		return err
	}
	r.stale = false
	return nil
}

// dirtySet is the replicas in a period.
type dirtySet struct {
	mu  sync.Mutex
	set map[*replica]struct{}
}

func (d *dirtySet) add(r *replica) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set[r] = struct{}{}
}

func (d *dirtySet) remove(r *replica) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.set, r)
}

func (d *dirtySet) list() []*replica {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*replica, 0, len(d.set))
	for r := range d.set {
		list = append(list, r)
	}
	return list
}

// settle ends the periods of replicas that nobody has written to for idle, so many
// at once. It returns the first error; the replicas concerned stay as they are. In folders that have
// failed it would be the same error again and again: there only a stop tries, for which idle is 0.
func (s *Store) settle(idle time.Duration, syncers int) error {
	var group errgroup.Group
	group.SetLimit(syncers)
	for _, r := range s.dirty.list() {
		r.mu.RLock()
		due := time.Since(r.lastWrite) >= idle && r.lost.Load() == nil && (idle == 0 || !r.folder.is(failing))
		r.mu.RUnlock()
		if due {
			group.Go(func() error { return r.sync(true) })
		}
	}
	return group.Wait()
}
