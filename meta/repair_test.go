package meta

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// files writes so many files of one chunk each.
func (one *client) files(n int) (list []*pb.CreateReply) {
	for i := range n {
		f := one.file(fmt.Sprintf("f%03d", i))
		one.write(f)
		list = append(list, f)
	}
	return list
}

// A chunkserver whose connection breaks and whose port refuses is dead at once, and its
// repair begins within a second; one that is silent has its ten seconds.
func TestRefusedPortIsDeath(t *testing.T) {
	for _, refuses := range []bool{true, false} {
		t.Run(fmt.Sprintf("refuses %v", refuses), func(t *testing.T) {
			inCluster(t, 4, Config{}, func(c *cluster) {
				one := c.connect(&pb.Hello{})
				defer one.vanish()
				f := one.file("f")
				one.write(f)
				time.Sleep(time.Minute)
				c.take()
				dead := c.chainOf(f.Chunk)[0]
				dead.set(func() { dead.refuses = refuses })
				dead.kill()
				time.Sleep(time.Second)
				if !refuses {
					if !c.status().Nodes[dead.id-1].Alive {
						t.Error("dead after a second of silence")
					}
					story(c.t, c.take(), "")
					time.Sleep(11 * time.Second)
				}
				if c.status().Nodes[dead.id-1].Alive {
					t.Error("alive")
				}
				story(c.t, c.take(), `
					master -> 2: set version 2 = ok

					master -> 3: copy version 2 from [2] = ok

					master -> 4: copy version 2 from [2 3] = ok`)
			})
		})
	}
}

// A chunk that is written to without end has its redundancy back all the same.
func TestHotChunkIsRepaired(t *testing.T) {
	inCluster(t, 4, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		writeFor := func(seconds int) {
			for range seconds {
				time.Sleep(time.Second)
				one.write(&pb.CreateReply{Attr: f.Attr, Chunk: one.locate(f)})
			}
		}
		time.Sleep(500 * time.Millisecond) // it does not write at the moment in which the chain changes
		writeFor(5)
		dead := c.chainOf(f.Chunk)[2]
		dead.set(func() { dead.refuses = true })
		dead.kill()
		one.fail(f, 1, dead.id)
		c.take()
		writeFor(8)
		if text := c.take(); text != "" {
			t.Errorf("its writer waited for\n%s", text)
		}
		c.node(4).set(func() { c.node(4).copying = 5 * time.Second })
		writeFor(5)
		if got := show(one.locate(f)); got != "2: 1 2" {
			t.Errorf("while it is copied: location %s", got)
		}
		writeFor(20)
		story(c.t, c.take(), `
			master -> 4: clone version 1 of version 2 from [1 2] = ok

			master -> 1: set version 3 = ok

			master -> 2: copy version 3 from [1] = ok

			master -> 4: copy version 3 from [1 2] = ok`)
		if got := show(one.locate(f)); got != "3: 1 2 4" {
			t.Errorf("location %s", got)
		}
	})
}

// A process that is started again at once costs no copying.
func TestQuickRestartCostsNothing(t *testing.T) {
	inCluster(t, 4, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		c.take()
		n := c.chainOf(f.Chunk)[0]
		n.set(func() { n.refuses = true })
		n.kill()
		time.Sleep(200 * time.Millisecond)
		n.set(func() { n.refuses = false })
		n.start()
		time.Sleep(time.Minute)
		story(c.t, c.take(), "")
	})
}

// One that came back in the meantime is not buried for its earlier life.
func TestBuryOnlyTheDead(t *testing.T) {
	inCluster(t, 1, Config{}, func(c *cluster) {
		n := c.nodes[0]
		for _, incarnation := range []uint64{n.incarnation, n.incarnation + 1} {
			if c.master.nodes.Bury(proto.NodeID(n.id), incarnation) {
				t.Errorf("incarnation %d was buried alive", incarnation)
			}
		}
		n.kill()
		if c.master.nodes.Bury(proto.NodeID(n.id), n.incarnation-1) {
			t.Error("an earlier incarnation was buried")
		}
		if !c.master.nodes.Bury(proto.NodeID(n.id), n.incarnation) || c.status().Nodes[0].Alive {
			t.Error("the dead is alive")
		}
		n.start()
		synctest.Wait()
		if !c.status().Nodes[0].Alive {
			t.Error("it came back and is dead")
		}
	})
}

// The chunks with the fewest good replicas are repaired first.
func TestNeediestFirst(t *testing.T) {
	inCluster(t, 5, Config{RepairStreams: 1}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		files := one.files(12)
		time.Sleep(time.Minute)
		for _, n := range c.nodes {
			n.set(func() { n.copying = 10 * time.Second })
		}
		c.take()
		worst := map[string]bool{}
		for _, n := range c.nodes[:2] {
			n.kill()
		}
		for _, f := range files {
			held := 0
			for _, r := range f.Chunk.Chain {
				if r.Node <= 2 {
					held++
				}
			}
			if held == 2 {
				worst[proto.ChunkID(f.Chunk.Chunk).String()] = true
			}
		}
		if len(worst) == 0 || len(worst) == len(files) {
			t.Fatalf("%d of %d chunks lost two replicas: this shows nothing", len(worst), len(files))
		}
		time.Sleep(12 * time.Second)
		list, _ := c.master.needy()
		c.master.repairs.mu.Lock()
		begun := len(c.master.repairs.active)
		for id, n := range c.master.repairs.active {
			if !worst[id.String()] || n.good != 1 {
				t.Errorf("chunk %v with %d good replicas came first", id, n.good)
			}
		}
		c.master.repairs.mu.Unlock()
		if begun == 0 {
			t.Error("nothing is being repaired")
		}
		for i, n := range list {
			if i > 0 && n.good < list[i-1].good {
				t.Errorf("the queue is not in order: %v", list)
			}
		}
	})
}

// A chunkserver takes part in few copies at a time, each at its share of the rate; the
// status tells how far it is.
func TestRepairIsBounded(t *testing.T) {
	const streams, files = 2, 30
	inCluster(t, 5, Config{RepairStreams: streams, RepairRate: 100}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		one.files(files)
		time.Sleep(time.Minute)
		rates := map[uint64]int{}
		for _, n := range c.nodes {
			n.set(func() {
				n.copying = 2 * time.Second // 100 bytes at half of the rate
				n.refuse = func(command *pb.NodeCommand) proto.Kind {
					if order := command.GetCopy(); order != nil && n.replicas[proto.ChunkID(order.Chunk)] == nil {
						c.mu.Lock()
						rates[order.Rate]++
						c.mu.Unlock()
					}
					return proto.OK
				}
			})
		}
		c.take()
		n := c.nodes[0]
		n.set(func() { n.refuses = true })
		lost := len(n.replicas)
		n.kill()
		time.Sleep(5 * time.Second)
		st := c.status().Repair
		if st.Waiting == 0 || st.Active == 0 || st.BytesLeft != 100*(st.Waiting+st.Active) || st.BytesPerSecond == 0 || st.SecondsLeft == 0 || st.Limit != 100 || st.Streams != streams {
			t.Errorf("while it goes on: %v", st)
		}
		time.Sleep(time.Minute)
		if st := c.status(); st.Chunks.UnderReplicated != 0 || st.Repair.Waiting+st.Repair.Active+st.Repair.BytesLeft+st.Repair.SecondsLeft != 0 || int(st.Repair.Repaired) != lost {
			t.Errorf("afterwards: %v, %v", st.Chunks, st.Repair)
		}
		if c.most != streams {
			t.Errorf("a chunkserver took part in %d copies at a time", c.most)
		}
		if len(rates) != 1 || rates[50] != lost {
			t.Errorf("rates of the copies: %v", rates)
		}
	})
}

// A member that lost its replica and has no room for another is replaced.
func TestRepairElsewhereWhenFull(t *testing.T) {
	inCluster(t, 4, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		n := c.chainOf(f.Chunk)[1]
		n.set(func() { n.free = 0 })
		time.Sleep(10 * time.Second)
		c.take()
		n.hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 1, Corrupt: true}, true)
		time.Sleep(10 * time.Second)
		if got := show(one.locate(f)); got != "2: 1 3 4" {
			t.Errorf("location %s", got)
		}
		time.Sleep(10 * time.Second)
		if text := c.take(); !strings.Contains(text, "2: delete up to version 1") || n.has(f.Chunk.Chunk) != 0 {
			t.Errorf("it went\n%s", text)
		}
	})
}

// Where no good replica is left nobody is given up early, dead or not: the first one that
// comes back, whose bytes are in doubt, does not stand for those that come back next.
func TestNoHasteWithoutAGoodReplica(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		c.take()
		chain := c.chainOf(f.Chunk)
		for _, n := range chain {
			n.set(func() { n.refuses = true })
			n.kill()
		}
		chain[2].hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 1, Unclean: true}, false)
		time.Sleep(5 * time.Second)
		chain[2].start()
		time.Sleep(5 * time.Second)
		story(c.t, c.take(), "")
		chain[0].start()
		chain[1].start()
		time.Sleep(5 * time.Second)
		story(c.t, c.take(), `
			master -> 1: set version 2 = ok

			master -> 2: copy version 2 from [1] = ok

			master -> 3: copy version 2 from [1 2] = ok`)
	})
}

func mustChunk(c *cluster, f *pb.CreateReply) state.Chunk {
	c.t.Helper()
	found, ok := c.master.machine.chunk(proto.ChunkID(f.Chunk.Chunk))
	if !ok {
		c.t.Fatal("the chunk is gone")
	}
	return found
}

// What was committed a moment ago and is gone with its chunkservers' power is copied again before
// the next block report: else a third power loss, of the one that still has it, would lose
// it. So is what is committed only after a chunkserver is back without it.
func TestLossJustAfterACommit(t *testing.T) { // G7
	inCluster(t, 5, Config{}, func(c *cluster) {
		t := c.t
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		before, after := one.file("before"), one.file("after")
		one.write(before)
		lost := func(f *pb.CreateReply, nodes []*fakeNode) {
			for _, n := range nodes {
				n.kill()
				n.set(func() { delete(n.replicas, proto.ChunkID(f.Chunk.Chunk)) })
				n.start()
			}
			synctest.Wait()
		}
		lost(before, c.chainOf(before.Chunk)[:2])
		for _, n := range c.chainOf(after.Chunk) {
			n.hold(&pb.ReplicaState{Chunk: after.Chunk.Chunk, Version: 1}, false)
		}
		lost(after, c.chainOf(after.Chunk)[1:])
		must[*pb.AttrReply](t)(one.api().Commit(t.Context(), &pb.CommitRequest{
			Caller: one.changes(), Inode: after.Attr.Inode, Size: 100, Chunks: []uint64{after.Chunk.Chunk},
		}))
		if s := c.status().Chunks; s.UnderReplicated != 2 {
			t.Errorf("it is not noticed: %v", s)
		}
		time.Sleep(20 * time.Second)
		for _, f := range []*pb.CreateReply{before, after} {
			l := one.locate(f)
			for _, r := range l.Chain {
				if has := c.node(r.Node).has(l.Chunk); has != l.Version {
					t.Errorf("%d has version %d of %s", r.Node, has, show(l))
				}
			}
		}
	})
}

// A chunkserver that a chain went on without is taken back when it is there again: what it
// has is compared, not copied again elsewhere.
func TestWhoHasAReplicaIsTakenBack(t *testing.T) {
	inCluster(t, 5, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		back := c.chainOf(f.Chunk)[1]
		back.kill()
		one.fail(f, 1, back.id)
		back.start()
		c.take()
		time.Sleep(time.Minute)
		story(c.t, c.take(), `
			master -> 1: set version 3 = ok

			master -> 3: copy version 3 from [1] = ok

			master -> 2: copy version 3 from [1 3] = ok`)
	})
}
