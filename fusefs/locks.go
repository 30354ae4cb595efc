package fusefs

import (
	"context"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
)

// The kernel names the owner of a lock by a number: the table of open files, which is
// one for each process, for fcntl(2); the open file itself for flock(2) and for
// open-file-description locks, which look like those of fcntl otherwise. It tells
//
//	of close(2), by a process with or without locks: FLUSH with the process's number
//	of the last close of a file locked by flock: RELEASE with the file's number
//	of the last close of any other file: RELEASE alone
//
// So a handle remembers who locked through it, and who of them has closed it: whoever
// is left at RELEASE is the file itself.

// lockOwners are those who locked with fcntl through a handle.
type lockOwners struct {
	mu     sync.Mutex
	owners map[uint64]struct{} // nil: none
}

func (o *lockOwners) add(owner uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.owners == nil {
		o.owners = make(map[uint64]struct{})
	}
	o.owners[owner] = struct{}{}
}

// remove is for one who has closed the handle.
func (o *lockOwners) remove(owner uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.owners, owner)
}

// take empties the set.
func (o *lockOwners) take() map[uint64]struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	owners := o.owners
	o.owners = nil
	return owners
}

func lockOf(in *fuse.LkIn) (l client.Lock, ok bool) {
	l = client.Lock{Owner: in.Owner, Flock: in.LkFlags&fuse.LK_FLOCK != 0, Start: in.Lk.Start, End: in.Lk.End, Process: in.Lk.Pid}
	switch in.Lk.Typ {
	case unix.F_RDLCK:
		l.Mode = client.LockShared
	case unix.F_WRLCK:
		l.Mode = client.LockExclusive
	case unix.F_UNLCK:
		l.Mode = client.LockNone
	default:
		return l, false
	}
	return l, true
}

// GetLk implements fuse.RawFileSystem: fcntl(F_GETLK).
func (s *fileSystem) GetLk(cancel <-chan struct{}, in *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	h, ok := s.files.get(in.Fh)
	l, valid := lockOf(in)
	if !ok || !valid {
		return fuse.EINVAL
	}
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	before := s.unlocks.done()
	other, found, err := h.file.TestLock(ctx, l)
	if found && s.releasedSince(ctx, before, &in.InHeader) {
		other, found, err = h.file.TestLock(ctx, l)
	}
	if err != nil {
		return status(err)
	}
	out.Lk = fuse.FileLock{Start: other.Start, End: other.End, Typ: unix.F_UNLCK, Pid: other.Process}
	switch {
	case found && other.Mode == client.LockShared:
		out.Lk.Typ = unix.F_RDLCK
	case found:
		out.Lk.Typ = unix.F_WRLCK
	}
	return fuse.OK
}

// SetLk implements fuse.RawFileSystem: fcntl(F_SETLK), flock with LOCK_NB.
func (s *fileSystem) SetLk(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return s.setLock(s.begin(cancel, &in.InHeader), in, false)
}

// SetLkw implements fuse.RawFileSystem: fcntl(F_SETLKW), flock. Unlike all other calls
// it may last for ever, and any signal ends it: alarm(2) is how programs give up. The
// kernel waits anew by itself where the handler was installed with SA_RESTART.
func (s *fileSystem) SetLkw(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return s.setLock(s.beginInterruptible(cancel, &in.InHeader), in, true)
}

func (s *fileSystem) setLock(ctx *call, in *fuse.LkIn, wait bool) fuse.Status {
	defer ctx.end()
	h, ok := s.files.get(in.Fh)
	l, valid := lockOf(in)
	if !ok || !valid {
		return fuse.EINVAL
	}
	if !l.Flock {
		h.lockers.add(l.Owner)
	}
	before := s.unlocks.done()
	seen, err := h.file.SetLock(ctx, l, wait)
	if proto.KindOf(err) == proto.Conflict && s.releasedSince(ctx, before, &in.InHeader) {
		seen, err = h.file.SetLock(ctx, l, wait)
	}
	if err != nil || l.Mode == client.LockNone || seen == client.SeenLeased {
		return status(err)
	}
	// What was done under the lock before has to be seen under it now. This waits for
	// pages that are being read or written, in other handlers, which do not wait for us.
	if attr := h.file.Attr(); seen == client.SeenChanged || !s.told.is(&attr) {
		s.waits(in.Unique)
		s.kernel.InodeNotify(in.NodeId, 0, 0)
	}
	return fuse.OK
}

// closedBy takes off the fcntl locks of a process that closes a handle: all that it has
// on the file, as POSIX wants it, whichever handle they came through.
func (s *fileSystem) closedBy(ctx context.Context, h *fileHandle, owner uint64) {
	h.lockers.remove(owner)
	s.unlock(ctx, h, owner, false)
}

// unlock does not fail the close that it is part of: a lock that could not be taken
// off is taken off later.
func (s *fileSystem) unlock(ctx context.Context, h *fileHandle, owner uint64, flock bool) {
	if err := h.file.Unlock(ctx, owner, flock); err != nil {
		s.log.Warn("a lock could not be released at close; trying on", "inode", h.file.Attr().Inode, "error", err)
	}
}

// releasedSince tells whether a file was released whose close came before a request, and waits for it.
func (s *fileSystem) releasedSince(ctx context.Context, before uint64, header *fuse.InHeader) bool {
	s.arrivals.before(ctx, header.Unique)
	return s.unlocks.since(before, header.NodeId)
}

// unlockReleased takes off what belongs to an open file that is no more.
func (s *fileSystem) unlockReleased(h *fileHandle, in *fuse.ReleaseIn) {
	if in.ReleaseFlags&fuse.FUSE_RELEASE_FLOCK_UNLOCK != 0 {
		s.unlock(context.Background(), h, in.LockOwner, true)
	}
	for owner := range h.lockers.take() {
		s.unlock(context.Background(), h, owner, false)
	}
}
