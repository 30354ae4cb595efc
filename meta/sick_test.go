package meta

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/meta/registry"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// sicken makes the chunkserver's only disk slow or failing, and tells the master.
func (n *fakeNode) sicken(slow, failing bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sick = slow || failing
	for _, r := range n.replicas {
		r = &pb.ReplicaState{Chunk: r.Chunk, Version: r.Version, Length: r.Length, Slow: slow, Failing: failing}
		n.replicas[proto.ChunkID(r.Chunk)] = r
		n.changed = append(n.changed, r)
	}
	n.kick()
}

// onlyOn fails unless each file has good replicas on so many chunkservers, none of them sick.
func (c *cluster) onlyOn(one *client, list []*pb.CreateReply, replicas int) {
	c.t.Helper()
	for i, f := range list {
		l := one.locate(f)
		if len(l.Chain) != replicas {
			c.t.Errorf("file %d has the chain %s", i, show(l))
		}
		for _, r := range l.Chain {
			n := c.node(r.Node)
			if r.Address == "" || n.sick || n.has(l.Chunk) != l.Version {
				c.t.Errorf("file %d has the chain %s, and %d holds version %d", i, show(l), r.Node, n.has(l.Chunk))
			}
		}
	}
}

// The replicas on a disk that fails are replaced elsewhere from others, nothing waits for
// the disk, and nothing is ordered of it that it cannot do; the operator sees how far it is.
func TestFailingDiskIsEvacuated(t *testing.T) {
	inCluster(t, 4, Config{RepairStreams: 1}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		list := one.files(8)
		time.Sleep(time.Minute)
		for _, n := range c.nodes {
			n.set(func() { n.copying = time.Second })
		}
		c.take()
		bad := c.chainOf(list[0].Chunk)[0]
		concerned := uint64(c.replicasOn(bad))
		bad.sicken(false, true)
		time.Sleep(1500 * time.Millisecond)
		st := c.status()
		if left := st.Nodes[bad.id-1].ToMove; left == 0 || left > concerned || st.Chunks.UnderReplicated == 0 || st.Chunks.Missing != 0 {
			t.Errorf("%d of %d are to go elsewhere, %v", left, concerned, st.Chunks)
		}
		time.Sleep(time.Minute)
		c.onlyOn(one, list, 3)
		if st := c.status(); st.Nodes[bad.id-1].ToMove != 0 || st.Chunks.UnderReplicated != 0 {
			t.Errorf("in the end %d are to go elsewhere, %v", st.Nodes[bad.id-1].ToMove, st.Chunks)
		}
		for id := range bad.replicas {
			bad.hold(&pb.ReplicaState{Chunk: uint64(id), Version: 1, Corrupt: true, Failing: true}, true)
		}
		time.Sleep(5 * time.Second)
		if st := c.status(); st.Chunks.CorruptReplicas != 0 {
			t.Errorf("%d replicas wait to be replaced that have been and cannot be removed", st.Chunks.CorruptReplicas)
		}
		if story := c.take(); strings.Contains(story, fmt.Sprintf("master -> %d", bad.id)) {
			t.Errorf("something was ordered of the disk that failed:\n%s", story)
		}
	})
}

// The last good replicas stay in service, though their disks have failed, until there is
// a better one.
func TestLastReplicaIsNeverGivenUp(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		for _, n := range c.nodes {
			n.sicken(false, true)
		}
		time.Sleep(time.Minute)
		if l := one.locate(f); show(l) != "1: 1 2 3" {
			t.Errorf("location %s", show(l))
		}
		if st := c.status().Chunks; st.Missing != 0 {
			t.Errorf("%v", st)
		}
		c.nodes[1].set(func() { c.nodes[1].sick = false })
		c.nodes[1].hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 1}, true)
		for range 2 {
			c.addNode()
		}
		time.Sleep(time.Minute)
		c.onlyOn(one, []*pb.CreateReply{f}, 3)
	})
}

// A write to a chunk with a member whose disk has failed goes on with the others.
func TestWriterGoesOnWithoutTheFailingDisk(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		bad := c.chainOf(f.Chunk)[2]
		bad.sicken(false, true)
		synctest.Wait()
		l := must[*pb.ChunkLocation](c.t)(one.api().ReportChainFailure(c.t.Context(), &pb.ReportChainFailureRequest{
			Caller: one.asks(), Inode: f.Attr.Inode, Chunk: f.Chunk.Chunk, Version: f.Chunk.Version, Failed: []uint32{bad.id},
		}))
		if slices.ContainsFunc(l.Chain, func(r *pb.Replica) bool { return r.Node == bad.id }) || len(l.Chain) != 2 {
			t.Errorf("location %s", show(l))
		}
	})
}

// What is on a slow disk moves: it leaves the chain when its successor is there, and what
// has nowhere to go stays.
func TestSlowDiskIsEvacuated(t *testing.T) {
	inCluster(t, 3, Config{RepairStreams: 1}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		list := one.files(5)
		time.Sleep(time.Minute)
		c.nodes[0].sicken(true, false)
		time.Sleep(time.Minute)
		for _, f := range list {
			if l := one.locate(f); len(l.Chain) != 3 || c.status().Chunks.UnderReplicated != 0 {
				t.Errorf("location %s", show(l))
			}
		}
		if left := c.status().Nodes[0].ToMove; left != 5 {
			t.Errorf("%d are to go elsewhere", left)
		}
		c.addNode()
		c.settled(func() bool { return c.replicasOn(c.nodes[0]) == 0 }, c.redundant)
		c.onlyOn(one, list, 3)
	})
}

// What was deleted and has replicas on a disk that has failed goes with the disk: nothing is ordered
// that it cannot do, and fsck does not call it a fault. When the disk is in service again they are removed.
func TestNothingIsRemovedFromAFailingDisk(t *testing.T) {
	inCluster(t, 4, Config{}, func(c *cluster) {
		writer := c.connect(&pb.Hello{})
		list := writer.files(3)
		writer.vanish()
		time.Sleep(time.Minute)
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		bad := c.chainOf(list[0].Chunk)[0]
		bad.set(func() {
			bad.refuse = func(*pb.NodeCommand) proto.Kind { return proto.IO }
		})
		bad.sicken(false, true)
		c.take()
		for _, f := range []string{"f000", "f001"} { // one before its replica is replaced elsewhere, one after
			one.unlink(f)
			time.Sleep(time.Minute)
		}
		if bad.has(list[0].Chunk.Chunk) == 0 {
			t.Fatal("the replica is not there any more")
		}
		if story := c.take(); strings.Contains(story, fmt.Sprintf("master -> %d", bad.id)) {
			t.Errorf("something was ordered of the disk that failed:\n%s", story)
		}
		if st := c.status(); st.Chunks.ToDelete != 0 {
			t.Errorf("%d are being deleted", st.Chunks.ToDelete)
		}
		if lines, _ := c.fsck(true); len(lines) != 0 {
			t.Errorf("fsck: %v", lines)
		}
		bad.set(func() { bad.refuse = nil })
		bad.sicken(false, false)
		bad.restart()
		time.Sleep(time.Minute)
		for _, f := range list[:2] {
			if bad.has(f.Chunk.Chunk) != 0 {
				t.Errorf("chunk %d is still there", f.Chunk.Chunk)
			}
		}
	})
}

// Nobody waits for a disk that is so slow that its orders time out: what is on it moves all the same, and
// can be read and written meanwhile.
func TestNobodyWaitsForASlowDisk(t *testing.T) {
	inCluster(t, 4, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		list := one.files(8)
		time.Sleep(time.Minute)
		bad := c.chainOf(list[0].Chunk)[0]
		bad.set(func() { bad.deaf = true })
		bad.sicken(true, false)
		missing, longest := 0, 0
		for range 300 {
			time.Sleep(100 * time.Millisecond)
			if missing++; c.status().Chunks.Missing == 0 {
				missing = 0
			}
			longest = max(longest, missing)
		}
		if longest > 5 {
			t.Errorf("chunks were missing for %d tenths of a second", longest)
		}
		c.onlyOn(one, list, 3)
	})
}

// Of members that are trusted alike the others are made equal to one whose disk is not slow.
func TestASlowDiskIsNoBase(t *testing.T) {
	c := state.Chunk{Version: 2, Chain: []proto.NodeID{1, 2, 3}}
	member := func(node proto.NodeID, version proto.Version, slow bool) registry.Member {
		return registry.Member{Node: node, Alive: true, Connected: true, Known: true, Holds: registry.Replica{Version: version, Slow: slow}}
	}
	for name, test := range map[string]struct {
		members []registry.Member
		want    proto.NodeID
	}{
		"the version before":         {[]registry.Member{member(1, 1, true), member(2, 1, false), member(3, 1, false)}, 2},
		"a better one comes first":   {[]registry.Member{member(1, 1, false), member(2, 2, true), member(3, 1, false)}, 2},
		"there are none but slow":    {[]registry.Member{member(1, 1, true), member(2, 1, true), member(3, 1, true)}, 1},
		"both are of the chunk's":    {[]registry.Member{member(1, 2, true), member(2, 1, false), member(3, 2, false)}, 3},
		"one is older, and not slow": {[]registry.Member{member(1, 1, true), member(2, 0, false), member(3, 0, false)}, 1},
	} {
		if got := chooseBase(c, test.members, c.Chain).Node; got != test.want {
			t.Errorf("%s: chunkserver %d, want %d", name, got, test.want)
		}
	}
}
