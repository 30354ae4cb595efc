package fusefs

import (
	"context"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/distrifs/distrifs/client"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// slowUnlock is a file whose lock is taken off when the test lets it.
type slowUnlock struct {
	*memFile
	proceed chan struct{}
}

func (f *slowUnlock) Unlock(ctx context.Context, owner uint64, flock bool) error {
	<-f.proceed
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.m.held = nil
	return nil
}

// A lock is not refused for that of a file whose last close has returned, nor is that one told of,
// however long it takes to take it off.
func TestNoConflictWithAFileThatWasClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		node, first := f.create("a", unix.O_RDWR)
		file := &slowUnlock{f.files.open[first].file.(*memFile), make(chan struct{})}
		f.files.open[first].file = file
		second := f.files.add(&fileHandle{file: file.memFile})
		f.want("lock", f.SetLk(nil, lkIn(node, first, 7, unix.F_WRLCK, fuse.LK_FLOCK)), 0)
		f.want("lock before the close", f.SetLk(nil, lkIn(node, second, 8, unix.F_WRLCK, fuse.LK_FLOCK)), syscall.EAGAIN)

		go f.Release(nil, &fuse.ReleaseIn{InHeader: header(node), Fh: first, LockOwner: 7, ReleaseFlags: fuse.FUSE_RELEASE_FLOCK_UNLOCK})
		synctest.Wait()
		var out fuse.LkOut
		asked, answer := make(chan fuse.Status, 1), make(chan fuse.Status, 1)
		go func() { asked <- f.GetLk(nil, lkIn(node, second, 8, unix.F_WRLCK, fuse.LK_FLOCK), &out) }()
		go func() { answer <- f.SetLk(nil, lkIn(node, second, 8, unix.F_WRLCK, fuse.LK_FLOCK)) }()
		synctest.Wait()
		close(file.proceed)
		if f.want("test behind the close", <-asked, 0); out.Lk.Typ != unix.F_UNLCK {
			t.Errorf("in the way: %+v", out.Lk)
		}
		f.want("lock after the close", <-answer, 0)
		if f.m.held == nil || *f.m.held != (client.Lock{Owner: 8, Flock: true, Mode: client.LockExclusive, Start: 3, End: client.LockEnd, Process: 42}) {
			t.Errorf("held: %+v", f.m.held)
		}
	})
}
