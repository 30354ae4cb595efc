package meta

import (
	"testing"
	"time"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

func (c *cluster) operate(req *pb.OperateRequest) (*pb.OperateReply, error) {
	return pb.NewMasterClient(c.conn).Operate(c.t.Context(), req)
}

// replicasOn counts what a chunkserver holds.
func (c *cluster) replicasOn(n *fakeNode) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.replicas)
}

// settled waits until done, for ten minutes at most, and looks at the cluster all the time.
func (c *cluster) settled(done func() bool, look func()) {
	c.t.Helper()
	for range 6000 {
		if done() {
			return
		}
		time.Sleep(100 * time.Millisecond)
		look()
	}
	c.t.Errorf("it has not settled: %v", c.status())
}

// redundant checks that every chunk has three replicas of its version, or of the one
// before where the change is under way.
func (c *cluster) redundant() {
	c.t.Helper()
	c.master.eachChunk(func(chunk state.Chunk) bool {
		held := 0
		for _, n := range c.nodes {
			if n.has(uint64(chunk.ID))+1 >= uint64(chunk.Version) {
				held++
			}
		}
		if held < 3 {
			c.t.Errorf("chunk %v of version %d has %d replicas", chunk.ID, chunk.Version, held)
		}
		return true
	})
}

// A decommissioned chunkserver gives up all it has, no chunk ever has fewer good
// replicas than before, and a restart of the master takes it up again.
func TestDecommission(t *testing.T) {
	inCluster(t, 5, Config{RepairStreams: 1}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		one.files(20)
		time.Sleep(time.Minute)
		for _, n := range c.nodes {
			n.set(func() { n.copying = time.Second })
		}
		n := c.nodes[1]
		had := c.replicasOn(n)
		reply := must[*pb.OperateReply](c.t)(c.operate(&pb.OperateRequest{Move: pb.Move_MOVE_DECOMMISSION, Node: n.id, On: true}))
		if int(reply.Chunks) != had || had < 5 {
			t.Errorf("%d chunks are to move, it has %d", reply.Chunks, had)
		}
		c.settled(func() bool { return c.status().Repair.Repaired >= 2 }, c.redundant)
		if st := c.status(); !st.Nodes[n.id-1].Decommissioned || st.Nodes[n.id-1].ToMove == 0 || st.Repair.Moving+st.Repair.Active == 0 {
			t.Errorf("while it goes on: %v, %v", st.Nodes[n.id-1], st.Repair)
		}
		one.vanish()
		c.crash(7)
		if st := c.status(); st.Nodes[n.id-1].ToMove == 0 {
			t.Error("just after the start, before any look at the chunks: it may go")
		}
		time.Sleep(2 * time.Second)
		if c.replicasOn(n) == 0 {
			t.Fatal("it had ended before the restart: this shows nothing")
		}
		c.settled(func() bool { return c.replicasOn(n) == 0 && c.status().Nodes[n.id-1].ToMove == 0 }, c.redundant)
		time.Sleep(time.Minute)
		if st := c.status(); st.Repair.Waiting != 0 || c.replicasOn(n) != 0 {
			t.Errorf("afterwards: %v", st.Repair)
		}
		n.set(func() { n.refuses = true })
		n.kill()
		c.take()
		time.Sleep(time.Minute)
		story(c.t, c.take(), "") // it may go
	})
}

// What is cancelled goes no further, and the chunkserver is given chunks again.
func TestDecommissionIsCancelled(t *testing.T) {
	inCluster(t, 4, Config{RepairStreams: 1}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		one.files(20)
		time.Sleep(time.Minute)
		for _, n := range c.nodes {
			n.set(func() { n.copying = time.Second })
		}
		n := c.nodes[0]
		must[*pb.OperateReply](c.t)(c.operate(&pb.OperateRequest{Move: pb.Move_MOVE_DECOMMISSION, Node: n.id, On: true}))
		time.Sleep(3 * time.Second)
		must[*pb.OperateReply](c.t)(c.operate(&pb.OperateRequest{Move: pb.Move_MOVE_DECOMMISSION, Node: n.id}))
		time.Sleep(30 * time.Second)
		left := c.replicasOn(n)
		time.Sleep(time.Minute)
		if c.replicasOn(n) != left || left == 0 || c.status().Nodes[0].Decommissioned {
			t.Errorf("it went on from %d to %d replicas", left, c.replicasOn(n))
		}
	})
}

func TestOperateIsRefused(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		for _, r := range []struct {
			req  *pb.OperateRequest
			want proto.Kind
		}{
			{&pb.OperateRequest{Move: pb.Move_MOVE_DECOMMISSION, Node: 1, On: true}, proto.Busy}, // of a kind that clients do not try again,
			{&pb.OperateRequest{Move: pb.Move_MOVE_DECOMMISSION, Node: 9, On: true}, proto.NotFound},
			{&pb.OperateRequest{Move: pb.Move_MOVE_MAINTENANCE, Node: 1, On: true}, proto.Invalid},
			{&pb.OperateRequest{Move: pb.Move_MOVE_MAINTENANCE, Node: 1, On: true, Seconds: 8 * 24 * 3600}, proto.Invalid},
			{&pb.OperateRequest{Node: 1, On: true}, proto.Invalid},
		} {
			_, err := c.operate(r.req)
			wantKind(t, err, r.want)
		}
	})
}

// Who is in maintenance may be away, and nothing of it is replaced until the time is
// over, or the operator ends it; a restart of the master changes nothing of that.
func TestMaintenance(t *testing.T) {
	for _, end := range []string{"time", "operator", "return"} {
		t.Run(end, func(t *testing.T) {
			inCluster(t, 4, Config{}, func(c *cluster) {
				one := c.connect(&pb.Hello{})
				f := one.file("f")
				one.write(f)
				time.Sleep(time.Minute)
				n := c.chainOf(f.Chunk)[0]
				must[*pb.OperateReply](c.t)(c.operate(&pb.OperateRequest{Move: pb.Move_MOVE_MAINTENANCE, Node: n.id, On: true, Seconds: 600}))
				c.take()
				n.set(func() { n.refuses = true })
				n.kill()
				time.Sleep(2 * time.Minute)
				one.vanish()
				nodes := c.nodes
				c.nodes = c.nodes[1:]
				c.crash(3)
				c.nodes = nodes
				time.Sleep(5 * time.Minute)
				if st := c.status().Nodes[n.id-1]; st.Alive || st.Maintenance == 0 {
					t.Errorf("it is %v", st)
				}
				story(c.t, c.take(), "")
				switch end {
				case "time":
					time.Sleep(5 * time.Minute)
				case "operator":
					must[*pb.OperateReply](c.t)(c.operate(&pb.OperateRequest{Move: pb.Move_MOVE_MAINTENANCE, Node: n.id}))
					time.Sleep(time.Minute)
				case "return":
					n.start()
					time.Sleep(10 * time.Minute)
					story(c.t, c.take(), "") // it has cost nothing
					return
				}
				story(c.t, c.take(), `
					master -> 2: set version 2 = ok

					master -> 3: copy version 2 from [2] = ok

					master -> 4: copy version 2 from [2 3] = ok`)
			})
		})
	}
}

// Maintenance of one does not keep another's loss from being repaired.
func TestMaintenanceHidesNoLoss(t *testing.T) {
	inCluster(t, 5, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		chain := c.chainOf(f.Chunk)
		must[*pb.OperateReply](c.t)(c.operate(&pb.OperateRequest{Move: pb.Move_MOVE_MAINTENANCE, Node: chain[0].id, On: true, Seconds: 600}))
		for _, n := range chain[:2] {
			n.set(func() { n.refuses = true })
			n.kill()
			time.Sleep(time.Second) // it is known to be dead
		}
		time.Sleep(30 * time.Second)
		if good := c.master.nodes.Good(mustChunk(c, f)); good < 2 {
			t.Errorf("%d good replicas: %s\n%s", good, show(one.locate(f)), c.take())
		}
	})
}

// Rebalancing moves chunks to where there is room until shares are about equal, ends by
// itself, and loses no redundancy; a restart of the master takes it up again.
func TestRebalance(t *testing.T) {
	inCluster(t, 3, Config{RepairStreams: 2}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		one.size = proto.DefaultChunkSize
		for _, n := range c.nodes {
			n.set(func() { n.size = 100 * proto.DefaultChunkSize })
		}
		one.files(60)
		for range 2 {
			n := c.addNode()
			n.set(func() { n.size = 100 * proto.DefaultChunkSize })
			n.restart()
		}
		time.Sleep(time.Minute)
		for _, n := range c.nodes {
			n.set(func() { n.copying = 100 * time.Millisecond })
		}
		must[*pb.OperateReply](c.t)(c.operate(&pb.OperateRequest{Move: pb.Move_MOVE_REBALANCE, On: true}))
		c.settled(func() bool { return c.replicasOn(c.nodes[3]) > 0 }, c.redundant)
		one.vanish()
		c.crash(1)
		if !c.status().Rebalancing {
			t.Fatal("it had ended before the restart: this shows nothing")
		}
		c.settled(func() bool { return !c.status().Rebalancing }, c.redundant)
		time.Sleep(time.Minute)
		for _, n := range c.nodes { // 36 replicas are the mean
			if held := c.replicasOn(n); held < 30 || held > 42 {
				t.Errorf("chunkserver %d holds %d replicas", n.id, held)
			}
		}
	})
}

func TestRebalanceIsCancelled(t *testing.T) {
	inCluster(t, 3, Config{RepairStreams: 1}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		one.size = proto.DefaultChunkSize
		for _, n := range c.nodes {
			n.set(func() { n.size, n.copying = 100*proto.DefaultChunkSize, time.Second })
		}
		one.files(60)
		c.addNode()
		time.Sleep(time.Minute)
		must[*pb.OperateReply](c.t)(c.operate(&pb.OperateRequest{Move: pb.Move_MOVE_REBALANCE, On: true}))
		time.Sleep(5 * time.Second)
		must[*pb.OperateReply](c.t)(c.operate(&pb.OperateRequest{Move: pb.Move_MOVE_REBALANCE}))
		time.Sleep(5 * time.Second)
		moved := c.replicasOn(c.nodes[3])
		time.Sleep(time.Minute)
		if c.replicasOn(c.nodes[3]) != moved || moved == 0 || c.status().Rebalancing {
			t.Errorf("it went on from %d to %d", moved, c.replicasOn(c.nodes[3]))
		}
	})
}
