package meta

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

func TestRegistration(t *testing.T) {
	inCluster(t, 2, Config{}, func(c *cluster) {
		service := pb.NewDataNodesClient(c.conn)
		good := func() *pb.RegisterDataNodeRequest { return c.nodes[0].registration() }
		same := must[*pb.RegisterDataNodeReply](c.t)(service.RegisterDataNode(c.t.Context(), good()))
		if same.Node != c.nodes[0].id || same.Cluster == "" || same.Buckets != 1024 || same.HeartbeatMs != 3000 || same.DeadAfterMs != 10000 || same.ReportMs != 30000 {
			t.Errorf("registered again: %v", same)
		}
		forgot := good()
		forgot.Node, forgot.Cluster = 0, "" // the answer to its first registration was lost
		if again := must[*pb.RegisterDataNodeReply](c.t)(service.RegisterDataNode(c.t.Context(), forgot)); again.Node != same.Node {
			t.Errorf("the same instance became chunkserver %d and %d", same.Node, again.Node)
		}
		for what, r := range map[string]struct {
			change func(*pb.RegisterDataNodeRequest)
			want   proto.Kind
		}{
			"foreign cluster":  {func(r *pb.RegisterDataNodeRequest) { r.Cluster = "01234567-89ab-4def-8123-456789abcdef" }, proto.WrongCluster},
			"chunks of nobody": {func(r *pb.RegisterDataNodeRequest) { r.Cluster, r.Node, r.Chunks = "", 0, 5 }, proto.WrongCluster},
			"another's id":     {func(r *pb.RegisterDataNodeRequest) { r.Node = c.nodes[1].id }, proto.WrongCluster},
			"unknown id":       {func(r *pb.RegisterDataNodeRequest) { r.Node = 77 }, proto.WrongCluster},
			"newer master":     {func(r *pb.RegisterDataNodeRequest) { r.Epoch = 9 }, proto.OldEpoch},
			"no start":         {func(r *pb.RegisterDataNodeRequest) { r.Incarnation = 1 }, proto.Malformed},
			"no instance":      {func(r *pb.RegisterDataNodeRequest) { r.Instance = "x" }, proto.Malformed},
			"no address":       {func(r *pb.RegisterDataNodeRequest) { r.Address = "" }, proto.Malformed},
			"odd cluster":      {func(r *pb.RegisterDataNodeRequest) { r.Cluster = "x" }, proto.Invalid},
		} {
			req := good()
			r.change(req)
			_, err := service.RegisterDataNode(c.t.Context(), req)
			if got := proto.KindOf(proto.FromStatus(err)); got != r.want {
				t.Errorf("%s: %v, want %v", what, err, r.want)
			}
		}
		older := good()
		older.Incarnation--
		if reply := must[*pb.RegisterDataNodeReply](c.t)(service.RegisterDataNode(c.t.Context(), older)); reply.Newest != good().Incarnation || reply.Node != 0 {
			t.Errorf("an older start: %v", reply)
		}
		if n := len(c.status().Nodes); n != 2 {
			t.Errorf("%d chunkservers", n)
		}
	})
}

func TestDeadAndBack(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		c.nodes[2].kill()
		time.Sleep(8 * time.Second)
		if !c.status().Nodes[2].Alive {
			t.Error("dead too early")
		}
		time.Sleep(4 * time.Second)
		if c.status().Nodes[2].Alive {
			t.Error("alive after 12 s of silence")
		}
		c.nodes[2].restart()
		if !c.status().Nodes[2].Alive {
			t.Error("not alive after it came back")
		}
	})
}

// L5: an old or repeated heartbeat, and one of an earlier start, change nothing.
func TestOldHeartbeat(t *testing.T) {
	inCluster(t, 0, Config{}, func(c *cluster) {
		n := c.newNode()
		n.incarnation = 5 << 20
		service := pb.NewDataNodesClient(c.conn)
		reply := must[*pb.RegisterDataNodeReply](c.t)(service.RegisterDataNode(c.t.Context(), n.registration()))
		n.id = reply.Node
		stream := must[pb.DataNodes_HeartbeatClient](c.t)(service.Heartbeat(c.t.Context()))
		beat := func(sequence, chunks uint64) uint64 {
			if err := stream.Send(&pb.HeartbeatRequest{Node: n.id, Incarnation: n.incarnation, Sequence: sequence, Chunks: chunks}); err != nil {
				c.t.Fatal(err)
			}
			must[*pb.NodeCommand](c.t)(stream.Recv())
			return c.status().Nodes[0].Chunks
		}
		if beat(10, 1) != 1 || beat(9, 2) != 1 || beat(10, 3) != 1 || beat(11, 4) != 4 {
			t.Error("an old heartbeat was believed")
		}
		early := must[pb.DataNodes_HeartbeatClient](c.t)(service.Heartbeat(c.t.Context()))
		early.Send(&pb.HeartbeatRequest{Node: n.id, Incarnation: 4 << 20, Sequence: 99})
		if command := must[*pb.NodeCommand](c.t)(early.Recv()); command.GetRegister() == nil {
			t.Errorf("a heartbeat of an earlier start: %v", command)
		}
		stream.CloseSend()
		synctest.Wait()
	})
}

// L1, L2, G10: what this master never issued is left alone; what it freed is deleted.
func TestReplicasWithoutChunk(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		c.nodes[0].kill()
		must[*pb.UnlinkReply](c.t)(one.api().Unlink(c.t.Context(), &pb.UnlinkRequest{Caller: one.changes(), Parent: 1, Name: []byte("f")}))
		must[*pb.ReleaseReply](c.t)(one.api().Release(c.t.Context(), &pb.ReleaseRequest{Caller: one.changes(), Closed: []*pb.OpenCount{{Inode: f.Attr.Inode, Count: 1}}}))
		time.Sleep(time.Minute)
		unknown := proto.MakeID(500, 0)
		c.nodes[0].hold(&pb.ReplicaState{Chunk: unknown, Version: 3}, false)
		c.take()
		c.nodes[0].restart()
		time.Sleep(time.Minute)
		if c.nodes[0].has(f.Chunk.Chunk) != 0 {
			t.Error("the freed chunk's replica is still there")
		}
		if c.nodes[0].has(unknown) != 3 {
			t.Error("a replica of a chunk that was never issued was deleted")
		}
		if text := c.take(); strings.Count(text, "delete") != 1 {
			t.Errorf("orders:\n%s", text)
		}
	})
}

// A chunkserver that did not hear the order to delete a replica is given it again.
func TestLostDeletionIsOrderedAgain(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		n := c.nodes[0]
		n.set(func() { n.deaf = true })
		must[*pb.UnlinkReply](c.t)(one.api().Unlink(c.t.Context(), &pb.UnlinkRequest{Caller: one.changes(), Parent: 1, Name: []byte("f")}))
		must[*pb.ReleaseReply](c.t)(one.api().Release(c.t.Context(), &pb.ReleaseRequest{Caller: one.changes(), Closed: []*pb.OpenCount{{Inode: f.Attr.Inode, Count: 1}}}))
		time.Sleep(2 * time.Minute)
		if n.has(f.Chunk.Chunk) == 0 {
			t.Error("a replica was deleted without an order")
		}
		n.set(func() { n.deaf = false })
		time.Sleep(2 * time.Minute)
		if n.has(f.Chunk.Chunk) != 0 {
			t.Error("the freed chunk's replica is still there")
		}
	})
}

func TestSpace(t *testing.T) {
	inCluster(t, 1, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		file := must[*pb.CreateReply](c.t)(one.api().Create(c.t.Context(), &pb.CreateRequest{Caller: one.changes(), Parent: 1, Name: []byte("f"), Open: true, Assign: true, Flags: 2}))
		if file.Chunk != nil {
			t.Errorf("assigned to too few: %v", file.Chunk)
		}
		assign := func() (*pb.ChunkLocations, error) {
			return one.api().AssignChunk(c.t.Context(), &pb.AssignChunkRequest{Caller: one.changes(), Inode: file.Attr.Inode, Count: 2})
		}
		_, err := assign()
		wantKind(t, err, proto.TooFewReplicas) // G6
		second := c.addNode()
		second.set(func() { second.free = 1000 })
		time.Sleep(5 * time.Second)
		_, err = assign()
		wantKind(t, err, proto.NoSpace)
		second.set(func() { second.free = fakeDisk })
		time.Sleep(5 * time.Second)
		reply := must[*pb.ChunkLocations](c.t)(assign())
		if len(reply.Chunks) != 2 || len(reply.Chunks[0].Chain) != 2 {
			t.Errorf("assigned with fewer servers than replicas: %v", reply)
		}
		again := must[*pb.ChunkLocations](c.t)(assign())
		if again.Chunks[0].Chunk != reply.Chunks[0].Chunk || again.Chunks[1].Chunk != reply.Chunks[1].Chunk {
			t.Errorf("assigned twice: %v and %v", reply, again)
		}
	})
}
