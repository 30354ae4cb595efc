package meta

import (
	"testing"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// A hole over the whole file takes its last chunk only from who has the file open
// alone; the replicas go the way of all freed chunks (G10).
func TestHoleTakesTheLastChunkFromASoleOpener(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		t := c.t
		one, other := c.connect(&pb.Hello{}), c.connect(&pb.Hello{})
		defer one.vanish()
		defer other.vanish()
		f := one.file("f")
		one.write(f)
		ctx, ino := t.Context(), f.Attr.Inode
		must[*pb.OpenReply](t)(other.api().Open(ctx, &pb.OpenRequest{Caller: other.changes(), Inode: ino}))
		punch := func() *pb.Attr {
			t.Helper()
			return must[*pb.AttrReply](t)(one.api().Fallocate(ctx, &pb.FallocateRequest{Caller: one.changes(), Inode: ino, Length: 100, Hole: true})).Attr
		}
		if a := punch(); a.Blocks == 0 || a.Size != 100 {
			t.Errorf("while another has it open: %v", a)
		}
		must[*pb.ReleaseReply](t)(other.api().Release(ctx, &pb.ReleaseRequest{Caller: other.changes(), Closed: []*pb.OpenCount{{Inode: ino, Count: 1}}}))
		if a := punch(); a.Blocks != 0 || a.Size != 100 {
			t.Errorf("alone: %v", a)
		}
		time.Sleep(time.Minute)
		for _, n := range c.nodes {
			if n.has(f.Chunk.Chunk) != 0 {
				t.Errorf("node %d has its replica still", n.id)
			}
		}
	})
}

func TestAllocationNeedsRoom(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		t := c.t
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		ctx := t.Context()
		_, free := c.master.nodes.Space()
		room := free / uint64(c.master.cluster.Replicas)
		allocate := func(caller *pb.Caller, offset, length, size uint64) error {
			_, err := one.api().Fallocate(ctx, &pb.FallocateRequest{Caller: caller, Inode: f.Attr.Inode, Offset: offset, Length: length, Size: size})
			return err
		}
		wantKind(t, allocate(one.changes(), 0, room+one.welcome.ChunkSize+1, 0), proto.NoSpace)
		wantKind(t, allocate(one.changes(), one.welcome.ChunkSize, room+1, 0), proto.NoSpace)
		wantKind(t, allocate(one.changes(), 0, room+one.welcome.ChunkSize, 1<<30), proto.OK) // chunk 0 is there
		a := must[*pb.AttrReply](t)(one.api().GetAttr(ctx, &pb.GetAttrRequest{Caller: one.asks(), Inode: f.Attr.Inode})).Attr
		if a.Size != 1<<30 {
			t.Errorf("size %d", a.Size)
		}
		wantKind(t, allocate(one.changes(), 0, 0, 0), proto.Invalid)
		wantKind(t, allocate(one.changes(), 1<<63-1, 1, 0), proto.FileTooBig)
		wantKind(t, allocate(one.changes(), 0, 1, 1<<63), proto.FileTooBig)
		stranger := c.connect(&pb.Hello{})
		defer stranger.vanish()
		stranger.uid = 1000
		wantKind(t, allocate(stranger.changes(), 0, 1, 0), proto.Access)
	})
}

func TestLocationsOverHoles(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		t := c.t
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		ctx := t.Context()
		for _, index := range []uint64{7, 1 << 30, 1<<30 + 1} {
			must[*pb.ChunkLocations](t)(one.api().AssignChunk(ctx, &pb.AssignChunkRequest{Caller: one.changes(), Inode: f.Attr.Inode, First: index, Count: 1}))
		}
		reply := must[*pb.ChunkLocations](t)(one.api().GetChunkLocation(ctx, &pb.GetChunkLocationRequest{
			Caller: one.asks(), Inode: f.Attr.Inode, First: 1, Count: 2, OverHoles: true,
		}))
		if l := reply.Chunks; len(l) != 2 || l[0].Index != 7 || l[1].Index != 1<<30 {
			t.Errorf("%v", l)
		}
	})
}

// A file without a name lives as long as it is open, or for ever with a name.
func TestUnnamedFiles(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		t := c.t
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		ctx := t.Context()
		create := func(who *client, parent uint64) (*pb.CreateReply, error) {
			return who.api().CreateUnnamed(ctx, &pb.CreateUnnamedRequest{Caller: who.changes(), Parent: parent, Mode: 0o600, Flags: 2})
		}
		kept, gone := must[*pb.CreateReply](t)(create(one, 1)), must[*pb.CreateReply](t)(create(one, 1))
		if kept.Attr.Nlink != 0 || !kept.Created || kept.Chunk == nil {
			t.Errorf("made %v", kept)
		}
		time.Sleep(time.Minute) // the reaper has come by
		link := &pb.LinkRequest{Caller: one.changes(), Inode: kept.Attr.Inode, Parent: 1, Name: []byte("name")}
		if a := must[*pb.AttrReply](t)(one.api().Link(ctx, link)).Attr; a.Nlink != 1 {
			t.Errorf("linked: %v", a)
		}
		must[*pb.ReleaseReply](t)(one.api().Release(ctx, &pb.ReleaseRequest{Caller: one.changes(), Closed: []*pb.OpenCount{
			{Inode: kept.Attr.Inode, Count: 1}, {Inode: gone.Attr.Inode, Count: 1},
		}}))
		time.Sleep(time.Minute)
		must[*pb.AttrReply](t)(one.api().GetAttr(ctx, &pb.GetAttrRequest{Caller: one.asks(), Inode: kept.Attr.Inode}))
		_, err := one.api().GetAttr(ctx, &pb.GetAttrRequest{Caller: one.asks(), Inode: gone.Attr.Inode})
		wantKind(t, err, proto.Stale)

		stranger := c.connect(&pb.Hello{})
		defer stranger.vanish()
		dir := must[*pb.AttrReply](t)(one.api().Mkdir(ctx, &pb.MkdirRequest{Caller: one.changes(), Parent: 1, Name: []byte("dir"), Mode: 0o755})).Attr
		stranger.uid = 1000
		_, err = create(stranger, dir.Inode)
		wantKind(t, err, proto.Access)
	})
}
