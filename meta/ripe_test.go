package meta

import (
	"testing"
	"time"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// losePower has what each chunkserver holds of a chunk be what a power loss in mid-write
// leaves of it. They are down afterwards.
func (c *cluster) losePower(chunk uint64) {
	for _, n := range c.nodes {
		n.kill()
		n.set(func() {
			if r := n.replicas[proto.ChunkID(chunk)]; r != nil {
				n.replicas[proto.ChunkID(chunk)] = &pb.ReplicaState{Chunk: chunk, Version: r.Version, Length: r.Length, Unclean: true}
			}
		})
	}
}

// refuse has all chunkservers refuse those orders for versions that match.
func (c *cluster) refuse(match func(*pb.SetVersion) bool) {
	for _, n := range c.nodes {
		n.set(func() {
			n.refuse = func(command *pb.NodeCommand) proto.Kind {
				if s := command.GetSetVersion(); s != nil && match(s) {
					return proto.IO
				}
				return proto.OK
			}
		})
	}
}

// The power fails everywhere, again and again, each time when the next version is in the log
// and nobody was fenced at it: the replicas are the only ones there are, and stand in the end.
func TestNoVersionIsSkipped(t *testing.T) { // G1, L1
	for name, match := range map[string]func(*pb.SetVersion) bool{
		"before the fence": func(s *pb.SetVersion) bool { return s.Stands },
		"before any order": func(*pb.SetVersion) bool { return true },
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 3, Config{}, func(c *cluster) {
				one := c.connect(&pb.Hello{})
				f := one.file("f")
				one.write(f)
				time.Sleep(time.Minute)
				one.vanish()
				for i, n := range c.nodes {
					n.hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 1, Length: uint64(10 + i)}, false)
				}
				for seed := range uint64(3) {
					c.losePower(f.Chunk.Chunk)
					c.refuse(match)
					c.crash(seed)
					time.Sleep(3 * time.Second)
				}
				c.losePower(f.Chunk.Chunk)
				c.refuse(func(*pb.SetVersion) bool { return false })
				c.crash(9)
				time.Sleep(time.Minute)
				chunk, _ := c.master.machine.chunk(proto.ChunkID(f.Chunk.Chunk))
				if chunk.Version.Age() == 0 {
					t.Errorf("version %x: nobody learns that bytes may be lost (L9)", uint64(chunk.Version))
				}
				for _, n := range c.nodes {
					r := n.replica(f.Chunk.Chunk)
					if r.GetVersion() != uint64(chunk.Version) || r.GetUnclean() || r.GetLength() != c.nodes[0].replica(f.Chunk.Chunk).GetLength() {
						t.Errorf("at version %x node %d has %v", uint64(chunk.Version), n.id, r)
					}
				}
			})
		})
	}
}

// A member is away that has the version in the log, and bytes that nobody acknowledged.
// The others are brought forward, and the master dies before it has done what it does about
// that: the one that comes back is made equal all the same.
func TestWhoComesBackIsMadeEqual(t *testing.T) { // G3
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		one.vanish()
		chain := c.chainOf(f.Chunk)
		away := chain[0]
		away.kill()
		var nodes []proto.NodeID
		for _, n := range chain {
			nodes = append(nodes, proto.NodeID(n.id))
		}
		if _, err := c.master.propose(&state.SetChain{Chunk: proto.ChunkID(f.Chunk.Chunk), From: 1, To: 2, Chain: nodes}); err != nil {
			t.Fatal(err)
		}
		away.hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 2, Length: 100}, false)
		for _, n := range chain[1:] {
			n.hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 1, Length: 7}, true)
		}
		c.refuse(func(s *pb.SetVersion) bool { return s.Version > 2 })
		time.Sleep(3 * time.Second)
		c.crash(1) // the one that was away comes back with the new master
		c.refuse(func(*pb.SetVersion) bool { return false })
		time.Sleep(time.Minute)
		want := chain[0].replica(f.Chunk.Chunk)
		for _, n := range chain[1:] {
			if r := n.replica(f.Chunk.Chunk); r.GetLength() != want.GetLength() || r.GetVersion() != want.GetVersion() {
				t.Errorf("node %d has %v, node %d %v", n.id, r, away.id, want)
			}
		}
	})
}
