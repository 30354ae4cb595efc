package client

import (
	"testing"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// FuzzLocations: whatever a master answers about chunks, what is remembered is within what
// was asked for and within its bounds, and versions only grow.
func FuzzLocations(f *testing.F) {
	seed := func(reply *pb.ChunkLocations) {
		raw, err := protobuf.Marshal(reply)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, uint64(3), raw)
	}
	seed(&pb.ChunkLocations{Chunks: []*pb.ChunkLocation{
		{Index: 3, Chunk: 7, Version: 2, Committed: true, Chain: []*pb.Replica{{Node: 1, Address: "a:1"}, {Node: 2}}}, {Index: 5, Chunk: 8, Version: 1, Shared: true},
	}})
	seed(&pb.ChunkLocations{Chunks: []*pb.ChunkLocation{{Index: 1 << 63}, {Index: 3}, {Index: 3, Chunk: 1}, {Index: 0}}})
	f.Fuzz(func(t *testing.T, first []byte, index uint64, second []byte) {
		const ino = 9
		if index > 1<<60 {
			return
		}
		c := &Client{locations: newLocations()}
		versions := map[proto.ChunkID]proto.Version{}
		for _, raw := range [][]byte{first, second} {
			var reply pb.ChunkLocations
			if protobuf.Unmarshal(raw, &reply) != nil {
				continue
			}
			at := c.rememberRange(c.locations.asking(), ino, index, lookupCount, reply.Chunks)
			_, _ = at.serves(location{}), at.silent()
			known := c.locations.file(ino).byIndex
			if len(known) > lookupCount || c.locations.total != len(known) {
				t.Fatalf("%d locations, counted %d", len(known), c.locations.total)
			}
			for i, loc := range known {
				if i < index || i >= index+lookupCount {
					t.Fatalf("index %d from an answer about %d", i, index)
				}
				if old, ok := versions[loc.chunk]; ok && i == index && loc.version < old {
					t.Fatalf("version %d after %d", loc.version, old)
				}
			}
			if loc, ok := known[index]; ok && loc.chunk != 0 {
				versions = map[proto.ChunkID]proto.Version{loc.chunk: loc.version} // L3
			}
		}
		for _, took := range []time.Duration{0, time.Hour} {
			h := newHealth()
			for _, loc := range c.locations.file(ino).byIndex {
				for _, hop := range h.order(loc.chain) {
					h.begin(hop.Node)
					h.end(hop.Node, 0, took, took == 0)
				}
			}
		}
	})
}
