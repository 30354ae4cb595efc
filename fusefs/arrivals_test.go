package fusefs

import (
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

func TestARequestWaitsForThoseSentBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a arrivals
		begin := time.Now()
		done := make(chan time.Duration)
		for _, number := range []uint64{2, 4, 8, 12} {
			a.come(number)
		}
		go func() { a.before(t.Context(), 10); done <- time.Since(begin) }()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		a.come(6)
		if took := <-done; took < time.Millisecond || took > 2*time.Millisecond {
			t.Errorf("it waited %v for the one that came after a millisecond", took)
		}
		if a.late(10) || !a.late(14) {
			t.Errorf("late behind 10: %t, behind 14: %t", a.late(10), a.late(14))
		}
		begin = time.Now()
		a.before(t.Context(), 14)
		if took := time.Since(begin); took < patience {
			t.Errorf("it waited %v for one that never came", took)
		}
		begin = time.Now()
		a.before(t.Context(), 14)
		if took := time.Since(begin); took != 0 {
			t.Errorf("it waited %v more for one that is known not to come", took)
		}
	})
}

// Numbers share places with those a thousand requests before.
func TestManyArrivals(t *testing.T) {
	var a arrivals
	for number := uint64(step); number < 5*step*remembered; number += step {
		if number%100 != 0 {
			a.come(number)
		}
		if late := a.late(number); late != (number > 100) {
			t.Fatalf("late behind %d: %t", number, late)
		}
	}
	a.come(100) // by far too late: newer ones have its place
	if last := uint64(5 * step * remembered); !a.late(last) {
		t.Error("an old number has passed for a new one")
	}
}

// A lock is not refused for one whose file's RELEASE was sent before, and gets here behind it.
func TestALockWaitsForWhatWasReleasedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		node, first := f.create("a", unix.O_RDWR)
		file := &slowUnlock{f.files.open[first].file.(*memFile), make(chan struct{})}
		close(file.proceed)
		f.files.open[first].file = file
		second := f.files.add(&fileHandle{file: file.memFile})
		f.want("lock", f.SetLk(nil, lkIn(node, first, 7, unix.F_WRLCK, fuse.LK_FLOCK)), 0)
		answer := make(chan fuse.Status, 1)
		go func() {
			in := lkIn(node, second, 8, unix.F_WRLCK, fuse.LK_FLOCK)
			in.Unique = 4
			answer <- f.SetLk(nil, in)
		}()
		time.Sleep(time.Millisecond)
		f.Release(nil, &fuse.ReleaseIn{InHeader: fuse.InHeader{NodeId: node, Unique: 2}, Fh: first, LockOwner: 7, ReleaseFlags: fuse.FUSE_RELEASE_FLOCK_UNLOCK})
		f.want("lock behind the close", <-answer, 0)
	})
}

// numbers is a filesystem of nothing, which keeps the numbers of the kernel's requests for names.
type numbers struct {
	fuse.RawFileSystem
	mu  sync.Mutex
	all []uint64
}

func (n *numbers) Lookup(_ <-chan struct{}, in *fuse.InHeader, _ string, _ *fuse.EntryOut) fuse.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, in.Unique)
	return fuse.Status(syscall.ENOENT)
}

// What arrivals builds on: it would wait in vain if the kernel numbered otherwise.
func TestTheKernelNumbersItsRequestsTwoApart(t *testing.T) {
	dir := t.TempDir()
	fs := &numbers{RawFileSystem: fuse.NewDefaultRawFileSystem()}
	server, err := fuse.NewServer(fs, dir, &fuse.MountOptions{DirectMount: true})
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve()
	defer server.Unmount()
	var names []string
	for i := range 100 {
		names = append(names, filepath.Join(dir, "f", string(rune('a'+i))))
	}
	if out, err := exec.Command("stat", names...).CombinedOutput(); err == nil {
		t.Fatalf("%s", out)
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if len(fs.all) < 100 {
		t.Fatalf("%d requests", len(fs.all))
	}
	for pair := range slices.Chunk(fs.all[len(fs.all)-100:], 2) {
		if pair[1] != pair[0]+step {
			t.Fatalf("numbers: %d", fs.all)
		}
	}
}
