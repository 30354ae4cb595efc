package client

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/distrifs/distrifs/proto"
)

// namesKept is a kernel that keeps names.
type namesKept struct {
	noCaches
	locked chan struct{} // closed: somebody holds its lock on directories no more

	mu      sync.Mutex
	dropped []string
}

func (k *namesKept) DropNames(_ proto.InodeID, names []string) {
	<-k.locked
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dropped = append(k.dropped, names...)
}

func (k *namesKept) has(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !slices.Contains(k.dropped, name)
}

// toldOf gives a client that has told its kernel of a file's name and of one that is absent, and
// another that is about to change them.
func toldOf(t *testing.T) (a, b *Client, kernel *namesKept) {
	t.Helper()
	cluster := leasing(t)
	a, b = connect(t, cluster, checked), connect(t, cluster, checked)
	must(t, create(t, b, "/file").Close())
	kernel = &namesKept{locked: make(chan struct{})}
	a.SetCaches(kernel)
	_, err := a.List(t.Context(), "/")
	must(t, err)
	attr, err := a.Lookup(t.Context(), root, a.root, "file")
	must(t, err)
	_, err = a.Lookup(t.Context(), root, a.root, "absent")
	wantKind(t, "look up", err, proto.NotFound)
	for name, ino := range map[string]proto.InodeID{"file": attr.Inode, "absent": 0} {
		if ttl := a.EntryTTL(a.root, name, ino); ttl <= 0 || ttl > entryTTL {
			t.Errorf("%s may be kept for %v", name, ttl)
		}
	}
	if ttl := a.EntryTTL(a.root, "file", attr.Inode+1); ttl != 0 {
		t.Errorf("a name may be kept for %v that stands for something else", ttl)
	}
	return a, b, kernel
}

func TestTheKernelForgetsNamesBeforeOthersChangeThem(t *testing.T) { // G4
	a, b, kernel := toldOf(t)
	close(kernel.locked)
	must(t, b.RenamePath(t.Context(), "/file", "/absent"))
	if kernel.has("file") || kernel.has("absent") {
		t.Errorf("the kernel has names that were changed: it was to drop %q", kernel.dropped)
	}
	attr, err := a.Lookup(t.Context(), root, a.root, "absent")
	must(t, err)
	if ttl := a.EntryTTL(a.root, "absent", attr.Inode); ttl != 0 {
		t.Errorf("where others are at work a name may be kept for %v", ttl)
	}
}

// The kernel's lock may be held by a call that waits for the change of the other.
func TestAKernelThatCannotForgetNamesIsWaitedFor(t *testing.T) { // G4
	_, b, kernel := toldOf(t)
	told := time.Now()
	must(t, b.RenamePath(t.Context(), "/file", "/absent"))
	if passed := time.Since(told); passed < entryTTL {
		t.Errorf("another client changed names %v after the kernel was told of them", passed)
	}
	close(kernel.locked)
}

func TestNamesThatAreNotRememberedAreWaitedFor(t *testing.T) { // G4
	a, b, kernel := toldOf(t)
	close(kernel.locked)
	told := time.Now()
	a.leases.mu.Lock()
	a.leases.dropNames(a.leases.held[a.root])
	a.leases.mu.Unlock()
	must(t, b.RenamePath(t.Context(), "/file", "/absent"))
	if passed := time.Since(told); passed < entryTTL {
		t.Errorf("another client changed names %v after the kernel was told of them", passed)
	}
}

// What the kernel was told of a name goes with what is moved.
func TestAMovedNameIsKept(t *testing.T) { // G4
	a, b, kernel := toldOf(t)
	close(kernel.locked)
	must(t, a.RenamePath(t.Context(), "/file", "/moved"))
	must(t, b.Remove(t.Context(), "/moved"))
	if kernel.has("moved") {
		t.Errorf("the kernel has a name that was removed: it was to drop %q", kernel.dropped)
	}
}

func TestNamesAreForgottenWhenTheSessionResumes(t *testing.T) { // G4
	a, _, kernel := toldOf(t)
	close(kernel.locked)
	a.leases.suspend()
	a.leases.awaitUntold()
	if kernel.has("file") || kernel.has("absent") {
		t.Errorf("the kernel has names that others may change: it was to drop %q", kernel.dropped)
	}
}
