package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/proto"
)

// written makes a file of n bytes with one client, and opens it with another
// that knows nothing but what the open tells.
func written(t *testing.T, cluster *clienttest.Cluster, n int, change ...func(*Options)) (*File, []byte) {
	t.Helper()
	data := noise(9, n)
	f := create(t, connect(t, cluster), "/f")
	mustWrite(t, f, data, 0)
	must(t, f.Close())
	return open(t, connect(t, cluster, change...), "/f", unix.O_RDONLY), data
}

func TestReadSurvivesReplicas(t *testing.T) {
	for name, hurt := range map[string]func(c *clienttest.Cluster, f *File){
		"one killed":           func(c *clienttest.Cluster, _ *File) { c.Nodes[0].Kill() },
		"two killed":           func(c *clienttest.Cluster, _ *File) { c.Nodes[0].Kill(); c.Nodes[2].Kill() }, // G7
		"one corrupt":          func(c *clienttest.Cluster, _ *File) { c.Nodes[1].CorruptAll() },              // G5
		"two corrupt":          func(c *clienttest.Cluster, _ *File) { c.Nodes[0].CorruptAll(); c.Nodes[1].CorruptAll() },
		"one lost its chunks":  func(c *clienttest.Cluster, _ *File) { c.Nodes[2].DropAll() },
		"versions went on":     func(c *clienttest.Cluster, f *File) { c.Bump(f.Inode()) },
		"killed, corrupt, old": func(c *clienttest.Cluster, f *File) { c.Bump(f.Inode()); c.Nodes[0].Kill(); c.Nodes[1].CorruptAll() },
	} {
		t.Run(name, func(t *testing.T) {
			cluster := clienttest.New(t, clienttest.Options{})
			f, data := written(t, cluster, 3<<20+777)
			hurt(cluster, f)
			for range 2 {
				if got := contents(t, f); !bytes.Equal(got, data) {
					t.Fatalf("%d bytes; first difference at %d", len(got), differ(got, data))
				}
			}
		})
	}
}

func TestCorruptReplicaIsReported(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	f, data := written(t, cluster, 10000)
	cluster.Nodes[0].CorruptAll()
	cluster.Nodes[1].CorruptAll()
	eventually(t, "both reports", func() bool { // L13
		p := make([]byte, 10000)
		if _, err := f.ReadAt(p, 0); err != nil || !bytes.Equal(p, data) {
			t.Fatal("wrong bytes", err)
		}
		f.ino.c.health = newHealth() // so that all are tried
		var nodes []uint32
		for _, r := range cluster.Corrupt() {
			nodes = append(nodes, r.Node)
		}
		return slices.Contains(nodes, 1) && slices.Contains(nodes, 2) && !slices.Contains(nodes, 3)
	})
}

func TestNoGoodReplicaIsEIO(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	f, _ := written(t, cluster, 10000, impatient(time.Hour)) // it is known before the budget ends
	for _, n := range cluster.Nodes {
		n.CorruptAll()
	}
	_, err := f.ReadAt(make([]byte, 10), 0)
	wantKind(t, "read", err, proto.IO)
	if proto.KindOf(err).Errno() != unix.EIO {
		t.Error("no EIO")
	}
}

func TestReadGivesUpAfterTheBudget(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	f, data := written(t, cluster, 10000, impatient(300*time.Millisecond))
	for _, n := range cluster.Nodes {
		n.Kill()
	}
	_, err := f.ReadAt(make([]byte, 10), 0)
	wantKind(t, "read", err, proto.Timeout)
	for _, n := range cluster.Nodes {
		n.Start()
	}
	f.ino.c.opts.IOTimeout = 20 * time.Second
	if got := contents(t, f); !bytes.Equal(got, data) {
		t.Error("wrong bytes after they came back")
	}
}

// TestWriteSurvives breaks something in mid-write: the application sees no
// error, and the bytes are right (G6, G7).
func TestWriteSurvives(t *testing.T) {
	type hurt = func(c *clienttest.Cluster, op string, n int) error
	broken := proto.E(proto.IO, "write", "", "the disk of the test")
	for name, at := range map[string]struct {
		node int
		fn   hurt
	}{
		"killed head":  {0, func(c *clienttest.Cluster, _ string, _ int) error { go c.Nodes[0].Kill(); return broken }},
		"killed tail":  {2, func(c *clienttest.Cluster, _ string, _ int) error { go c.Nodes[2].Kill(); return broken }},
		"bad disk":     {1, func(*clienttest.Cluster, string, int) error { return broken }},
		"corrupt":      {1, func(*clienttest.Cluster, string, int) error { return proto.E(proto.DataCorrupt, "", "", "") }},
		"lost replica": {1, func(c *clienttest.Cluster, _ string, _ int) error { c.Nodes[1].DropAll(); return nil }},
	} {
		for _, nodes := range []int{3, 4} {
			t.Run(fmt.Sprintf("%s of %d", name, nodes), func(t *testing.T) {
				cluster := clienttest.New(t, clienttest.Options{Nodes: nodes, ChunkSize: 4 << 20})
				c := connect(t, cluster)
				f := create(t, c, "/f")
				var frames atomic.Int32
				cluster.Nodes[at.node].Hook(func(op string, _ uuid.UUID, _ uint64, n int) error {
					if op == "write" && frames.Add(1) == 3 {
						return at.fn(cluster, op, n)
					}
					return nil
				})
				data := noise(3, 12<<20+99)
				for off := 0; off < len(data); off += 100000 {
					mustWrite(t, f, data[off:min(off+100000, len(data))], int64(off))
				}
				must(t, f.Close())
				if frames.Load() < 3 {
					t.Fatal("nothing was hurt")
				}
				checkReplicas(t, cluster, c, data)
			})
		}
	}
}

// checkReplicas compares a closed file, and each replica of its chains, with data.
func checkReplicas(t *testing.T, cluster *clienttest.Cluster, c *Client, data []byte) {
	t.Helper()
	f := open(t, connect(t, cluster), "/f", unix.O_RDONLY)
	if got := contents(t, f); !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, want %d; first difference at %d", len(got), len(data), differ(got, data))
	}
	size := int(c.ChunkSize())
	for index := 0; index*size < len(data); index++ {
		want := data[index*size : min((index+1)*size, len(data))]
		chain := cluster.Chain(f.Inode(), uint64(index))
		if len(chain) < 2 {
			t.Errorf("chunk %d has a chain of %d", index, len(chain))
		}
		for _, n := range chain { // G3: replicas never disagree
			got, _, there := cluster.Replica(n, f.Inode(), uint64(index))
			if there && (len(got) < len(want) || !bytes.Equal(got[:len(want)], want)) {
				t.Errorf("chunk %d differs on node %d", index, n.ID)
			}
		}
	}
}

// What no chunkserver serves at present, because all were started anew, the master heals once it is
// committed: a reader of what it wrote itself does not wait for its own close (G7).
func TestAReadOfWhatIsNotCommittedHasItHealed(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f, data := create(t, c, "/f"), noise(1, 5000)
	mustWrite(t, f, data, 0)
	f.ino.mu.Lock()
	err := f.ino.drain(t.Context(), false) // from now on replicas are asked
	f.ino.mu.Unlock()
	must(t, err)
	for _, n := range cluster.Nodes {
		n.Hook(func(op string, _ uuid.UUID, _ uint64, _ int) error {
			if op == "read" && cluster.Count("Commit") == 0 {
				return proto.E(proto.NoReplica, "read", "", "not compared with the others yet")
			}
			return nil
		})
	}
	got := make([]byte, len(data))
	if n, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got[:n], data) {
		t.Fatalf("read %d bytes, %v, or wrong ones", n, err)
	}
	must(t, f.Close())
}

func TestWriteAfterVersionsWentOn(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	data := noise(1, 100000)
	mustWrite(t, f, data[:50000], 0)
	must(t, f.Flush(t.Context()))
	cluster.Bump(f.Inode())
	mustWrite(t, f, data[50000:], 50000)
	must(t, f.Close())
	checkReplicas(t, cluster, c, data)
	if n := cluster.Count("ReportChainFailure"); n != 0 {
		t.Errorf("a healthy chain was reported %d times", n)
	}
}

// once checks that an error is reported exactly once by each of the files (L10).
func once(t *testing.T, what string, calls map[string]func() error, kinds ...proto.Kind) {
	t.Helper()
	for name, call := range calls {
		wantKind(t, what+": "+name, call(), kinds...)
		if err := call(); err != nil {
			t.Errorf("%s: %s reported again: %v", what, name, err)
		}
	}
}

// TestErrorsAreReportedOnce fails one step on the way of a write and finishes
// the file in each possible manner.
func TestErrorsAreReportedOnce(t *testing.T) {
	broken := proto.E(proto.IO, "", "", "injected")
	for step, inject := range map[string]func(c *clienttest.Cluster) []proto.Kind{
		"assign": func(c *clienttest.Cluster) []proto.Kind {
			c.Hook(failing("AssignChunk", broken))
			return []proto.Kind{proto.IO}
		},
		"no space for chunks": func(c *clienttest.Cluster) []proto.Kind {
			c.Hook(failing("AssignChunk", proto.NoSpace))
			return []proto.Kind{proto.NoSpace}
		},
		"no space on a disk": func(c *clienttest.Cluster) []proto.Kind {
			failNodes(c, "write", proto.NoSpace)
			return []proto.Kind{proto.NoSpace}
		},
		"write": func(c *clienttest.Cluster) []proto.Kind {
			failNodes(c, "write", broken)
			return []proto.Kind{proto.Timeout}
		},
		"commit": func(c *clienttest.Cluster) []proto.Kind {
			c.Hook(failing("Commit", broken))
			return []proto.Kind{proto.IO}
		},
	} {
		for _, finish := range []string{"Flush", "Sync", "Close", "WriteAt"} {
			t.Run(step+" then "+finish, func(t *testing.T) {
				t.Parallel()
				cluster := clienttest.New(t, clienttest.Options{})
				c := connect(t, cluster, impatient(500*time.Millisecond))
				f, g := create(t, c, "/f"), open(t, c, "/f", unix.O_RDWR)
				kinds := inject(cluster)
				mustWrite(t, f, noise(1, 1000), 3<<20) // in a chunk that create did not assign
				finishes := map[string]func(f *File) error{
					"Flush": func(f *File) error { return f.Flush(t.Context()) },
					"Sync":  func(f *File) error { return f.Sync(t.Context()) },
					"Close": (*File).Close,
					"WriteAt": func(f *File) error {
						var err error
						eventually(t, "the error, or none to come", func() bool {
							f.ino.mu.Lock()
							defer f.ino.mu.Unlock()
							return f.ino.failures > 0
						})
						_, err = f.WriteAt(nil, 0)
						return err
					},
				}
				if step == "commit" && finish == "WriteAt" {
					go func() { _ = g.Flush(context.Background()) }() // which commits
				}
				wantKind(t, "first", finishes[finish](f), kinds...)
				if finish != "Close" {
					cluster.Hook(nil)
					failNodes(cluster, "", nil)
					must(t, f.Close())
				}
				if step != "commit" || finish != "WriteAt" {
					wantKind(t, "the other file", g.Flush(t.Context()), kinds...)
				}
				cluster.Hook(nil)
				failNodes(cluster, "", nil)
				must(t, g.Close())
			})
		}
	}
}

// failing makes one method of the master fail for good.
func failing(method string, err error) clienttest.Hook {
	return func(called string, _ any, after bool) error {
		if called == method && !after {
			return err
		}
		return nil
	}
}

// failNodes makes an operation fail on all nodes; none if err is nil.
func failNodes(c *clienttest.Cluster, op string, err error) {
	for _, n := range c.Nodes {
		n.Hook(func(called string, _ uuid.UUID, _ uint64, _ int) error {
			if err != nil && called == op {
				return err
			}
			return nil
		})
	}
}

func TestSyncFailureIsReportedOnce(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster, impatient(500*time.Millisecond))
	f, g := create(t, c, "/f"), open(t, c, "/f", unix.O_RDWR)
	mustWrite(t, f, noise(1, 1000), 0)
	must(t, f.Flush(t.Context()))
	failNodes(cluster, "sync", proto.E(proto.IO, "fdatasync", "", "injected"))
	once(t, "sync failed everywhere", map[string]func() error{
		"f": func() error { return f.Sync(t.Context()) },
		"g": func() error { return g.Sync(t.Context()) },
	}, proto.Timeout, proto.IO)
}

func TestFailedSyncLosesTheReplica(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	mustWrite(t, f, noise(1, 1000), 0)
	must(t, f.Flush(t.Context()))
	var asked atomic.Int32
	cluster.Nodes[1].Hook(func(op string, _ uuid.UUID, _ uint64, _ int) error {
		if op == "sync" && asked.Add(1) == 1 {
			return proto.E(proto.IO, "fdatasync", "", "injected")
		}
		return nil
	})
	must(t, f.Sync(t.Context()))
	for _, n := range cluster.Chain(f.Inode(), 0) { // L9: never retried and believed
		if n == cluster.Nodes[1] {
			t.Error("the replica that failed to sync is still in the chain")
		}
		if _, synced, _ := cluster.Replica(n, f.Inode(), 0); !synced {
			t.Errorf("node %d is not synced", n.ID)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("the bad disk was asked %d times", asked.Load())
	}
}

// After a power loss of all chunkservers no sync says that bytes are there which were
// acknowledged before it and not synced (L9).
func TestPowerLossIsReportedOnce(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f, g := create(t, c, "/f"), open(t, c, "/f", unix.O_RDWR)
	mustWrite(t, f, noise(1, 1000), 0)
	must(t, f.Flush(t.Context()))
	cluster.Age(f.Inode())
	once(t, "all lost their power", map[string]func() error{
		"f": func() error { return f.Sync(t.Context()) },
		"g": func() error { return g.Sync(t.Context()) },
	}, proto.IO)
	mustWrite(t, f, noise(2, 1000), 500)
	must(t, f.Sync(t.Context()))
	cluster.Age(f.Inode())
	must(t, f.Sync(t.Context())) // nothing that was not synced
	must(t, f.Flush(t.Context()))
}

// The same when the writer goes on before it syncs.
func TestPowerLossBetweenWrites(t *testing.T) { // L9
	cluster := clienttest.New(t, clienttest.Options{})
	f := create(t, connect(t, cluster), "/f")
	mustWrite(t, f, noise(1, 1000), 0)
	must(t, f.Flush(t.Context()))
	cluster.Age(f.Inode())
	mustWrite(t, f, noise(2, 1000), 1000)
	if err := f.Sync(t.Context()); proto.KindOf(err) != proto.IO {
		t.Errorf("the sync says %v", err)
	}
	must(t, f.Sync(t.Context()))
}

// A chain that changes without a loss is no reason for an error.
func TestSyncAfterTheChainChanged(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	f := create(t, connect(t, cluster), "/f")
	mustWrite(t, f, noise(1, 1000), 0)
	must(t, f.Flush(t.Context()))
	cluster.Bump(f.Inode())
	must(t, f.Sync(t.Context()))
}

// TestTooFewReplicas: what cannot reach min-replicas is never acknowledged (G6).
func TestTooFewReplicas(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster, impatient(500*time.Millisecond))
	f := create(t, c, "/f")
	cluster.Nodes[0].Kill()
	cluster.Nodes[1].Kill()
	mustWrite(t, f, []byte("never"), 0)
	wantKind(t, "flush", f.Flush(t.Context()), proto.Timeout)
	cluster.Nodes[0].Start()
	cluster.Nodes[1].Start()
	mustWrite(t, f, []byte("again"), 0)
	must(t, f.Close())
	if got := contents(t, open(t, c, "/f", unix.O_RDONLY)); string(got) != "again" {
		t.Errorf("%q", got)
	}
}

func TestWriteBufferIsBounded(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{ChunkSize: 64 << 20})
	c := connect(t, cluster, func(o *Options) { o.WriteBuffer = 5 << 20 })
	f := create(t, c, "/f")
	stuck := make(chan struct{})
	cluster.Nodes[0].Hook(func(op string, _ uuid.UUID, _ uint64, _ int) error {
		if op == "write" {
			<-stuck
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	data := noise(5, 20<<20)
	n, err := f.WriteAtContext(ctx, data, 0)
	wantKind(t, "write into a full buffer", err, proto.Timeout)
	if n > 5<<20 || n < 3<<20 {
		t.Errorf("%d bytes were taken over with a buffer of 5 MiB", n)
	}
	close(stuck)
	mustWrite(t, f, data[n:], int64(n))
	must(t, f.Close())
	checkReplicas(t, cluster, c, data)
	if !c.writeBudget.TryAcquire(5 << 20) {
		t.Error("memory was not given back")
	}
}

func TestMemoryComesBackAfterFailures(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster, impatient(300*time.Millisecond))
	f := create(t, c, "/f")
	failNodes(cluster, "write", proto.E(proto.IO, "", "", "injected"))
	mustWrite(t, f, noise(1, 7<<20), 0)
	if err := f.Close(); err == nil {
		t.Error("no error")
	}
	if !c.writeBudget.TryAcquire(DefaultWriteBuffer) {
		t.Error("memory was not given back")
	}
}

// TestCommitAfterForeignTruncation: another client cut off what was written.
func TestCommitAfterForeignTruncation(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c, other := connect(t, cluster), connect(t, cluster)
	f := create(t, c, "/f")
	mustWrite(t, f, noise(1, 2<<20), 0)
	f.ino.mu.Lock()
	must(t, f.ino.drain(t.Context(), false)) // on the chunkservers, not committed
	f.ino.mu.Unlock()
	size := uint64(0)
	_, err := other.SetAttr(t.Context(), root, f.Inode(), SetAttr{Size: &size})
	must(t, err)
	must(t, f.Flush(t.Context()))
	mustWrite(t, f, []byte("anew"), 0)
	must(t, f.Close())
	g := open(t, other, "/f", unix.O_RDONLY)
	p := make([]byte, 4)
	if _, err := g.ReadAt(p, 0); err != nil || string(p) != "anew" {
		t.Errorf("%q, %v", p, err)
	}
}

// TestChunkTakenAway: a chunk that is the file's no more, though the file reaches
// beyond it, is lost data, and said so once.
func TestChunkTakenAway(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	must(t, f.Truncate(t.Context(), 5<<20))
	mustWrite(t, f, noise(1, 1000), 0)
	f.ino.mu.Lock()
	must(t, f.ino.drain(t.Context(), false))
	f.ino.mu.Unlock()
	cluster.DropAssigned()
	wantKind(t, "flush", f.Flush(t.Context()), proto.IO)
	mustWrite(t, f, []byte("again"), 0)
	must(t, f.Close())
	p := make([]byte, 5)
	if _, err := open(t, connect(t, cluster), "/f", unix.O_RDONLY).ReadAt(p, 0); err != nil || string(p) != "again" {
		t.Errorf("%q, %v", p, err)
	}
}

func TestErrorsAreOurs(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster, impatient(100*time.Millisecond))
	_, err := c.Stat(t.Context(), "/nothing")
	var e *proto.Error
	if !errors.As(err, &e) || e.Kind != proto.NotFound || err.Error() != "stat /nothing: not found" {
		t.Errorf("%v", err)
	}
	cluster.Stop()
	for name, call := range map[string]func() error{
		"stat":  func() error { _, err := c.Stat(t.Context(), "/"); return err },
		"mkdir": func() error { _, err := c.Mkdir(t.Context(), root, 1, "d", 0o755); return err },
		"list":  func() error { _, err := c.ReadDir(t.Context(), root, 1, 0, false); return err },
	} { // L11: no answer is invented
		err := call()
		if !errors.As(err, &e) || e.Kind != proto.Timeout {
			t.Errorf("%s: %v", name, err)
		}
	}
	cluster.Start()
}
