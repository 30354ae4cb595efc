package meta

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

func (c *cluster) decommission(n *fakeNode) {
	c.t.Helper()
	must[*pb.OperateReply](c.t)(c.operate(&pb.OperateRequest{Move: pb.Move_MOVE_DECOMMISSION, Node: n.id, On: true}))
}

// toMove is how many chunks keep a chunkserver from going.
func (c *cluster) toMove(n *fakeNode) uint64 { return c.status().Nodes[n.id-1].ToMove }

// reservedOn lists the reserved files whose chunk is to be on a chunkserver, in order.
func (one *behindClient) reservedOn(n *fakeNode) (list []uint64) {
	for _, ino := range one.files {
		if one.isOn(ino, n) {
			list = append(list, ino)
		}
	}
	slices.Sort(list)
	return list
}

func (one *client) isOn(ino uint64, n *fakeNode) bool {
	l := one.locate(&pb.CreateReply{Attr: &pb.Attr{Inode: ino}})
	return slices.ContainsFunc(l.Chain, func(r *pb.Replica) bool { return r.Node == n.id })
}

// asked gives the recall that comes within a minute.
func (one *client) asked() *pb.Recall {
	one.c.t.Helper()
	for late := time.After(time.Minute); ; {
		select {
		case event := <-one.events:
			if r := event.GetRecall(); r != nil {
				slices.Sort(r.Inodes)
				return r
			}
		case <-late:
			one.c.t.Fatal("nothing is asked for")
		}
	}
}

// gives answers recalls as a client does that made nothing of what it had reserved.
func (one *client) gives(r *pb.Recall) {
	one.c.t.Helper()
	one.answers(r)
	closed := &pb.ReleaseRequest{Caller: one.changes()}
	for _, ino := range r.Inodes {
		closed.Closed = append(closed.Closed, &pb.OpenCount{Inode: ino, Count: 1})
	}
	must[*pb.ReleaseReply](one.c.t)(one.api().Release(one.c.t.Context(), closed))
}

// What was reserved on a chunkserver that is decommissioned is asked for once, in one message and
// of nobody else; nothing that is reserved from then on is there, and it may go when the answer has come.
func TestDecommissionAsksForReserves(t *testing.T) {
	inCluster(t, 4, withLeases, func(c *cluster) {
		one, two := c.behind(), c.holder()
		defer one.vanish()
		defer two.vanish()
		n := c.nodes[0]
		had := one.reservedOn(n)
		if len(had) < 2 || len(had) == len(one.files) {
			t.Fatalf("%d of %d are there: this shows nothing", len(had), len(one.files))
		}
		c.decommission(n)
		r := one.asked()
		if !slices.Equal(r.Inodes, had) || !r.Unnamed || r.Keep != keepNone {
			t.Fatalf("recalled %v, want %v", r, had)
		}
		time.Sleep(10 * time.Minute)
		one.unasked()
		two.unasked()
		if left := c.toMove(n); left != uint64(len(had)) {
			t.Errorf("%d to move before the answer, %d reserved there", left, len(had))
		}
		one.gives(r)
		time.Sleep(5 * time.Second)
		if left := c.toMove(n); left != 0 {
			t.Errorf("%d to move afterwards", left)
		}
		reply := must[*pb.ReserveReply](c.t)(one.api().Reserve(c.t.Context(), &pb.ReserveRequest{Caller: one.asks(), Files: 100}))
		for _, ino := range reply.Files {
			if one.isOn(ino, n) {
				t.Fatal("reserved where nothing may be")
			}
		}
	})
}

// Who does not answer is not ended for that. What it reserved counts until its session is over.
func TestSilentHolderOfReserves(t *testing.T) {
	inCluster(t, 4, withLeases, func(c *cluster) {
		one := c.behind()
		n := c.nodes[0]
		had := uint64(len(one.reservedOn(n)))
		c.decommission(n)
		time.Sleep(10 * time.Minute)
		if c.toMove(n) != had || len(c.status().Sessions) != 1 {
			t.Fatalf("%d of %d to move, sessions %v", c.toMove(n), had, c.status().Sessions)
		}
		one.vanish()
		c.settled(func() bool { return c.toMove(n) == 0 }, func() {})
	})
}

// A master that was started anew asks anew, and a file that was made of what was reserved
// before the answer is one like others.
func TestReservesAfterARestart(t *testing.T) {
	inCluster(t, 4, withLeases, func(c *cluster) {
		one := c.behind()
		defer func() { one.vanish() }()
		id := c.status().Cluster
		n := c.nodes[0]
		had := one.reservedOn(n)
		c.decommission(n)
		one.asked()
		file := one.makes(one.folder, "f")
		for file.Inode != had[0] {
			file = one.makes(one.folder, "f")
		}
		one.sends(&pb.ChangesBehind{First: 1, Changes: []*pb.ChangeBehind{file}})
		one.durable(1)
		hello := &pb.Hello{Resume: one.welcome.Session, Cluster: id, Leases: true, Exclusive: append([]uint64{one.folder}, had...)}
		for _, ino := range had {
			hello.Open = append(hello.Open, &pb.OpenCount{Inode: ino, Count: 1})
		}
		one.vanish()
		c.crash(3)
		sequence := one.sequence
		one.client = c.connect(hello)
		one.sequence = sequence
		r := one.asked()
		if !r.Unnamed || !slices.Equal(r.Inodes, had[1:]) {
			t.Fatalf("recalled %v, want %v", r, had[1:])
		}
		one.gives(r)
		if r := one.asked(); !slices.Equal(r.Inodes, []uint64{file.Inode}) {
			t.Fatalf("recalled %v, not the file that was made", r)
		} else {
			one.answers(r)
		}
		c.settled(func() bool { return c.toMove(n) == 0 }, func() {})
		if one.isOn(file.Inode, n) || one.names(one.folder) != "f" {
			t.Errorf("the file is gone, or there: %q", one.names(one.folder))
		}
	})
}

// So it is with what was reserved on a chunkserver that is dead, or in maintenance.
func TestReservesOnWhoIsAway(t *testing.T) {
	for _, dead := range []bool{true, false} {
		inCluster(t, 4, withLeases, func(c *cluster) {
			one := c.behind()
			defer one.vanish()
			n := c.nodes[0]
			had := one.reservedOn(n)
			time.Sleep(time.Minute)
			one.unasked()
			if dead {
				n.kill()
			} else {
				must[*pb.OperateReply](c.t)(c.operate(&pb.OperateRequest{Move: pb.Move_MOVE_MAINTENANCE, Node: n.id, On: true, Seconds: 600}))
			}
			r := one.asked()
			if !slices.Equal(r.Inodes, had) {
				t.Errorf("recalled %v, want %v", r, had)
			}
		})
	}
}

// Chunks that were assigned and not committed leave a chunkserver, too, while their files are open:
// what was written to them stays, and who knows only where they were is told where they are.
func TestDecommissionMovesAssigned(t *testing.T) {
	for _, restart := range []bool{false, true} {
		inCluster(t, 5, Config{}, func(c *cluster) {
			one := c.connect(&pb.Hello{})
			empty, written, begun := one.file("empty"), one.file("written"), one.file("begun")
			for i, r := range written.Chunk.Chain {
				c.node(r.Node).hold(&pb.ReplicaState{Chunk: written.Chunk.Chunk, Version: 1, Length: 100}, true)
				if i == 0 { // nothing was acknowledged
					c.node(begun.Chunk.Chain[0].Node).hold(&pb.ReplicaState{Chunk: begun.Chunk.Chunk, Version: 1, Length: 100}, true)
				}
			}
			synctest.Wait()
			if restart {
				hello := &pb.Hello{Resume: one.welcome.Session, Cluster: c.status().Cluster}
				for _, f := range []*pb.CreateReply{empty, written, begun} {
					hello.Open = append(hello.Open, &pb.OpenCount{Inode: f.Attr.Inode, Count: 1})
				}
				one.vanish()
				c.crash(5)
				sequence := one.sequence
				one = c.connect(hello)
				one.sequence = sequence
			}
			defer one.vanish()
			gone := map[uint32]bool{}
			for _, f := range []*pb.CreateReply{empty, written, begun} {
				node := f.Chunk.Chain[len(gone)%3].Node
				if gone[node] || len(gone) == 2 {
					continue // three are to stay
				}
				gone[node] = true
				c.decommission(c.node(node))
				c.settled(func() bool { return c.toMove(c.node(node)) == 0 }, func() {})
			}
			for _, f := range []*pb.CreateReply{empty, written, begun} {
				_, err := one.api().ReportChainFailure(c.t.Context(), &pb.ReportChainFailureRequest{
					Caller: one.asks(), Chunk: f.Chunk.Chunk, Inode: f.Attr.Inode, Version: f.Chunk.Version, Failed: []uint32{f.Chunk.Chain[0].Node}, Unwritten: f != written,
				})
				if err != nil {
					t.Error(err)
				}
				l := one.locate(f)
				for _, r := range l.Chain {
					n := c.node(r.Node)
					if r.Address == "" || gone[r.Node] || n.has(l.Chunk) != l.Version {
						t.Errorf("the chain is %s, and %d has version %d", show(l), r.Node, n.has(l.Chunk))
					}
					if f == written && n.replicas[proto.ChunkID(l.Chunk)].Length != 100 {
						t.Errorf("bytes are lost on %d", r.Node)
					}
				}
				if f == written && len(l.Chain) < 3 {
					t.Errorf("redundancy is lost: %s", show(l))
				}
				must[*pb.AttrReply](c.t)(one.api().Commit(c.t.Context(), &pb.CommitRequest{
					Caller: one.changes(), Inode: f.Attr.Inode, Size: 100, Chunks: []uint64{f.Chunk.Chunk},
				}))
			}
			c.settled(func() bool { s := c.status(); return s.Repair.Waiting+s.Repair.Active == 0 }, func() {})
			for _, f := range []*pb.CreateReply{empty, written, begun} {
				if l := one.locate(f); len(l.Chain) != 3 {
					t.Errorf("the chain is %s", show(l))
				}
			}
		})
	}
}

// What the holder of the file has written is committed before anybody takes the chunk for one that nothing
// was written to: when all members have lost it with their power, it is lost, and not empty. L11
func TestAssignedChunkIsCommittedByItsWriterFirst(t *testing.T) {
	inCluster(t, 4, withLeases, func(c *cluster) {
		one := c.holder()
		defer one.vanish()
		f := one.file("f")
		must[*pb.AcquireReply](c.t)(one.acquire(f.Attr.Inode, pb.LeaseMode_LEASE_EXCLUSIVE))
		c.decommission(c.node(f.Chunk.Chain[0].Node))
		r := one.asked()
		if !slices.Equal(r.Inodes, []uint64{f.Attr.Inode}) {
			t.Fatalf("recalled %v", r)
		}
		time.Sleep(time.Minute)
		must[*pb.AttrReply](c.t)(one.api().Commit(c.t.Context(), &pb.CommitRequest{
			Caller: one.changes(), Inode: f.Attr.Inode, Size: 100, Chunks: []uint64{f.Chunk.Chunk},
		}))
		one.answers(r)
		time.Sleep(time.Minute)
		l := one.locate(f)
		if !l.Committed || slices.ContainsFunc(c.nodes, func(n *fakeNode) bool { return n.has(l.Chunk) != 0 }) {
			t.Errorf("it was made an empty one: %s", show(l))
		}
	})
}
