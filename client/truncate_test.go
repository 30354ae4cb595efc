package client

import (
	"bytes"
	"io"
	"sync"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/proto"
)

// TestRefusedTruncationKeepsData: an open with O_TRUNC that fails changes nothing.
func TestRefusedTruncationKeepsData(t *testing.T) { // L10
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	data := noise(1, 1000)
	mustWrite(t, f, data, 0)
	cluster.Hook(func(method string, _ any, _ bool) error {
		if method == "Open" {
			return proto.Access
		}
		return nil
	})
	_, err := c.OpenInode(t.Context(), root, f.Inode(), unix.O_WRONLY|unix.O_TRUNC)
	wantKind(t, "open", err, proto.Access)
	must(t, f.Close())
	cluster.Hook(nil)
	if got := contents(t, open(t, c, "/f", unix.O_RDONLY)); !bytes.Equal(got, data) {
		t.Errorf("%d bytes are left of %d", len(got), len(data))
	}
}

// TestTruncationOvertakesWrites: an open with O_TRUNC does not wait for frames that
// are on their way; they do no harm to what is written after it.
func TestTruncationOvertakesWrites(t *testing.T) {
	for _, byName := range []bool{false, true} {
		cluster := clienttest.New(t, clienttest.Options{})
		c := connect(t, cluster)
		f := create(t, c, "/f")
		mustWrite(t, f, noise(1, 5000), 0)
		must(t, f.Flush(t.Context()))
		held, goOn := make(chan struct{}, 8), make(chan struct{})
		for _, n := range cluster.Nodes {
			n.Hook(func(op string, _ uuid.UUID, off uint64, _ int) error {
				if op == "write" && off == 5000 {
					held <- struct{}{}
					<-goOn
				}
				return nil
			})
		}
		mustWrite(t, f, noise(2, 5000), 5000)
		<-held
		var err error
		var g *File
		if byName {
			g, err = c.CreateInode(t.Context(), root, c.Root(), "f", 0o644, unix.O_RDWR|unix.O_TRUNC)
		} else {
			g, err = c.OpenInode(t.Context(), root, f.Inode(), unix.O_RDWR|unix.O_TRUNC)
		}
		must(t, err)
		data := noise(3, 100)
		mustWrite(t, g, data, 900)
		close(goOn)
		must(t, g.Sync(t.Context()))
		want := append(make([]byte, 900), data...)
		if got := contents(t, g); !bytes.Equal(got, want) {
			t.Errorf("by name %v: %d bytes, want %d", byName, len(got), len(want))
		}
		must(t, f.Close())
		must(t, g.Close())
		if got := contents(t, open(t, connect(t, cluster), "/f", unix.O_RDONLY)); !bytes.Equal(got, want) {
			t.Errorf("by name %v, elsewhere: %d bytes, want %d", byName, len(got), len(want))
		}
	}
}

// TestWriteIntoAFreedChunk: another client truncates a file that this one goes on
// writing to. What is written and synced after that stays, or an error says so.
func TestWriteIntoAFreedChunk(t *testing.T) { // G1
	cluster := clienttest.New(t, clienttest.Options{})
	f := create(t, connect(t, cluster), "/f")
	mustWrite(t, f, noise(1, 1000), 0)
	must(t, f.Flush(t.Context()))
	other := open(t, connect(t, cluster), "/f", unix.O_RDWR)
	must(t, other.Truncate(t.Context(), 0))
	must(t, other.Truncate(t.Context(), 1000))
	data := noise(2, 1000)
	mustWrite(t, f, data, 0)
	err := f.Sync(t.Context())
	got := contents(t, open(t, connect(t, cluster), "/f", unix.O_RDONLY))
	if err == nil && !bytes.Equal(got, data) {
		t.Error("sync said 0, and the bytes are not there")
	}
}

// G3: a read that another client cuts the file under gives what was there or that it ends,
// never zeros in the place of bytes.
func TestAReadIsOvertakenByATruncation(t *testing.T) {
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	fa := create(t, a, "/file")
	p := noise(1, 9000)
	mustWrite(t, fa, p, 0)
	fb := open(t, b, "/file", unix.O_RDONLY)
	var once sync.Once
	for _, n := range cluster.Nodes {
		n.Hook(func(op string, _ uuid.UUID, _ uint64, _ int) (err error) {
			if op == "read" {
				once.Do(func() { must(t, fa.Truncate(t.Context(), 0)) })
				err = proto.E(proto.NoReplica, "read", "", "it was freed meanwhile")
			}
			return err
		})
	}
	got := make([]byte, len(p))
	if n, err := fb.ReadAt(got, 0); err != io.EOF || !bytes.Equal(got[:n], p[:n]) {
		t.Errorf("read %d bytes, %v: nothing is there any more", n, err)
	}
}

// TestGrownOverIsOnStableStorage: the size that a truncation sets is durable when it returns, and
// so is that there are zeros where bytes had been cut off before.
func TestGrownOverIsOnStableStorage(t *testing.T) { // G1
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	mustWrite(t, f, noise(1, 9000), 0)
	must(t, f.Sync(t.Context()))
	must(t, f.Truncate(t.Context(), 100))
	must(t, f.Truncate(t.Context(), 9000))
	wantSynced(t, cluster, f.Inode(), 0)
	for _, n := range cluster.Chain(f.Inode(), 0) {
		if data, _, _ := cluster.Replica(n, f.Inode(), 0); len(bytes.Trim(data[100:], "\x00")) > 0 {
			t.Errorf("node %d has what was cut off", n.ID)
		}
	}
}

// TestCutOffWhileTheMasterRestarts: with the master's restart shared leases go without a recall.
// What another client cut off then is not written to any more (G3).
func TestCutOffWhileTheMasterRestarts(t *testing.T) {
	cluster := leasing(t)
	c, other := connect(t, cluster), connect(t, cluster)
	f := create(t, c, "/f")
	mustWrite(t, f, noise(1, 5000), 0)
	must(t, f.Flush(t.Context()))
	g := open(t, other, "/f", unix.O_RDWR)
	contents(t, g) // so that the lease is shared
	must(t, f.Sync(t.Context()))
	cluster.Stop()
	cluster.Start()
	must(t, g.Truncate(t.Context(), 0))
	mustWrite(t, f, []byte("anew"), 100)
	must(t, f.Sync(t.Context()))
	if got := contents(t, g); !bytes.Equal(got, append(make([]byte, 100), "anew"...)) {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}
