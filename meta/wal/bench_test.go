package wal

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/distrifs/distrifs/internal/disk"
)

// nothing is a Machine of no cost.
type nothing struct{ journal }

func (n *nothing) Apply(Record) any { return nil }

func BenchmarkPropose(b *testing.B) {
	for _, where := range []struct{ name, dir string }{{"disk", os.TempDir()}, {"memory", "/dev/shm"}} {
		for _, proposers := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/proposers=%d", where.name, proposers), func(b *testing.B) {
				benchmarkPropose(b, where.dir, proposers)
			})
		}
	}
}

func benchmarkPropose(b *testing.B, parent string, proposers int) {
	dir, err := os.MkdirTemp(parent, "wal-bench-")
	if err != nil {
		b.Skip(err)
	}
	defer os.RemoveAll(dir)
	g, err := Open(Options{FS: disk.OS, Dir: dir, CheckpointEvery: -1, CheckpointBytes: 1 << 40}, &nothing{})
	must(b, err)
	data := make([]byte, 120) // as large as the creation of a file
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var group sync.WaitGroup
	for range proposers {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := g.Propose(context.Background(), 1, data); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(g.Status().Batches)/float64(b.N), "syncs/op")
	must(b, g.Close())
}

func BenchmarkReplay(b *testing.B) {
	m := disk.NewMem()
	opts := Options{FS: m, Dir: "/meta", CheckpointEvery: -1}
	g, err := Open(opts, &nothing{})
	must(b, err)
	const records, proposers = 100_000, 100
	var group sync.WaitGroup
	for range proposers {
		group.Go(func() {
			for range records / proposers {
				if _, err := g.Propose(context.Background(), 1, make([]byte, 120)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
	f, err := m.OpenFile("/meta/"+segmentName(1), os.O_RDONLY, 0)
	must(b, err)
	size, err := f.Size()
	must(b, err)
	for b.Loop() {
		s, err := scanSegment(f, size, 1, 0, func(Record) error { return nil })
		if err != nil || s.last != records {
			b.Fatal(s, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
	must(b, g.Close())
}
