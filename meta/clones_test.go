package meta

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// copyRange asks for chunk 0 of one file to be that of another.
func (one *client) copyRange(from, to *pb.CreateReply) (*pb.CopyRangeReply, error) {
	one.c.t.Helper()
	attr := must[*pb.AttrReply](one.c.t)(one.api().GetAttr(one.c.t.Context(), &pb.GetAttrRequest{Caller: one.asks(), Inode: from.Attr.Inode})).Attr
	reply, err := one.api().CopyRange(one.c.t.Context(), &pb.CopyRangeRequest{
		Caller: one.changes(), From: from.Attr.Inode, To: to.Attr.Inode, Count: 1, Size: attr.Size, FromChange: attr.Change,
	})
	synctest.Wait()
	return reply, err
}

func (one *client) assign(f *pb.CreateReply, count uint32) ([]*pb.ChunkLocation, error) {
	reply, err := one.api().AssignChunk(one.c.t.Context(), &pb.AssignChunkRequest{Caller: one.asks(), Inode: f.Attr.Inode, Count: count})
	return reply.GetChunks(), err
}

// resume comes back after a start of the master with files open.
func (one *client) resume(open ...*pb.CreateReply) *client {
	one.c.t.Helper()
	hello := &pb.Hello{Resume: one.welcome.Session}
	for _, f := range open {
		hello.Open = append(hello.Open, &pb.OpenCount{Inode: f.Attr.Inode, Count: 1})
	}
	again := one.c.connect(hello)
	again.sequence = one.sequence
	return again
}

// shared makes a file and a copy of it.
func (one *client) shared() (from, to *pb.CreateReply) {
	one.c.t.Helper()
	from, to = one.file("from"), one.file("to")
	one.write(from)
	must[*pb.CopyRangeReply](one.c.t)(one.copyRange(from, to))
	one.c.take()
	return from, to
}

func TestCopiesAreSharedWithoutAnOrder(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		t := c.t
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		from, to := one.file("from"), one.file("to")
		one.write(from)
		c.take()
		reply := must[*pb.CopyRangeReply](t)(one.copyRange(from, to))
		if reply.To.Size != 100 || reply.To.Blocks == 0 || reply.From.Inode != from.Attr.Inode {
			t.Errorf("answer %v", reply)
		}
		story(t, c.take(), "")
		for _, f := range []*pb.CreateReply{from, to} {
			if l := one.locate(f); l.Chunk != from.Chunk.Chunk || !l.Shared || !l.Committed {
				t.Errorf("location %v", l)
			}
		}
		if s := c.status().Chunks; s.Total != 1 || s.Assigned != 0 {
			t.Errorf("counted %v", s)
		}

		// The replicas go with the last of them (G10).
		for _, name := range []string{"from", "to"} {
			must[*pb.UnlinkReply](t)(one.api().Unlink(t.Context(), &pb.UnlinkRequest{Caller: one.changes(), Parent: 1, Name: []byte(name)}))
		}
		must[*pb.ReleaseReply](t)(one.api().Release(t.Context(), &pb.ReleaseRequest{Caller: one.changes(), Closed: []*pb.OpenCount{{Inode: from.Attr.Inode, Count: 1}}}))
		time.Sleep(time.Minute)
		if n := c.nodes[0].has(from.Chunk.Chunk); n == 0 {
			t.Error("a replica went with the source")
		}
		must[*pb.ReleaseReply](t)(one.api().Release(t.Context(), &pb.ReleaseRequest{Caller: one.changes(), Closed: []*pb.OpenCount{{Inode: to.Attr.Inode, Count: 1}}}))
		time.Sleep(time.Minute)
		for _, n := range c.nodes {
			if n.has(from.Chunk.Chunk) != 0 {
				t.Errorf("node %d has its replica still", n.id)
			}
		}
	})
}

// Nothing is shared that somebody may be writing to, whoever opened it in what order.
func TestWhatOthersHaveOpenIsNotShared(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		t := c.t
		one, other := c.connect(&pb.Hello{}), c.connect(&pb.Hello{})
		defer func() { one.vanish(); other.vanish() }()
		from, to := one.file("from"), one.file("to")
		one.write(from)
		open := func() *pb.OpenReply {
			return must[*pb.OpenReply](t)(other.api().Open(t.Context(), &pb.OpenRequest{Caller: other.changes(), Inode: from.Attr.Inode, Flags: 2, Locations: 1}))
		}
		before := open()
		_, err := one.copyRange(from, to)
		wantKind(t, err, proto.Busy)
		if l := one.locate(from); l.Shared {
			t.Error("it is shared all the same")
		}

		// After a start of the master, who has it open is known when all have said so.
		other.vanish()
		one.vanish()
		c.crash(1)
		one = one.resume(from)
		_, err = one.copyRange(from, to)
		wantKind(t, err, proto.Busy)
		other = other.resume()
		must[*pb.CopyRangeReply](t)(one.copyRange(from, to))
		after := open()
		if after.Attr.Change == before.Attr.Change || !after.Chunks[0].Shared {
			t.Errorf("who opens it now hears %v", after)
		}
	})
}

// An open that comes while a file is being shared is answered as of afterwards.
func TestAnOpenWaitsForTheSharing(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		t := c.t
		one, other := c.connect(&pb.Hello{}), c.connect(&pb.Hello{})
		defer one.vanish()
		defer other.vanish()
		from := one.file("from")
		one.write(from)
		end := c.master.sharings.begin(proto.InodeID(from.Attr.Inode))
		opened := make(chan *pb.OpenReply, 1)
		go func() {
			reply, _ := other.api().Open(t.Context(), &pb.OpenRequest{Caller: other.changes(), Inode: from.Attr.Inode, Flags: 2, Locations: 1})
			opened <- reply
		}()
		synctest.Wait()
		if len(opened) != 0 {
			t.Error("the open did not wait")
		}
		attr := must[*pb.AttrReply](t)(one.api().Commit(t.Context(), &pb.CommitRequest{Caller: one.changes(), Inode: from.Attr.Inode})).Attr
		end()
		if reply := <-opened; reply.GetAttr().GetChange() != attr.Change {
			t.Errorf("answered %v, want change %d", reply, attr.Change)
		}
	})
}

func TestWhoMayCopy(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		t := c.t
		one, stranger := c.connect(&pb.Hello{}), c.connect(&pb.Hello{})
		defer one.vanish()
		defer stranger.vanish()
		from, to := one.file("from"), one.file("to")
		one.write(from)
		stranger.uid = 1000
		_, err := stranger.copyRange(from, to)
		wantKind(t, err, proto.Access)
		must[*pb.AttrReply](t)(one.api().SetAttr(t.Context(), &pb.SetAttrRequest{Caller: one.changes(), Inode: to.Attr.Inode, Mode: new(uint32(0o666))}))
		must[*pb.AttrReply](t)(one.api().SetAttr(t.Context(), &pb.SetAttrRequest{Caller: one.changes(), Inode: from.Attr.Inode, Mode: new(uint32(0o600))}))
		_, err = stranger.copyRange(from, to)
		wantKind(t, err, proto.Access)
	})
}

// A writer gets a clone of the replicas where they are; the other file keeps the chunk.
func TestAWriterGetsAClone(t *testing.T) {
	inCluster(t, 4, Config{}, func(c *cluster) {
		t := c.t
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		from, to := one.shared()
		chunks, err := one.assign(to, 16)
		if err != nil || len(chunks) != 1 {
			t.Fatalf("assigned %v, %v", chunks, err)
		}
		clone := chunks[0]
		if clone.Chunk == from.Chunk.Chunk || clone.Shared || !clone.Committed || show(clone) != show(one.locate(from)) || one.locate(to).Chunk != clone.Chunk {
			t.Errorf("clone %v of %v", clone, one.locate(from))
		}
		chain := from.Chunk.Chain
		story(t, c.take(), cloned(chain[0].Node)+"\n"+cloned(chain[1].Node)+"\n"+cloned(chain[2].Node))
		if again, err := one.assign(to, 1); err != nil || again[0].Chunk != clone.Chunk {
			t.Errorf("asked again: %v, %v", again, err)
		}
		if s := c.status().Chunks; s.Total != 2 || s.Assigned != 0 || s.UnderReplicated != 0 {
			t.Errorf("counted %v", s)
		}
		// The source is no other case: its place gets a clone, and what was shared goes.
		if chunks, err = one.assign(from, 1); err != nil || chunks[0].Chunk == from.Chunk.Chunk || chunks[0].Chunk == clone.Chunk {
			t.Fatalf("assigned %v, %v", chunks, err)
		}
		time.Sleep(time.Minute)
		for _, n := range c.nodes {
			if n.has(from.Chunk.Chunk) != 0 {
				t.Errorf("node %d has the shared one still", n.id)
			}
		}
	})
}

func cloned(node uint32) string {
	return "master -> " + string(rune('0'+node)) + ": clone version 1 of version 1 from [1 2 3] = ok"
}

// A member that cannot make its replica is left out, as from any chain.
func TestACloneThatOneMemberCannotMake(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		t := c.t
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		from, to := one.shared()
		bad := c.node(from.Chunk.Chain[1].Node)
		bad.set(func() {
			bad.refuse = func(o *pb.NodeCommand) proto.Kind {
				if o.GetCopy() != nil {
					return proto.NoSpace
				}
				return proto.OK
			}
		})
		chunks, err := one.assign(to, 1)
		if err != nil || len(chunks[0].Chain) != 2 || chunks[0].Version != 2 || chunks[0].Shared {
			t.Fatalf("assigned %v, %v", chunks, err)
		}
		bad.set(func() { bad.refuse = nil })
		time.Sleep(3 * time.Minute)
		if l := one.locate(to); len(l.Chain) != 3 {
			t.Errorf("not repaired: %s", show(l))
		}
	})
}

// The clone of an attempt that died with the master is gone on with, once.
func TestACloneOutlivesTheMaster(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		t := c.t
		one := c.connect(&pb.Hello{})
		from, to := one.shared()
		for _, n := range c.nodes {
			n.set(func() { n.deaf = true })
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, err := one.api().AssignChunk(ctx, &pb.AssignChunkRequest{Caller: one.asks(), Inode: to.Attr.Inode, Count: 1})
		cancel()
		if err == nil {
			t.Fatal("nobody answers orders, and yet it was done")
		}
		one.vanish()
		c.crash(1)
		if s := c.status().Chunks; s.Total != 2 || s.Assigned != 1 {
			t.Errorf("after the crash: %v", s)
		}
		one = one.resume(to)
		defer one.vanish()
		if l := one.locate(to); l.Chunk != from.Chunk.Chunk || !l.Shared {
			t.Errorf("readers find %v", l)
		}
		for _, n := range c.nodes {
			n.set(func() { n.deaf = false })
		}
		chunks, err := one.assign(to, 1)
		if err != nil || chunks[0].Shared || chunks[0].Chunk == from.Chunk.Chunk {
			t.Fatalf("assigned %v, %v", chunks, err)
		}
		if s := c.status().Chunks; s.Total != 2 || s.Assigned != 0 {
			t.Errorf("at the end: %v", s)
		}
	})
}

// A clone that nobody waits for is dropped with the file's other unused chunks.
func TestAnUnusedCloneIsDropped(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		t := c.t
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		_, to := one.shared()
		for _, n := range c.nodes {
			n.set(func() { n.refuse = func(*pb.NodeCommand) proto.Kind { return proto.NoSpace } })
		}
		_, err := one.assign(to, 1)
		wantKind(t, err, proto.Unavailable)
		if s := c.status().Chunks; s.Assigned != 1 {
			t.Errorf("while it is wanted: %v", s)
		}
		must[*pb.ReleaseReply](t)(one.api().Release(t.Context(), &pb.ReleaseRequest{Caller: one.changes(), Closed: []*pb.OpenCount{{Inode: to.Attr.Inode, Count: 1}}}))
		time.Sleep(3 * time.Minute)
		if s := c.status().Chunks; s.Assigned != 0 || s.Total != 1 || !one.locate(to).Shared {
			t.Errorf("after the grace: %v", s)
		}
	})
}

// A chunk that lost a replica is copied once, however many files it stands in.
func TestASharedChunkIsRepairedOnce(t *testing.T) {
	inCluster(t, 4, Config{}, func(c *cluster) {
		t := c.t
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		from, to := one.shared()
		time.Sleep(time.Minute)
		c.take()
		c.node(from.Chunk.Chain[2].Node).kill()
		time.Sleep(5 * time.Minute)
		story(t, c.take(), `
			master -> 1: set version 2 = ok

			master -> 2: copy version 2 from [1] = ok

			master -> 4: copy version 2 from [1 2] = ok`)
		if a, b := one.locate(from), one.locate(to); show(a) != "2: 1 2 4" || show(b) != show(a) || a.Chunk != b.Chunk {
			t.Errorf("locations %s and %s", show(a), show(b))
		}
	})
}
