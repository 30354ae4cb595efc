package chunk

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/distrifs/distrifs/internal/cputime"
	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// benchStore is on /dev/shm, where there is one, to measure the store and not the disk.
func benchStore(b *testing.B) *Store {
	b.Helper()
	dir := b.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "chunk-bench-"); err == nil {
		b.Cleanup(func() { os.RemoveAll(shm) })
		dir = shm
	}
	s, err := OpenStore(testOptions(disk.OS, dir))
	must(b, err)
	must(b, s.join(testCluster, 1, proto.DefaultChunkSize, 1))
	b.Cleanup(func() { must(b, s.Close()) })
	return s
}

var benchSizes = []struct {
	name string
	n    int
}{{"4KiB", 4 << 10}, {"1MiB", 1 << 20}}

// BenchmarkWrite fills chunks of 64 MiB from front to back, again and again.
func BenchmarkWrite(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(size.name, func(b *testing.B) {
			s := benchStore(b)
			data := randomBytes(rand.New(rand.NewPCG(1, 1)), size.n)
			sums := sumsOf(0, data)
			b.SetBytes(int64(size.n))
			b.ReportAllocs()
			off := 0
			for i := 0; b.Loop(); i++ {
				must(b, s.Write(testChunk(off>>26%4), 1, uint64(off&(1<<26-1)), data, sums, true))
				off += size.n
			}
		})
	}
}

// BenchmarkOverwrite writes at random aligned offsets of a chunk that is full.
func BenchmarkOverwrite(b *testing.B) {
	s := benchStore(b)
	fillChunk(b, s)
	data := randomBytes(rand.New(rand.NewPCG(1, 1)), 4<<10)
	sums := sumsOf(0, data)
	random := rand.New(rand.NewPCG(5, 5))
	b.SetBytes(4 << 10)
	b.ReportAllocs()
	for b.Loop() {
		must(b, s.Write(testChunk(0), 1, uint64(random.IntN(1<<14)<<12), data, sums, false))
	}
}

func fillChunk(b *testing.B, s *Store) {
	data := randomBytes(rand.New(rand.NewPCG(1, 1)), 1<<20)
	sums := sumsOf(0, data)
	for off := uint64(0); off < 64<<20; off += 1 << 20 {
		must(b, s.Write(testChunk(0), 1, off, data, sums, true))
	}
}

func BenchmarkRead(b *testing.B) {
	s := benchStore(b)
	fillChunk(b, s)
	for _, skew := range []int{0, 100} {
		for _, size := range benchSizes {
			b.Run(fmt.Sprintf("%s/skew=%d", size.name, skew), func(b *testing.B) {
				random := rand.New(rand.NewPCG(2, 2))
				dst, sums := make([]byte, size.n), make([]uint32, size.n/blockSize+1)
				b.SetBytes(int64(size.n))
				b.ReportAllocs()
				for b.Loop() {
					off := uint64(random.IntN(63<<20)&^4095 + skew)
					if n, err := s.Read(testChunk(0), 1, off, dst, sums); n != size.n || err != nil {
						b.Fatal(n, err)
					}
				}
			})
		}
	}
}

// BenchmarkSmallFile makes a replica of one block, as each small file does.
func BenchmarkSmallFile(b *testing.B) {
	s := benchStore(b)
	data := randomBytes(rand.New(rand.NewPCG(1, 1)), 4<<10)
	sums := sumsOf(0, data)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		must(b, s.Write(testChunk(i), 1, 0, data, sums, true))
	}
}

// BenchmarkScrub verifies a whole chunk as the scrub does, without its pauses; cpu-s/GiB is
// processor time.
func BenchmarkScrub(b *testing.B) {
	s := benchStore(b)
	fillChunk(b, s)
	r := s.find(0)
	buffer := make([]byte, scrubPiece)
	b.SetBytes(64 << 20)
	before := cputime.Process()
	for b.Loop() {
		if found, err := r.verify(buffer, func(int) bool { return true }); found || err != nil {
			b.Fatal(found, err)
		}
	}
	b.ReportMetric((cputime.Process()-before).Seconds()/float64(b.N)*16, "cpu-s/GiB")
}
