package fusefs

import (
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// patient is a filesystem in which a name is looked up for as long as a test wants.
type patient struct {
	fuse.RawFileSystem
	tell    func(number uint64)
	arrived chan string
	release chan struct{}
}

func (p *patient) Lookup(interrupt <-chan struct{}, in *fuse.InHeader, name string, _ *fuse.EntryOut) fuse.Status {
	switch {
	case strings.HasPrefix(name, "telling"):
		p.tell(in.Unique)
	case !strings.HasPrefix(name, "silent"):
		return fuse.ENOENT
	}
	p.arrived <- name
	select {
	case <-p.release:
		return fuse.ENOENT
	case <-interrupt:
		return fuse.EINTR
	}
}

func (p *patient) GetAttr(_ <-chan struct{}, _ *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.Mode, out.Nlink = fuse.S_IFDIR|0o755, 2
	return fuse.OK
}

// mountPatient gives a folder where it is mounted; served is closed when that has ended.
func mountPatient(t *testing.T) (p *patient, dir string, served chan struct{}) {
	t.Helper()
	dir = t.TempDir()
	opts := Options{Logger: slog.New(slog.DiscardHandler)}
	opts.setDefaults()
	fd, err := attach(dir, &opts)
	noError(t, err)
	p = &patient{fuse.NewDefaultRawFileSystem(), nil, make(chan string), make(chan struct{})}
	d, err := newDevice(fd, p, fuseOptions(&opts), func(uint64) {}, opts.Logger)
	noError(t, err)
	p.tell = d.waits
	major, _, err := d.greet()
	noError(t, err)
	if major != 7 {
		t.Errorf("the kernel speaks version %d", major)
	}
	served = make(chan struct{})
	go func() { defer close(served); d.serve() }()
	t.Cleanup(func() {
		_ = detach(dir) // an error says that it is not mounted any more
		<-served
	})
	return p, dir, served
}

// Handlers that wait, for however many requests and whether they say so or not, are in nobody's way.
func TestRequestsAreReadWhileHandlersWait(t *testing.T) {
	for _, how := range []string{"telling", "silent"} {
		p, dir, _ := mountPatient(t)
		var callers sync.WaitGroup
		for i := range 3 * maxOnDuty {
			callers.Go(func() {
				if _, err := os.Stat(filepath.Join(dir, how+strconv.Itoa(i))); !os.IsNotExist(err) {
					t.Error(err)
				}
			})
		}
		for range 3 * maxOnDuty {
			<-p.arrived
		}
		for i := range 100 {
			if _, err := os.Stat(filepath.Join(dir, strconv.Itoa(i))); !os.IsNotExist(err) {
				t.Error(err)
			}
		}
		close(p.release)
		callers.Wait()
	}
}

// The watchdog sleeps when nothing is to be done, and wakes up.
func TestRequestsAreReadAfterAPause(t *testing.T) {
	p, dir, _ := mountPatient(t)
	for i := range 3 {
		time.Sleep(2 * watchFor * watchEvery)
		done := make(chan error)
		go func() { _, err := os.Stat(filepath.Join(dir, "silent"+strconv.Itoa(i))); done <- err }()
		<-p.arrived
		_, err := os.Stat(filepath.Join(dir, "other"))
		wantErrno(t, "stat beside one that takes long", err, syscall.ENOENT)
		p.release <- struct{}{}
		wantErrno(t, "stat that takes long", <-done, syscall.ENOENT)
	}
}

// Who waits when the mount is taken away is interrupted: nobody waits for the answer.
func TestHandlersAreInterruptedAtTheEnd(t *testing.T) {
	for _, how := range []string{"telling", "silent"} {
		p, dir, served := mountPatient(t)
		failed := make(chan error)
		go func() { _, err := os.Stat(filepath.Join(dir, how)); failed <- err }()
		<-p.arrived
		if err := unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; err == nil {
			t.Error("an answer came through a mount that is gone")
		}
		<-served
	}
}
