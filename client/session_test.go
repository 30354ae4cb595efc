package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

func TestDialGivesUp(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	cluster.Stop()
	_, err := Dial(t.Context(), clienttest.MasterAddress, Options{DialTimeout: 100 * time.Millisecond, Dial: cluster.Dial, DialOptions: cluster.DialOptions()})
	wantKind(t, "dial", err, proto.Unavailable)
	cluster.Start()
}

func TestCloseEndsTheSession(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	data := noise(1, 2<<20)
	mustWrite(t, f, data, 0)
	must(t, c.Close()) // flushes what was left open
	if n := cluster.Sessions(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	wantKind(t, "second close", c.Close(), proto.BadHandle)
	if got := contents(t, open(t, connect(t, cluster), "/f", unix.O_RDONLY)); !bytes.Equal(got, data) {
		t.Errorf("%d bytes", len(got))
	}
}

// TestLostAnswersAreNotRepeated loses the answer to every kind of change, twice.
func TestLostAnswersAreNotRepeated(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	ctx := t.Context()
	f := create(t, c, "/f")
	for method, call := range map[string]func() error{
		"Mkdir":    func() error { _, err := c.Mkdir(ctx, root, 1, "dir", 0o755); return err },
		"Symlink":  func() error { _, err := c.Symlink(ctx, root, 1, "link", "dir"); return err },
		"SetXattr": func() error { return c.SetXattr(ctx, root, 1, "user.x", []byte("y"), 0) },
		"Create": func() error {
			_, err := c.CreateInode(ctx, root, 1, "new", 0o644, unix.O_RDWR|unix.O_EXCL)
			return err
		},
		"Commit": func() error { mustWrite(t, f, []byte("x"), 0); return f.Flush(ctx) },
		"SetAttr": func() error {
			mode := uint32(0o600)
			_, err := c.SetAttr(ctx, root, f.Inode(), SetAttr{Mode: &mode})
			return err
		},
	} {
		var lost atomic.Int32
		cluster.Hook(func(called string, _ any, after bool) error {
			if called == method && after && lost.Add(1) <= 2 {
				return proto.Unavailable
			}
			return nil
		})
		before := cluster.Count(method)
		if err := call(); err != nil {
			t.Errorf("%s: %v", method, err)
		}
		if n := cluster.Count(method) - before; n != 1 || lost.Load() < 3 {
			t.Errorf("%s was carried out %d times in %d attempts", method, n, lost.Load())
		}
		cluster.Hook(nil)
	}
}

func TestMasterAwayForAWhile(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	data := noise(1, 3<<20)
	mustWrite(t, f, data[:1<<20], 0)
	cluster.Stop()
	go func() {
		time.Sleep(300 * time.Millisecond)
		cluster.Start()
	}()
	mustWrite(t, f, data[1<<20:], 1<<20) // needs chunks to be assigned
	_, err := c.Mkdir(t.Context(), root, 1, "dir", 0o755)
	must(t, err)
	must(t, f.Close())
	if got := contents(t, open(t, c, "/f", unix.O_RDONLY)); !bytes.Equal(got, data) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestWaitingForTheMasterCanBeInterrupted(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	cluster.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := c.Lookup(ctx, root, 1, "x")
	wantKind(t, "lookup", err, proto.Interrupted)
	_, err = c.Mkdir(ctx, root, 1, "x", 0o755)
	wantKind(t, "mkdir", err, proto.Interrupted)
	cluster.Start()
}

// TestOpensAreClaimedAgain: a file that has no name any more outlives a restart
// of the master while it is open.
func TestOpensAreClaimedAgain(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f, g := create(t, c, "/f"), open(t, c, "/f", unix.O_RDONLY)
	for range 3 {
		cluster.Stop()
		cluster.Start()
		eventually(t, "the claim", func() bool { return cluster.Opens(f.Inode()) == 2 })
	}
	must(t, c.Remove(t.Context(), "/f"))
	mustWrite(t, f, []byte("still here"), 0)
	must(t, f.Close())
	if got := contents(t, g); string(got) != "still here" {
		t.Errorf("%q", got)
	}
	ino := g.Inode()
	must(t, g.Close())
	eventually(t, "the inode to go", func() bool {
		_, err := c.GetAttr(t.Context(), ino)
		return proto.KindOf(err) == proto.Stale
	})
}

// TestOpenPassedByAHello: the stream breaks while an open is being answered.
func TestOpenPassedByAHello(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	cluster.Hook(func(method string, _ any, after bool) error {
		if method == "Open" && after {
			ticket := c.sessions.ticket()
			c.sessions.again() // its Hello does not know of this open
			eventually(t, "the Hello", func() bool { return c.sessions.ticket() > ticket && cluster.Opens(f.Inode()) == 1 })
		}
		return nil
	})
	g := open(t, c, "/f", unix.O_RDONLY)
	eventually(t, "both opens", func() bool { return cluster.Opens(f.Inode()) == 2 })
	must(t, g.Close())
}

func TestExpiredSession(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	clean, dirty, gone := create(t, c, "/clean"), create(t, c, "/dirty"), create(t, c, "/gone")
	late := create(t, c, "/late")
	data := noise(1, 10000)
	mustWrite(t, clean, data, 0)
	must(t, clean.Flush(t.Context()))
	mustWrite(t, dirty, data, 0)
	dirty.ino.mu.Lock()
	must(t, dirty.ino.drain(t.Context(), false)) // the chunk exists
	dirty.ino.mu.Unlock()
	other := connect(t, cluster)
	cluster.Hook(func(method string, _ any, _ bool) error { // nothing is opened again yet
		if method == "Open" {
			return proto.Unavailable
		}
		return nil
	})
	cluster.Expire()
	eventually(t, "both sessions", func() bool { return cluster.Sessions() == 2 })
	must(t, other.Remove(t.Context(), "/gone"))
	eventually(t, "the end of the file", func() bool { _, err := other.GetAttr(t.Context(), gone.Inode()); return err != nil })
	cluster.Hook(nil)
	eventually(t, "clean is open again", func() bool { return cluster.Opens(clean.Inode()) == 1 })
	if got := contents(t, clean); !bytes.Equal(got, data) {
		t.Errorf("%d bytes", len(got))
	}
	eventually(t, "dirty is told", func() bool {
		dirty.ino.mu.Lock()
		defer dirty.ino.mu.Unlock()
		return dirty.ino.failures > 0
	})
	wantKind(t, "the dirty file", dirty.Flush(t.Context()), proto.SessionExpired)
	must(t, dirty.Flush(t.Context()))
	for _, f := range []*File{dirty, late} { // into chunks assigned anew
		mustWrite(t, f, data, 0)
		must(t, f.Close())
	}
	for _, name := range []string{"/dirty", "/late"} {
		if got := contents(t, open(t, other, name, unix.O_RDONLY)); !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes", name, len(got))
		}
	}
	eventually(t, "gone is lost", func() bool {
		_, err := gone.ReadAt(make([]byte, 1), 0)
		return proto.KindOf(err) == proto.Stale
	})
}

// TestChangeOfUnknownFate: the session expires after a change was carried out
// and its answer was lost. It is not carried out again.
func TestChangeOfUnknownFate(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	var first atomic.Bool
	cluster.Hook(func(method string, _ any, after bool) error {
		if method == "Mkdir" && after && !first.Swap(true) {
			cluster.Expire()
			return proto.Unavailable
		}
		return nil
	})
	_, err := c.Mkdir(t.Context(), root, 1, "dir", 0o755)
	wantKind(t, "mkdir", err, proto.SessionExpired)
	if n := cluster.Count("Mkdir"); n != 1 {
		t.Errorf("carried out %d times", n)
	}
	_, err = c.Mkdir(t.Context(), root, 1, "dir2", 0o755) // in the new session
	must(t, err)
}

// TestChangeRefusedByAnExpiredSession was certainly not carried out: it is sent
// again in the next session.
func TestChangeRefusedByAnExpiredSession(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	cluster.Expire()
	_, err := c.Mkdir(t.Context(), root, 1, "dir", 0o755)
	must(t, err)
}

func TestMoreChangesThanSlots(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{Slots: 2})
	c := connect(t, cluster)
	done := make(chan error)
	const n = 50
	for i := range n {
		go func() {
			_, err := c.Mkdir(t.Context(), root, 1, fmt.Sprint(i), 0o755)
			done <- err
		}()
	}
	var failed error
	for range n {
		failed = errors.Join(failed, <-done)
	}
	must(t, failed)
	if entries, err := c.List(t.Context(), "/"); err != nil || len(entries) != n {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

func TestKeepAlive(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{SessionTimeout: 90 * time.Millisecond})
	connect(t, cluster)
	eventually(t, "five keepalives", func() bool { return cluster.KeepAlives() >= 5 })
}

func TestSilentMasterIsCalledAgain(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{SessionTimeout: 90 * time.Millisecond})
	c := connect(t, cluster)
	cluster.Mute(true)
	before := c.sessions.ticket()
	eventually(t, "another Hello", func() bool { return c.sessions.ticket() >= before+2 })
	cluster.Mute(false)
	if n := cluster.Sessions(); n != 1 {
		t.Errorf("%d sessions: it must resume", n)
	}
}

func TestWelcomeIsChecked(t *testing.T) {
	good := &pb.Welcome{Session: 1, Cluster: "01234567-89ab-4def-8123-456789abcdef", ChunkSize: 1 << 20}
	must(t, checkWelcome(good))
	for name, spoil := range map[string]func(w *pb.Welcome){
		"no session":       func(w *pb.Welcome) { w.Session = 0 },
		"no uuid":          func(w *pb.Welcome) { w.Cluster = "x" },
		"small chunks":     func(w *pb.Welcome) { w.ChunkSize = 4096 },
		"huge chunks":      func(w *pb.Welcome) { w.ChunkSize = 1 << 40 },
		"no power of two":  func(w *pb.Welcome) { w.ChunkSize = 3 << 20 },
		"no chunks at all": func(w *pb.Welcome) { w.ChunkSize = 0 },
	} {
		w := &pb.Welcome{Session: good.Session, Cluster: good.Cluster, ChunkSize: good.ChunkSize}
		spoil(w)
		if checkWelcome(w) == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
