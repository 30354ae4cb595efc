package fusefs

import (
	"slices"
	"syscall"
	"testing"

	"github.com/distrifs/distrifs/client"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

func lkIn(node, fh, owner uint64, typ, flags uint32) *fuse.LkIn {
	return &fuse.LkIn{InHeader: header(node), Fh: fh, Owner: owner, LkFlags: flags, Lk: fuse.FileLock{Start: 3, End: client.LockEnd, Typ: typ, Pid: 42}}
}

func TestLocksAreTranslated(t *testing.T) {
	f := newFixture(t)
	node, fh := f.create("a", unix.O_RDWR)
	f.want("lock", f.SetLk(nil, lkIn(node, fh, 7, unix.F_RDLCK, 0)), 0)
	if want := (client.Lock{Owner: 7, Mode: client.LockShared, Start: 3, End: client.LockEnd, Process: 42}); *f.m.held != want {
		t.Errorf("locked %+v, want %+v", *f.m.held, want)
	}
	var out fuse.LkOut
	f.want("test", f.GetLk(nil, lkIn(node, fh, 8, unix.F_WRLCK, 0), &out), 0)
	if want := (fuse.FileLock{Start: 3, End: client.LockEnd, Typ: unix.F_RDLCK, Pid: 42}); out.Lk != want {
		t.Errorf("in the way: %+v, want %+v", out.Lk, want)
	}
	f.want("lock of another", f.SetLk(nil, lkIn(node, fh, 8, unix.F_WRLCK, 0)), syscall.EAGAIN)
	f.want("unlock", f.SetLk(nil, lkIn(node, fh, 7, unix.F_UNLCK, 0)), 0)
	f.want("test", f.GetLk(nil, lkIn(node, fh, 8, unix.F_WRLCK, 0), &out), 0)
	if out.Lk.Typ != unix.F_UNLCK {
		t.Errorf("nothing is in the way, not %+v", out.Lk)
	}
	f.want("flock", f.SetLk(nil, lkIn(node, fh, 9, unix.F_WRLCK, fuse.LK_FLOCK)), 0)
	if !f.m.held.Flock || f.m.held.Mode != client.LockExclusive {
		t.Errorf("locked %+v", *f.m.held)
	}
	f.want("no such type", f.SetLk(nil, lkIn(node, fh, 9, 99, 0)), syscall.EINVAL)
	f.want("no such handle", f.SetLk(nil, lkIn(node, 1234, 9, unix.F_RDLCK, 0)), syscall.EINVAL)
}

// Any signal ends the wait for a lock, whatever becomes of the process.
func TestSignalEndsTheWaitForALock(t *testing.T) {
	f := newFixture(t)
	f.dying = func(uint32) bool { return false }
	node, fh := f.create("a", unix.O_RDWR)
	f.want("lock", f.SetLkw(nil, lkIn(node, fh, 7, unix.F_WRLCK, 0)), 0)
	interrupt := make(chan struct{})
	close(interrupt)
	in := lkIn(node, fh, 8, unix.F_WRLCK, 0)
	in.InHeader.Pid = 42
	f.want("wait", f.SetLkw(interrupt, in), syscall.EINTR)
}

// A lock under which the file was found changed drops the kernel's pages; others do not.
func TestLockDropsPagesOfAChangedFile(t *testing.T) {
	f := newFixture(t)
	node, fh := f.create("a", unix.O_RDWR)
	lock := func() { f.want("lock", f.SetLk(nil, lkIn(node, fh, 7, unix.F_WRLCK, 0)), 0) }
	unlock := func() { f.want("unlock", f.SetLk(nil, lkIn(node, fh, 7, unix.F_UNLCK, 0)), 0) }
	lock()
	unlock()
	if got := f.kernel.notified(node); got != nil {
		t.Errorf("nothing changed, and the kernel was notified: %v", got)
	}
	f.m.changed = true
	lock()
	unlock()
	f.m.changed = false
	f.m.touch(f.m.inodes[f.inode(node)]) // the client knows, and the kernel was not told
	lock()
	unlock()
	f.m.alone = true // nobody else can have changed it: what the kernel was told does not matter
	f.m.touch(f.m.inodes[f.inode(node)])
	lock()
	if got := f.kernel.notified(node); !slices.Equal(got, []int64{0, 0}) {
		t.Errorf("notified %v, want all pages twice", got)
	}
}

// A close by a process takes off what it locked; the last close of the file, what the
// file itself locked, and nothing of processes.
func TestClosesUnlock(t *testing.T) {
	f := newFixture(t)
	node, fh := f.create("a", unix.O_RDWR)
	const process, openFile, flocker = 7, 8, 9
	for _, owner := range []uint64{process, openFile} {
		f.want("lock", f.SetLk(nil, lkIn(node, fh, owner, unix.F_RDLCK, 0)), 0)
		f.m.held = nil
	}
	f.want("flush", f.Flush(nil, &fuse.FlushIn{InHeader: header(node), Fh: fh, LockOwner: process}), 0)
	f.Release(nil, &fuse.ReleaseIn{InHeader: header(node), Fh: fh, LockOwner: flocker, ReleaseFlags: fuse.FUSE_RELEASE_FLOCK_UNLOCK})
	want := []client.Lock{{Owner: process}, {Owner: flocker, Flock: true}, {Owner: openFile}}
	if !slices.Equal(f.m.unlocks, want) {
		t.Errorf("unlocked %+v, want %+v", f.m.unlocks, want)
	}
}
