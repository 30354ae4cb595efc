package pipeline

import (
	"context"
	"fmt"
	"sync"
	"testing"
)

func BenchmarkWriteChain(b *testing.B) {
	for _, replicas := range []int{1, 3} {
		for _, size := range []int{4 << 10, 256 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("replicas=%d/size=%dK", replicas, size>>10), func(b *testing.B) {
				benchmarkWrite(b, replicas, size)
			})
		}
	}
}

func benchmarkWrite(b *testing.B, replicas, size int) {
	PoisonBuffers(false)
	defer PoisonBuffers(true)
	c := newCluster(b, replicas, clusterOptions{})
	w := &WriteRequest{Chunk: testChunk(1), Version: 1, Data: make([]byte, size), Create: true, Chain: c.chain()}
	if err := c.client.Write(context.Background(), w); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	var all sync.WaitGroup
	for i := 0; b.Loop(); i++ {
		all.Add(1)
		w.Offset = uint64(i * size % (4 << 20))
		c.client.StartWrite(w, func(err error) {
			if err != nil {
				b.Error(err)
			}
			all.Done()
		})
	}
	all.Wait()
}

func BenchmarkWriteLatency(b *testing.B) {
	for _, replicas := range []int{1, 3} {
		b.Run(fmt.Sprintf("replicas=%d/size=4K", replicas), func(b *testing.B) {
			PoisonBuffers(false)
			defer PoisonBuffers(true)
			c := newCluster(b, replicas, clusterOptions{})
			w := &WriteRequest{Chunk: testChunk(1), Version: 1, Data: make([]byte, 4<<10), Create: true, Chain: c.chain()}
			b.ReportAllocs()
			for b.Loop() {
				if err := c.client.Write(context.Background(), w); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		for _, callers := range []int{1, 4, 16} {
			b.Run(fmt.Sprintf("size=%dK/callers=%d", size>>10, callers), func(b *testing.B) {
				benchmarkRead(b, size, callers)
			})
		}
	}
}

func benchmarkRead(b *testing.B, size, callers int) {
	PoisonBuffers(false)
	defer PoisonBuffers(true)
	c := newCluster(b, 1, clusterOptions{})
	w := &WriteRequest{Chunk: testChunk(1), Version: 1, Data: make([]byte, 1<<20), Create: true, Chain: c.chain()}
	if err := c.client.Write(context.Background(), w); err != nil {
		b.Fatal(err)
	}
	r := ReadRequest{Chunk: w.Chunk, Version: 1, From: w.Chain[0]}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			dst := make([]byte, size)
			for range b.N/callers + min(1, max(0, b.N%callers-i)) {
				if n, err := c.client.Read(context.Background(), r, dst); n != size || err != nil {
					b.Error(n, err)
					return
				}
			}
		})
	}
	all.Wait()
}
