package client

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

const testLease = 3 * time.Second

func leasing(t *testing.T) *clienttest.Cluster {
	return clienttest.New(t, clienttest.Options{LeaseTime: testLease})
}

func checked(o *Options) { o.PermissionsChecked = true }

// costs runs fn and wants these calls, and no others of those that leases save.
func costs(t *testing.T, cluster *clienttest.Cluster, what string, fn func(), want map[string]int) {
	t.Helper()
	methods := []string{"Lookup", "GetAttr", "Acquire", "Commit", "Create", "Open", "GetChunkLocation", "AssignChunk", "ReadDir", "ReadLink", "SetAttr"}
	before := map[string]int{}
	for _, m := range methods {
		before[m] = cluster.Count(m)
	}
	fn()
	for _, m := range methods {
		if n := cluster.Count(m) - before[m]; n != want[m] {
			t.Errorf("%s: %d calls of %s, want %d", what, n, m, want[m])
		}
	}
}

func TestOneClientPaysNothingForLeases(t *testing.T) {
	cluster := leasing(t)
	c := connect(t, cluster, checked)
	ctx := t.Context()
	must(t, c.MkdirAll(ctx, "/dir", 0o755))
	costs(t, cluster, "create, write, close", func() {
		f := create(t, c, "/dir/file")
		mustWrite(t, f, []byte("hello"), 0)
		must(t, f.Close())
	}, map[string]int{"Create": 1, "Commit": 1})
	costs(t, cluster, "stat", func() {
		attr, err := c.Stat(ctx, "/dir/file")
		must(t, err)
		if attr.Size != 5 {
			t.Errorf("size %d", attr.Size)
		}
	}, nil)
	costs(t, cluster, "stat of what is not there, in a directory that this client made", func() {
		_, err := c.Stat(ctx, "/dir/absent")
		wantKind(t, "stat", err, proto.NotFound)
	}, nil)
	costs(t, cluster, "write again and read", func() {
		f := open(t, c, "/dir/file", unix.O_RDWR|unix.O_APPEND)
		mustWrite(t, f, []byte(" world"), 0)
		if got := contents(t, f); string(got) != "hello world" {
			t.Errorf("read %q", got)
		}
		must(t, f.Close())
	}, map[string]int{"Open": 1, "Commit": 1})
	must(t, c.RenamePath(ctx, "/dir/file", "/dir/other"))
	costs(t, cluster, "the old name", func() {
		_, err := c.Stat(ctx, "/dir/file")
		wantKind(t, "stat", err, proto.NotFound)
	}, nil)
	must(t, c.Remove(ctx, "/dir/other"))
	costs(t, cluster, "a removed name", func() {
		_, err := c.Stat(ctx, "/dir/other")
		wantKind(t, "stat", err, proto.NotFound)
	}, nil)
}

func TestAListedDirectoryAnswersForAbsentNames(t *testing.T) {
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	for i := range 25 { // more than a page of the test's master
		must(t, create(t, a, fmt.Sprintf("/file-%d", i)).Close())
	}
	_, err := b.List(t.Context(), "/")
	must(t, err)
	costs(t, cluster, "after a listing", func() {
		_, err := b.Stat(t.Context(), "/file-7")
		must(t, err)
		_, err = b.Stat(t.Context(), "/absent")
		wantKind(t, "stat", err, proto.NotFound)
	}, nil)
	must(t, create(t, a, "/absent").Close())
	_, err = b.Stat(t.Context(), "/absent") // G4
	must(t, err)
}

// G3: what one client has written, and nobody flushed, another reads.
func TestAReadSeesWhatAnotherClientWrote(t *testing.T) {
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	fa := create(t, a, "/file")
	fb := open(t, b, "/file", unix.O_RDWR)
	files := []*File{fa, fb}
	for i := range 30 {
		p := noise(uint64(i), 3000+i)
		mustWrite(t, files[i%2], p, int64(i*100))
		got := make([]byte, len(p))
		if n, err := files[(i+1)%2].ReadAt(got, int64(i*100)); err != nil || !bytes.Equal(got[:n], p) {
			t.Fatalf("write %d: read %d bytes, %v: not what was written", i, n, err)
		}
		attrs := [2]Attr{}
		for k, c := range []*Client{a, b} {
			attr, err := c.GetAttr(t.Context(), fa.Inode())
			must(t, err)
			attrs[k] = attr
		}
		if attrs[0].Size != attrs[1].Size || !attrs[0].Mtime.Equal(attrs[1].Mtime) {
			t.Fatalf("write %d: sizes %d and %d, mtimes %v and %v", i, attrs[0].Size, attrs[1].Size, attrs[0].Mtime, attrs[1].Mtime)
		}
	}
}

func TestAppendsOfSeveralClientsAreAtomic(t *testing.T) {
	cluster := leasing(t)
	const clients, each = 3, 40
	must(t, create(t, connect(t, cluster, checked), "/log").Close())
	var all sync.WaitGroup
	for k := range clients {
		c := connect(t, cluster, checked)
		all.Go(func() {
			f, err := c.OpenFile(context.Background(), "/log", unix.O_WRONLY|unix.O_APPEND, 0)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range each {
				if _, err := f.WriteAt(fmt.Appendf(nil, "client %d line %3d\n", k, i), 0); err != nil {
					t.Error(err)
				}
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	data := contents(t, open(t, connect(t, cluster, checked), "/log", unix.O_RDONLY))
	for k := range clients {
		at := 0
		for i := range each {
			line := fmt.Appendf(nil, "client %d line %3d\n", k, i)
			next := bytes.Index(data[at:], line)
			if next < 0 {
				t.Fatalf("line %d of client %d is lost, torn or out of order", i, k)
			}
			at += next
		}
	}
	if want := clients * each * len("client 0 line 000\n"); len(data) != want {
		t.Errorf("%d bytes, want %d", len(data), want)
	}
}

// L8: a client that has not heard of the master asks, though it holds a lease.
func TestLeasesEndWithTheirValidity(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{LeaseTime: 200 * time.Millisecond, SessionTimeout: time.Minute})
	c := connect(t, cluster, checked)
	f := create(t, c, "/file")
	stat := func() {
		_, err := c.GetAttr(t.Context(), f.Inode())
		must(t, err)
	}
	cluster.Mute(true)
	eventually(t, "the lease is not valid any more", func() bool { return c.AttrTTL(&Attr{Inode: f.Inode(), lease: c.leases.held[f.Inode()]}) == 0 })
	costs(t, cluster, "stat without validity", stat, map[string]int{"GetAttr": 1})
	cluster.Mute(false)
	eventually(t, "the lease is valid again", func() bool { return c.leases.covers(f.Inode()) })
	costs(t, cluster, "stat with validity", stat, nil)
}

func TestUnwrittenDataOutlivesARestartOfTheMaster(t *testing.T) {
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	f := create(t, a, "/file")
	mustWrite(t, f, []byte("before"), 0)
	_, err := b.Stat(t.Context(), "/absent")
	wantKind(t, "stat", err, proto.NotFound)
	cluster.Stop()
	cluster.Start()
	eventually(t, "the lease is claimed", func() bool { return cluster.Lease(f.Inode()) == pb.LeaseMode_LEASE_EXCLUSIVE })
	if got := contents(t, open(t, b, "/file", unix.O_RDONLY)); string(got) != "before" {
		t.Errorf("the other client reads %q", got)
	}
	must(t, create(t, a, "/absent").Close())
	_, err = b.Stat(t.Context(), "/absent") // nothing was kept from before the restart
	must(t, err)
}

// G3, L8: a writer does not rely on a lease that comes while a Hello is under way, which the
// answer to the Hello may end: a master that was started anew is answered first by what a
// call got from it, or the last one's answer comes late.
func TestNoExclusiveLeaseWhileAHelloIsUnderWay(t *testing.T) {
	const ino = 7
	for _, epoch := range []uint64{1, 2} {
		l := newLeases(true)
		l.welcomed(&pb.Welcome{Epoch: 1, LeaseMs: 10_000}, time.Now(), false)
		began := l.begin()
		a := &acquisition{}
		l.acquiring[ino] = a
		l.suspend()
		l.admit(began, &pb.Grants{Exclusive: []uint64{ino}})
		l.welcomed(&pb.Welcome{Epoch: epoch, LeaseMs: 10_000}, time.Now(), true)
		if a.got != nil && l.held[ino] != a.got {
			t.Errorf("epoch %d: a writer was given a lease that is lost", epoch)
		}
		if l.admit(l.begin(), &pb.Grants{Exclusive: []uint64{ino}}); a.got == nil || l.held[ino] != a.got {
			t.Errorf("epoch %d: nor was it given the next one", epoch)
		}
	}
}

func TestARecallOvertakesAGrant(t *testing.T) {
	l := newLeases(true)
	l.welcomed(&pb.Welcome{Epoch: 1, LeaseMs: 10_000}, time.Now(), false)
	began := l.begin()
	l.recalled(&pb.Recall{Number: 1, Inodes: []uint64{7}})
	if got := l.takeReturned(); len(got) != 1 || got[0].Number != 1 {
		t.Errorf("answered %v", got)
	}
	old := &pb.Grants{Recalls: 0, Shared: []uint64{7, 8}}
	l.admit(began, old)
	if l.covers(7) || !l.covers(8) {
		t.Error("a grant from before a recall counts, or one of another inode does not")
	}
	l.admit(began, &pb.Grants{Recalls: 1, Shared: []uint64{7}})
	if !l.covers(7) {
		t.Error("a grant from after the recall does not count")
	}
}

func TestAnAnswerFromBeforeAnOwnChangeIsNotCached(t *testing.T) {
	l := newLeases(true)
	l.welcomed(&pb.Welcome{Epoch: 1, LeaseMs: 10_000}, time.Now(), false)
	g := &pb.Grants{Shared: []uint64{7}}
	early := l.begin()
	l.admit(early, g)
	own := l.changing(7)
	own.ended(nil, nil)
	l.noteAttr(early, g, &Attr{Inode: 7, Nlink: 1, Change: 3})
	if _, ok := l.attr(7); ok {
		t.Error("attributes of a call that began before the change are cached")
	}
	late := l.begin()
	l.admit(late, g)
	l.noteAttr(late, g, &Attr{Inode: 7, Nlink: 1, Change: 4})
	if attr, ok := l.attr(7); !ok || attr.Change != 4 {
		t.Error("later attributes are not cached")
	}
	l.changing(7).ended(nil, proto.Timeout)
	l.admit(l.begin(), g)
	if _, ok := l.attr(7); ok {
		t.Error("attributes are cached though it is not known what a change did")
	}
}

// slowCaches is a kernel that holds on to pages until released.
type slowCaches struct {
	release chan struct{}
	attrs   chan proto.InodeID
}

func (s slowCaches) DropAttrs(ino proto.InodeID)     { s.attrs <- ino }
func (s slowCaches) DropPages(proto.InodeID)         { <-s.release }
func (slowCaches) DropNames(proto.InodeID, []string) {}

// lockedPages is a kernel that holds a lock on a page while it writes it.
type lockedPages struct{ page sync.RWMutex }

func (*lockedPages) DropAttrs(proto.InodeID)           {}
func (*lockedPages) DropNames(proto.InodeID, []string) {}

func (p *lockedPages) DropPages(proto.InodeID) {
	p.page.Lock()
	defer p.page.Unlock()
}

// Two kernels that want the lease of each other, with pages locked in both, must not
// wait for ever.
func TestARecallDoesNotWaitForPagesOfAWriter(t *testing.T) {
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	fa := create(t, a, "/file")
	fb := open(t, b, "/file", unix.O_RDWR)
	var both sync.WaitGroup
	for _, f := range []*File{fa, fb} {
		kernel := &lockedPages{}
		f.ino.c.SetCaches(kernel)
		for k := range 2 {
			both.Go(func() {
				for i := range 20 {
					kernel.page.RLock()
					_, err := f.WriteAt([]byte("x"), int64(2*i+k))
					kernel.page.RUnlock()
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	both.Wait()
}

func TestARecallWaitsForPages(t *testing.T) {
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	f := create(t, a, "/file")
	caches := slowCaches{release: make(chan struct{}), attrs: make(chan proto.InodeID, 16)}
	a.SetCaches(caches)
	done := make(chan error, 1)
	go func() {
		size := uint64(0)
		_, err := b.SetAttr(context.Background(), root, f.Inode(), SetAttr{Size: &size})
		done <- err
	}()
	<-caches.attrs
	select {
	case err := <-done:
		t.Fatalf("another client's change went through before the pages were dropped: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(caches.release)
	must(t, <-done)
}

// What another client has cut off is not written to.
func TestAWriteAfterATruncationByAnotherClient(t *testing.T) {
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	f := create(t, b, "/file")
	mustWrite(t, f, []byte("before"), 0)
	size := uint64(0)
	_, err := a.SetAttr(t.Context(), root, f.Inode(), SetAttr{Size: &size})
	must(t, err)
	mustWrite(t, f, []byte("after"), 0)
	if got := contents(t, open(t, a, "/file", unix.O_RDONLY)); string(got) != "after" {
		t.Errorf("read %q", got)
	}
	must(t, f.Sync(t.Context()))
}

func TestLeasesAreBounded(t *testing.T) {
	cluster := leasing(t)
	c := connect(t, cluster, checked)
	c.leases.limit = 64
	var last *File
	for i := range 300 { // each under an exclusive lease
		last = create(t, c, fmt.Sprintf("/file-%d", i))
		mustWrite(t, last, []byte("data"), 0)
		if i%3 > 0 {
			must(t, last.Close())
		}
	}
	eventually(t, "leases are given back", func() bool {
		c.leases.mu.Lock()
		defer c.leases.mu.Unlock()
		return len(c.leases.held) <= c.leases.limit
	})
	other := connect(t, cluster, checked)
	for i := range 300 {
		if got := contents(t, open(t, other, fmt.Sprintf("/file-%d", i), unix.O_RDONLY)); string(got) != "data" {
			t.Fatalf("file %d reads %q", i, got)
		}
	}
}
