package client

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
)

// The benchmarks run client, data plane and three chunkservers in one process,
// over connections in memory. CLIENT_BENCH=1 switches the poisoning of buffers off.

func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{4 << 10, 128 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			c := connect(b, clienttest.New(b, clienttest.Options{ChunkSize: 64 << 20}))
			f := create(b, c, "/f")
			p := noise(1, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			off := int64(0)
			for b.Loop() {
				mustWrite(b, f, p, off)
				off = (off + int64(size)) % (128 << 20) // the stores are in memory
			}
			must(b, f.Flush(b.Context()))
		})
	}
}

func BenchmarkRead(b *testing.B) {
	const total = 128 << 20
	for _, size := range []int{128 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			c := connect(b, clienttest.New(b, clienttest.Options{ChunkSize: 64 << 20}))
			w := create(b, c, "/f")
			for off := range int64(total >> 20) {
				mustWrite(b, w, noise(uint64(off), 1<<20), off<<20)
			}
			must(b, w.Close())
			f := open(b, c, "/f", unix.O_RDONLY)
			p := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			off := int64(0)
			for b.Loop() {
				if _, err := f.ReadAt(p, off); err != nil {
					b.Fatal(err)
				}
				off = (off + int64(size)) % total
			}
		})
	}
}

func BenchmarkSmallFile(b *testing.B) {
	c := connect(b, clienttest.New(b, clienttest.Options{ChunkSize: 1 << 20}))
	p := noise(1, 4096)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		f, err := c.CreateInode(b.Context(), root, c.Root(), fmt.Sprint(n), 0o644, unix.O_WRONLY|unix.O_EXCL)
		must(b, err)
		mustWrite(b, f, p, 0)
		must(b, f.Close())
		n++
	}
}
