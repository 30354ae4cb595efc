package meta

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// story compares what happened with what should have. Lines between blank ones happen
// at one time, in no order.
func story(t *testing.T, got, want string) {
	t.Helper()
	want = strings.TrimSpace(strings.ReplaceAll(want, "\t", ""))
	sorted := func(text string) []string {
		lines := strings.Split(text, "\n")
		sort.Strings(lines)
		return lines
	}
	lines := strings.Split(got, "\n")
	for _, block := range strings.Split(want, "\n\n") {
		expected := sorted(block)
		n := min(len(expected), len(lines))
		if happened := sorted(strings.Join(lines[:n], "\n")); !slices.Equal(happened, expected) {
			t.Fatalf("it went\n%s\n\nand should have gone\n%s", got, want)
		}
		lines = lines[n:]
	}
	if len(lines) > 0 {
		t.Fatalf("it went\n%s\n\nand should have ended after\n%s", got, want)
	}
}

// fail reports a chain failure and notes the answer.
func (one *client) fail(f *pb.CreateReply, version uint64, suspects ...uint32) {
	one.c.t.Helper()
	one.report(&pb.ReportChainFailureRequest{Inode: f.Attr.Inode, Chunk: f.Chunk.Chunk, Version: version, Failed: suspects})
}

// failUnwritten is fail of a writer whose first write was not acknowledged.
func (one *client) failUnwritten(f *pb.CreateReply, version uint64, suspects ...uint32) {
	one.c.t.Helper()
	one.report(&pb.ReportChainFailureRequest{Inode: f.Attr.Inode, Chunk: f.Chunk.Chunk, Version: version, Failed: suspects, Unwritten: true})
}

// failFull is fail where the suspects have said that they have no room.
func (one *client) failFull(f *pb.CreateReply, version uint64, suspects ...uint32) {
	one.c.t.Helper()
	one.report(&pb.ReportChainFailureRequest{Inode: f.Attr.Inode, Chunk: f.Chunk.Chunk, Version: version, Failed: suspects, Full: true})
}

// report notes the answer, and how long it took, if any fake time passed: that is what was
// waited for, while the writer stood still.
func (one *client) report(req *pb.ReportChainFailureRequest) {
	one.c.t.Helper()
	req.Caller, req.Reason = one.asks(), "test"
	began, after := time.Now(), ""
	reply, err := one.api().ReportChainFailure(one.c.t.Context(), req)
	if took := time.Since(began); took > 0 {
		after = fmt.Sprintf(" after %v", took)
	}
	if err != nil {
		one.c.note("client <- %v%s", proto.KindOf(proto.FromStatus(err)), after)
		return
	}
	one.c.note("client <- version %s%s", show(reply), after)
}

func (f *cluster) chainOf(l *pb.ChunkLocation) (nodes []*fakeNode) {
	for _, r := range l.Chain {
		nodes = append(nodes, f.node(r.Node))
	}
	return nodes
}

// The chain failure protocol, told by what the master orders and what it answers.
func TestChainFailure(t *testing.T) {
	for _, s := range []struct {
		name   string
		spare  int // chunkservers beyond three
		script func(one *client, f *pb.CreateReply, chain []*fakeNode)
		want   string
	}{
		{"the tail dies", 0, func(one *client, f *pb.CreateReply, chain []*fakeNode) {
			chain[2].kill()
			one.fail(f, 1, chain[2].id)
		}, `
			master -> 1: set version 2 = ok

			master -> 2: copy version 2 from [1] = ok

			client <- version 2: 1 2`},
		{"the head dies", 0, func(one *client, f *pb.CreateReply, chain []*fakeNode) {
			chain[0].kill()
			one.fail(f, 1, chain[0].id)
		}, `
			master -> 2: set version 2 = ok

			master -> 3: copy version 2 from [2] = ok

			client <- version 2: 2 3`},
		{"reported again by another writer, the answer is what stands (L3)", 0, func(one *client, f *pb.CreateReply, chain []*fakeNode) {
			chain[2].kill()
			one.fail(f, 1, chain[2].id)
			one.fail(f, 1, chain[1].id)
		}, `
			master -> 1: set version 2 = ok

			master -> 2: copy version 2 from [1] = ok

			client <- version 2: 1 2

			client <- version 2: 1 2`},
		{"a second one dies: never below min-replicas (L4)", 0, func(one *client, f *pb.CreateReply, chain []*fakeNode) {
			chain[2].kill()
			one.fail(f, 1, chain[2].id)
			chain[1].kill()
			one.fail(f, 2, chain[1].id)
		}, `
			master -> 1: set version 2 = ok

			master -> 2: copy version 2 from [1] = ok

			client <- version 2: 1 2

			client <- too few replicas`},
		{"a second one is suspected, and needed: it stays, and the writer tries again at a later version (L4)", 0, func(one *client, f *pb.CreateReply, chain []*fakeNode) {
			chain[2].kill()
			one.fail(f, 1, chain[2].id)
			one.fail(f, 2, chain[1].id)
		}, `
			master -> 1: set version 2 = ok

			master -> 2: copy version 2 from [1] = ok

			client <- version 2: 1 2

			master -> 1: set version 3 = ok

			master -> 2: copy version 3 from [1] = ok

			client <- version 3: 1 2`},
		{"fresh chunkservers join when too few survive", 1, func(one *client, f *pb.CreateReply, chain []*fakeNode) {
			chain[1].kill()
			chain[2].kill()
			one.fail(f, 1, chain[1].id, chain[2].id)
		}, `
			master -> 1: set version 2 = ok

			master -> 4: copy version 2 from [1] = ok

			client <- version 2: 1 4`},
		{"a survivor refuses: the next version goes on without it", 1, func(one *client, f *pb.CreateReply, chain []*fakeNode) {
			chain[2].kill()
			chain[1].set(func() { chain[1].refuse = func(*pb.NodeCommand) proto.Kind { return proto.IO } })
			one.fail(f, 1, chain[2].id)
		}, `
			master -> 1: set version 2 = ok
			
			master -> 2: copy version 2 from [1] = input/output error

			master -> 1: set version 3 = ok

			master -> 4: copy version 3 from [1] = ok

			client <- version 3: 1 4`},
		{"one that blames its successors one after the other is dropped itself (L4)", 0, func(one *client, f *pb.CreateReply, chain []*fakeNode) {
			one.fail(f, 1, chain[1].id)
			time.Sleep(time.Minute) // the other is copied to again
			one.c.take()
			one.fail(f, 3, chain[2].id)
		}, `
			master -> 3: set version 3 = ok
			master -> 2: set version 3 = ok

			master -> 3: set version 4 = ok

			master -> 2: copy version 4 from [3] = ok

			client <- version 4: 3 2`},
		{"one without room is left out, and its predecessor has blamed nobody", 0, func(one *client, f *pb.CreateReply, chain []*fakeNode) {
			one.failFull(f, 1, chain[1].id)
			time.Sleep(time.Minute) // it has room again, and is copied to
			one.c.take()
			one.fail(f, 3, chain[2].id)
		}, `
			master -> 1: set version 3 = ok
			master -> 2: set version 3 = ok

			master -> 1: set version 4 = ok

			master -> 2: copy version 4 from [1] = ok

			client <- version 4: 1 2`},
		{"but stays when the successor is silent (L4)", 0, func(one *client, f *pb.CreateReply, chain []*fakeNode) {
			one.fail(f, 1, chain[1].id)
			time.Sleep(time.Minute)
			one.c.take()
			chain[2].set(func() { chain[2].deaf = true })
			one.fail(f, 3, chain[2].id)
		}, `
			master -> 3: set version 3 = silence
			master -> 2: set version 3 = ok

			master -> 1: set version 3 = ok
			master -> 2: set version 3 = ok

			master -> 1: set version 4 = ok

			master -> 2: copy version 4 from [1] = ok

			client <- version 4: 1 2 after 500ms`},
		{"too few with room: the writer is told, and nothing changes", 0, func(one *client, f *pb.CreateReply, chain []*fakeNode) {
			one.failFull(f, 1, chain[1].id, chain[2].id)
		}, `client <- no space left`},
		{"too few with room, and somebody else has some", 1, func(one *client, f *pb.CreateReply, chain []*fakeNode) {
			one.failFull(f, 1, chain[0].id, chain[2].id)
		}, `
			master -> 2: set version 1 = ok

			master -> 2: set version 2 = ok

			master -> 4: copy version 2 from [2] = ok

			client <- version 2: 2 4`},
		{"a version that never was", 0, func(one *client, f *pb.CreateReply, chain []*fakeNode) {
			one.fail(f, 7, chain[1].id)
		}, `client <- invalid argument`},
	} {
		t.Run(s.name, func(t *testing.T) {
			inCluster(t, 3, Config{}, func(c *cluster) {
				one := c.connect(&pb.Hello{})
				defer one.vanish()
				f := one.file("f")
				one.write(f)
				for range s.spare {
					c.addNode()
				}
				time.Sleep(time.Minute)
				c.take()
				s.script(one, f, c.chainOf(f.Chunk))
				story(c.t, c.take(), s.want)
			})
		})
	}
}

// A chunk that was never written to has no replicas to be fenced: they are made.
func TestChainFailureBeforeTheFirstWrite(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		chain := c.chainOf(f.Chunk)
		chain[1].kill()
		one.failUnwritten(f, 1, chain[1].id)
		story(c.t, c.take(), `
			master -> 1: set version 2 or create = ok

			master -> 3: copy version 2 from [1] = ok

			client <- version 2: 1 3`)
		c.note("%s", show(one.locate(f)))
		story(c.t, c.take(), `2: 1 3`)
	})
}

// A replica that was lost before the first commit is not taken for one that was never
// written: the bytes that the others have were acknowledged (G7).
func TestReplicaLostBeforeTheFirstCommit(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		chain := c.chainOf(f.Chunk)
		for _, n := range []*fakeNode{chain[0], chain[2]} {
			n.hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 1}, false)
		}
		chain[2].kill()
		one.fail(f, 1, chain[2].id)
		story(c.t, c.take(), `
			master -> 1: set version 1 = ok
			master -> 2: set version 1 = no such replica

			master -> 1: set version 2 = ok

			master -> 2: copy version 2 from [1] = ok

			client <- version 2: 1 2`)
	})
}

// Two chunkservers die while a new file is being written, and come back: the writer
// goes on with the third replica and a copy of it (G7).
func TestTwoRestartsBeforeTheFirstCommit(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		chain := c.chainOf(f.Chunk)
		for i, n := range chain {
			n.hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 1, Unclean: i > 0}, i == 0)
		}
		chain[1].restart()
		chain[2].restart()
		one.fail(f, 1, chain[1].id)
		story(c.t, c.take(), `
			master -> 1: set version 2 = ok

			master -> 3: copy version 2 from [1] = ok

			client <- version 2: 1 3`)
	})
}

// All chunkservers die while a new file is being written, and come back: the head's
// bytes stand, and the writer goes on (G7).
func TestAllRestartedBeforeTheFirstCommit(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		chain := c.chainOf(f.Chunk)
		for _, n := range chain {
			n.hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 1, Unclean: true}, false)
		}
		for _, n := range chain {
			n.restart()
		}
		one.fail(f, 1, chain[0].id)
		story(c.t, c.take(), `
			master -> 1: set version 1048578 as it is = ok

			master -> 2: copy version 1048578 from [1] = ok

			client <- version 1048578: 1 2`)
	})
}

// The same when the first frame had reached nobody: there is nothing to copy, and no
// member is taken twice.
func TestAllRestartedBeforeTheFirstWrite(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		chain := c.chainOf(f.Chunk)
		for _, n := range chain {
			n.restart()
		}
		one.failUnwritten(f, 1, chain[0].id, chain[1].id)
		story(c.t, c.take(), `
			master -> 1: set version 2 or create = ok

			master -> 2: copy version 2 from [1] = ok
			master -> 3: copy version 2 from [1] = ok

			client <- version 2: 1 2 3`)
	})
}

// A file is cut off while its writer's report waits for a silent chunkserver: the chunk is gone by
// order, and not lost.
func TestFreedWhileItsChainIsReplaced(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		t := c.t
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		chain := c.chainOf(f.Chunk)
		for _, n := range chain[:2] {
			n.hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 1}, false)
		}
		chain[2].set(func() { chain[2].deaf = true })
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			one.fail(f, 1)
		}()
		time.Sleep(time.Second)
		must[*pb.AttrReply](t)(one.api().SetAttr(t.Context(), &pb.SetAttrRequest{Caller: one.changes(), Inode: f.Attr.Inode, Size: new(uint64(0))}))
		<-answered
		if got := c.take(); !strings.HasSuffix(got, "client <- not found after 5s") {
			t.Error(got)
		}
	})
}

// A copy that takes longer than the writer waits for one answer is not begun anew.
func TestCopyOutlivesTheReport(t *testing.T) {
	inCluster(t, 4, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		c.take()
		chain := c.chainOf(f.Chunk)
		chain[1].kill()
		chain[2].kill()
		for _, n := range c.nodes {
			n.set(func() { n.copying = 25 * time.Second })
		}
		for range 3 {
			ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
			reply, err := one.api().ReportChainFailure(ctx, &pb.ReportChainFailureRequest{
				Caller: one.asks(), Inode: f.Attr.Inode, Chunk: f.Chunk.Chunk, Version: 1, Failed: []uint32{chain[1].id, chain[2].id},
			})
			cancel()
			if err == nil {
				c.note("client <- version %s", show(reply))
			}
		}
		story(c.t, c.take(), `
			master -> 1: set version 2 = ok

			master -> 4: copy version 2 from [1] = ok

			client <- version 2: 1 4`)
	})
}

// A location names the whole logged chain; who has no good replica has no address.
func TestLocationOfADeadMember(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		c.chainOf(f.Chunk)[1].kill()
		time.Sleep(12 * time.Second)
		if got := show(one.locate(f)); got != "1: 1 (2) 3" {
			t.Errorf("location %s", got)
		}
	})
}

func TestRepair(t *testing.T) {
	inCluster(t, 4, Config{RepairDelay: 10 * time.Second}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		c.take()
		c.chainOf(f.Chunk)[0].kill()
		time.Sleep(15 * time.Second)
		if s := c.status().Chunks; s.UnderReplicated != 1 {
			t.Errorf("chunks %v", s)
		}
		story(c.t, c.take(), "") // dead, and still within the delay
		time.Sleep(15 * time.Second)
		story(c.t, c.take(), `
			master -> 2: set version 2 = ok

			master -> 3: copy version 2 from [2] = ok

			master -> 4: copy version 2 from [2 3] = ok`)
		if s := c.status().Chunks; s.UnderReplicated != 0 {
			t.Errorf("chunks %v", s)
		}
		if got := show(one.locate(f)); got != "2: 2 3 4" {
			t.Errorf("location %s", got)
		}
		c.nodes[0].restart() // with a replica that nobody needs
		time.Sleep(time.Minute)
		story(c.t, c.take(), `master -> 1: delete up to version 1: not in the chain = ok`)
	})
}

// A server that comes back with a stale replica: it is deleted, then copied again.
func TestStaleReplica(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		chain := c.chainOf(f.Chunk)
		chain[2].kill()
		one.fail(f, 1, chain[2].id)
		time.Sleep(time.Minute)
		c.take()
		chain[2].restart()
		time.Sleep(time.Minute)
		text := c.take()
		if stale, copied := strings.Index(text, "3: delete up to version 1"), strings.Index(text, "3: copy version 3"); copied < 0 || stale > copied {
			t.Errorf("it went\n%s", text)
		}
		if s := c.status().Chunks; s.UnderReplicated != 0 {
			t.Errorf("chunks %v", s)
		}
	})
}

// While a chunk is copied, readers have the good replicas and writers no whole chain.
func TestLocationDuringRepair(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		c.nodes[0].set(func() { c.nodes[0].deaf = true })
		accused := c.nodes[0].id
		must[*pb.ReportCorruptReply](c.t)(one.api().ReportCorrupt(c.t.Context(), &pb.ReportCorruptRequest{
			Caller: one.asks(), Chunk: f.Chunk.Chunk, Version: 1, Node: accused, Reason: "test",
		}))
		time.Sleep(3 * time.Second)
		if got, want := show(one.locate(f)), fmt.Sprintf("2: 2 3 (%d)", accused); got != want {
			t.Errorf("location %s, want %s", got, want)
		}
		if s := c.status().Chunks; s.CorruptReplicas != 1 || s.UnderReplicated != 1 {
			t.Errorf("chunks %v", s) // L13
		}
		c.nodes[0].set(func() { c.nodes[0].deaf = false })
		time.Sleep(10 * time.Minute)
		if s := c.status().Chunks; s.CorruptReplicas != 0 || s.UnderReplicated != 0 {
			t.Errorf("chunks %v", s)
		}
	})
}

// L13: a replica that its chunkserver finds corrupt is copied anew from a good one.
func TestCorruptReplicaIsReplaced(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		c.take()
		c.nodes[1].hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 1, Corrupt: true}, true)
		time.Sleep(10 * time.Second)
		story(c.t, c.take(), `
			master -> 1: set version 2 = ok

			master -> 3: copy version 2 from [1] = ok

			master -> 2: copy version 2 from [1 3] = ok`)
	})
}

// After a power loss of all chunkservers in mid-write every replica is unclean: the head's
// bytes stand, the version's age says so, and the others are made equal to it (L9).
func TestAllUnclean(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		c.take()
		for _, n := range c.nodes {
			n.kill()
			n.hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 1, Unclean: true}, false)
		}
		for _, n := range c.nodes {
			n.start()
		}
		time.Sleep(100 * time.Millisecond)
		if got := show(one.locate(f)); got != "1: 1 (2) (3)" {
			t.Errorf("location %s", got)
		}
		time.Sleep(10 * time.Second)
		story(c.t, c.take(), `
			master -> 1: set version 1048578 as it is = ok

			master -> 2: copy version 1048578 from [1] = ok
			master -> 3: copy version 1048578 from [1] = ok`)
	})
}

// When only their processes died nothing is missing: they are made equal to the head as
// they are, and the version does not change.
func TestAllTorn(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		c.take()
		for _, n := range c.nodes {
			n.kill()
			n.hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 1, Unclean: true, Complete: true}, false)
		}
		for _, n := range c.nodes {
			n.start()
		}
		time.Sleep(10 * time.Second)
		story(c.t, c.take(), `
			master -> 1: set version 1 as it is = ok

			master -> 2: copy version 1 from [1] = ok
			master -> 3: copy version 1 from [1] = ok`)
		if got := show(one.locate(f)); got != "1: 1 2 3" {
			t.Errorf("location %s", got)
		}
	})
}

// A write that failed in mid-chain, and whose writer does nothing about it, leaves
// replicas that differ: their chunkserver says so and they are made equal (G3).
func TestBrokenChainIsMadeEqual(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		c.take()
		for i, n := range c.nodes {
			n.hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 1, Length: uint64(i), Broken: i == 1}, true)
		}
		time.Sleep(10 * time.Second)
		story(c.t, c.take(), `
			master -> 1: set version 2 = ok

			master -> 2: copy version 2 from [1] = ok
			master -> 3: copy version 2 from [1] = ok`)
		if got := show(one.locate(f)); got != "2: 1 2 3" {
			t.Errorf("location %s", got)
		}
		if s := c.status().Chunks; s.UnderReplicated != 0 {
			t.Errorf("chunks %v", s)
		}
	})
}

// While replicas are being made equal nobody is told where they are: a byte that was never
// acknowledged must not be seen and then be gone.
func TestLocationWhileUnequal(t *testing.T) { // G3
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		for _, n := range c.nodes {
			n.set(func() { n.copying = 5 * time.Second })
		}
		c.nodes[2].kill()
		go one.fail(f, 1, c.nodes[2].id)
		time.Sleep(2 * time.Second)
		if got := show(one.locate(f)); got != "2: (1) (2)" {
			t.Errorf("location %s", got)
		}
		time.Sleep(5 * time.Second)
		if got := show(one.locate(f)); got != "2: 1 2" {
			t.Errorf("location %s", got)
		}
	})
}

// When the master went down with them, safe mode does not keep the last resort from
// being told that its bytes stand: until then nobody can read them.
func TestAllUncleanAtTheStart(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		f, g := one.file("f"), one.file("g")
		one.write(f)
		one.write(g)
		time.Sleep(time.Minute)
		one.vanish()
		for _, n := range c.nodes {
			n.kill()
			n.hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 1, Unclean: true}, false)
		}
		for _, n := range c.nodes { // so that safe mode goes on
			n.set(func() { delete(n.replicas, proto.ChunkID(g.Chunk.Chunk)) })
		}
		c.take()
		c.crash(1)
		time.Sleep(5 * time.Second)
		if !c.status().SafeMode {
			t.Fatal("safe mode is over: this shows nothing")
		}
		story(c.t, c.take(), `
			master -> 1: set version 1048578 as it is = ok

			master -> 2: copy version 1048578 from [1] = ok
			master -> 3: copy version 1048578 from [1] = ok`)
	})
}
