package chunk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/distrifs/distrifs/proto"
)

// SetVersion raises the replica's version, durably: from when it returns nil,
// requests of other versions are refused. The version that the replica has is
// confirmed again; a lower one is refused with WrongVersion (L3). With create an
// absent replica becomes an empty one. An unclean replica is refused with Unavailable:
// it has to be made equal to another (Resync) or told that its bytes stand (LetStand).
func (s *Store) SetVersion(id proto.ChunkID, v proto.Version, create bool) error {
	return s.raise(id, v, create, func(r *replica) error {
		if r.unclean {
			return r.fail(proto.Unavailable, "set version", "replica is unclean: it has to be made equal to another", nil)
		}
		return r.setVersion(v, true)
	})
}

// LetStand is SetVersion for a replica that may be unclean: the master says that no
// other is better, so that it is not unclean any more.
func (s *Store) LetStand(id proto.ChunkID, v proto.Version) error {
	return s.raise(id, v, false, func(r *replica) error { return r.setVersion(v, true) })
}

// TakeOn is SetVersion for a replica of which nobody knows yet whether it will stand: it
// stays unclean, or becomes so. It has all that it had, and serves nobody, until it was
// made equal to another or told that its bytes stand, also after a stop.
func (s *Store) TakeOn(id proto.ChunkID, v proto.Version) error {
	return s.raise(id, v, false, func(r *replica) error { return r.setVersion(v, false) })
}

// raise sets the version of a replica by set, which is called with it locked.
func (s *Store) raise(id proto.ChunkID, v proto.Version, create bool, set func(*replica) error) error {
	if s.membership.Load() == nil {
		return proto.E(proto.Unavailable, "set version", fmt.Sprintf("chunk %v", id), "this chunkserver has not joined a cluster yet")
	}
	r, err := s.lockForWrite("set version", id, v, create)
	if err != nil {
		return err
	}
	if r.state == absent {
		err = s.create(r, func() error { return r.finish(nil) })
	} else {
		err = set(r)
	}
	firm := r.firm == v
	r.mu.Unlock()
	if err != nil {
		return err
	}
	s.changes.note(id, false)
	if firm { // confirmed again: a writer may be waiting, and what it wrote is not asked about
		return nil
	}
	return r.sync(false)
}

// setVersion gives the replica a version. It is clean from then on, if its bytes stand, or else
// unclean. It needs mu for writing; nothing is confirmed before a sync, unless the version is firm.
//
// A writer waits for that. What was synced at versions before is durable in a clean
// replica that was in the chain at each of them, and of the rest nothing was promised: one that goes on to the
// next version makes that durable alone. Who was left behind at a version missed its syncs, and an
// unclean one may have lost what it had: of these everything is synced.
func (r *replica) setVersion(v proto.Version, stands bool) error {
	if err := r.exists("set version"); err != nil {
		return err
	}
	if v < max(r.version, r.fence) {
		return r.check("set version", v)
	}
	if v == r.version && r.unclean != stands {
		return nil
	}
	if err := r.open(); err != nil {
		return err
	}
	goesOn := stands && v == r.version.Next() && !r.unclean && !r.fresh && !r.stale
	before, unclean, gaps := r.version, r.unclean, r.gaps
	r.version, r.unclean, r.gaps = v, !stands, gaps && !stands
	flags := r.flags &^ flagUnclean
	if !stands {
		flags = r.flags | flagWriting
		r.store.dirty.add(r)
	}
	if err := r.writeFooter(flags); err != nil {
		r.version, r.unclean, r.gaps, r.stale = before, unclean, gaps, true
		return err
	}
	if goesOn {
		r.firm = v
		return r.harden()
	}
	r.writes, r.firm = r.writes+1, 0 // to be synced
	return nil
}

// Delete removes a replica of at most version v, by order of a master of epoch
// (G10). An absent one is removed already.
func (s *Store) Delete(id proto.ChunkID, v proto.Version, epoch proto.Epoch) error {
	if err := s.obey(epoch); err != nil {
		return err
	}
	r := s.find(id)
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != whole {
		return nil
	}
	if r.version > v {
		return r.fail(proto.WrongVersion, "delete", fmt.Sprintf("the order is for version %d at most", v), nil)
	}
	if err := r.folder.fs.Remove(r.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r.folder.failed("delete", r.subject(), err)
	}
	s.drop(r)
	s.changes.note(id, false)
	if r.folder.isFull() {
		r.folder.refresh()
	}
	return nil
}

// Copy makes a replica of version v from what read gives, as Source.Read does. It is durable when Copy returns. An
// older, corrupt, lost or unclean replica is replaced; a good one of version v
// counts as the copy; a newer one is never touched (L1).
func (s *Store) Copy(ctx context.Context, id proto.ChunkID, v proto.Version, read pieceReader) error {
	if s.membership.Load() == nil || v == 0 {
		return proto.E(proto.Unavailable, "copy", fmt.Sprintf("chunk %v version %d", id, v), "this chunkserver has not joined a cluster yet")
	}
	old := s.find(id)
	if done, err := old.supersedes(v); done || err != nil {
		return err
	}
	d := s.newReplica(id, v)
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	if d.folder, err = s.folderForCopy(old); err != nil {
		return err
	}
	if err := s.draft(d); err != nil {
		return err
	}
	if err = d.fill(ctx, read); err == nil {
		err = s.install(d)
	}
	if d.state != whole {
		s.discard(d)
	}
	return err
}

// supersedes tells whether the replica, which may be nil, makes a copy of version
// v needless, or refuses it.
func (r *replica) supersedes(v proto.Version) (bool, error) {
	if r == nil {
		return false, nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.supersedesLocked(v)
}

func (r *replica) supersedesLocked(v proto.Version) (bool, error) {
	if r.state == whole && r.version > v {
		return false, r.fail(proto.WrongVersion, "copy", fmt.Sprintf("the order is for version %d", v), nil)
	}
	good := r.state == whole && r.lost.Load() == nil && !r.corrupt.Load() && !r.unclean
	return good && r.version == v, nil
}

// folderForCopy is that of the replica to be replaced, so that the rename replaces
// it; if it takes no writes, another.
func (s *Store) folderForCopy(old *replica) (*folder, error) {
	if old != nil {
		old.mu.RLock()
		defer old.mu.RUnlock()
		if old.state == whole && old.folder.room() > 0 && !old.folder.is(slow) {
			return old.folder, nil
		}
	}
	return s.choose()
}

// install puts a finished draft in the place of what is in the index. It needs
// d.mu for writing, which no other can hold yet.
func (s *Store) install(d *replica) error {
	for {
		old := s.find(d.id)
		if old == nil {
			if !s.insert(d) {
				continue
			}
			return s.name(d, nil)
		}
		old.mu.Lock()
		if old.state == gone {
			old.mu.Unlock()
			continue
		}
		defer old.mu.Unlock()
		if done, err := old.supersedesLocked(d.version); done || err != nil {
			return err
		}
		return s.name(d, old)
	}
}

// name gives the draft the chunk's name, durably, and takes old out of service.
func (s *Store) name(d, old *replica) error {
	if err := d.adopt(); err != nil {
		if old == nil {
			s.drop(d)
		}
		return err
	}
	if old != nil {
		s.replace(old, d)
		if old.folder != d.folder {
			if err := old.folder.fs.Remove(old.path()); err != nil {
				s.log.Warn("remove replaced replica: the next start puts it into quarantine", "file", old.path(), "error", err)
			}
		}
	}
	s.cache.add(d)
	s.changes.note(d.id, false)
	if err := d.folder.fs.SyncDir(d.folder.dirOf(d.id)); err != nil {
		return d.lose(d.folder.failed("sync folder of", d.subject(), err)) // L9
	}
	return nil
}
