package registry

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/distrifs/distrifs/internal/cputime"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// benchServers runs a benchmark with few and with many chunkservers, each on its own host.
func benchServers(b *testing.B, run func(b *testing.B, r *Registry)) {
	for _, servers := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(servers), func(b *testing.B) {
			r := New(Options{Now: time.Now, DeadAfter: time.Hour, MinRoom: 1, Recent: time.Second}, nil)
			for i := range servers {
				id := proto.NodeID(i + 1)
				disks := []*pb.DiskStatus{{TotalBytes: 1000, FreeBytes: uint64(500 + i*7919%100)}}
				if err := r.Register(Identity{Node: id, Incarnation: 1, Address: fmt.Sprintf("host-%d:1", i)}, disks, 0); err != nil {
					b.Fatal(err)
				}
				if _, err := r.Connect(id, 1); err != nil {
					b.Fatal(err)
				}
			}
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			b.ResetTimer()
			before := cputime.Thread()
			run(b, r)
			b.ReportMetric(float64((cputime.Thread()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkPlace chooses three chunkservers for a chunk.
func BenchmarkPlace(b *testing.B) {
	benchServers(b, func(b *testing.B, r *Registry) {
		for range b.N {
			if _, err := r.Place(3, 2); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFreed takes a chunk in that was committed, and its end.
func BenchmarkFreed(b *testing.B) {
	benchServers(b, func(b *testing.B, r *Registry) {
		for i := range b.N {
			c := state.Chunk{ID: proto.ChunkID(i%1000 + 1), Version: 1, Chain: []proto.NodeID{1, 2, 3}}
			r.Committed(c, r.Arrivals())
			for _, node := range r.Freed(c) {
				r.Removed(node, c.ID, noChunks{})
			}
		}
	})
}
