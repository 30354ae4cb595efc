package chunk

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// scrubFor runs a scrub of the store's first folder for some time.
func scrubFor(t *testing.T, s *Store, period, length time.Duration) *scrubber {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	sc := newScrubber(s, s.folders[0], period)
	sc.run(ctx)
	return sc
}

// bad lists the chunks whose replicas are reported as corrupt.
func bad(s *Store) (list []proto.ChunkID) {
	for _, r := range s.replicaStates(func(proto.ChunkID) bool { return true }) {
		if r.Corrupt {
			list = append(list, proto.ChunkID(r.Chunk))
		}
	}
	return list
}

// L13: the scrub finds every kind of damage to a chunk's file, whether the file is
// open or not, and nothing else; the master is told at once.
func TestScrubFindsDamage(t *testing.T) {
	const length = 600_000 // more than one piece
	l := layout(testCapacity)
	change := func(name string, do func(f disk.File) error) func(*testing.T, *disk.Mem) {
		return func(t *testing.T, mem *disk.Mem) {
			f, err := mem.OpenFile(name, os.O_RDWR, 0)
			must(t, err)
			must(t, do(f))
			must(t, f.Close())
		}
	}
	truncated := func(size int64) func(*testing.T, *disk.Mem) {
		return change(chunkFile(2), func(f disk.File) error { return f.Truncate(size) })
	}
	flipped := func(at int64) func(*testing.T, *disk.Mem) {
		return func(t *testing.T, mem *disk.Mem) { flip(t, mem, chunkFile(2), at) }
	}
	for name, damage := range map[string]func(t *testing.T, mem *disk.Mem){
		"nothing":               func(*testing.T, *disk.Mem) {},
		"first byte":            flipped(0),
		"second piece":          flipped(300_000),
		"behind the length":     flipped(length + 10),
		"entry":                 flipped(l.tableAt() + 40*entrySize),
		"footer's magic":        flipped(l.footerAt()),
		"footer's version":      flipped(l.footerAt() + 32),
		"footer's length":       flipped(l.footerAt() + 41),
		"cut within the data":   truncated(4096),
		"cut within the footer": truncated(l.footerAt() + 10),
		"cut within the table":  truncated(l.fileSize() - 1),
		"empty":                 truncated(0),
		"too long":              truncated(l.fileSize() + 1),
		"gone":                  func(t *testing.T, mem *disk.Mem) { must(t, mem.Remove(chunkFile(2))) },
		"another chunk's file": func(t *testing.T, mem *disk.Mem) {
			must(t, disk.ReplaceFile(mem, chunkFile(2), contentOf(t, mem, chunkFile(3)), 0o644))
		},
		"an older version of it": func(t *testing.T, mem *disk.Mem) {
			must(t, disk.ReplaceFile(mem, chunkFile(2), contentOf(t, mem, "/older"), 0o644))
		},
		"a lost write": change(chunkFile(2), func(f disk.File) error { return f.PunchHole(8192, 4096) }),
		"unreadable sector": func(t *testing.T, mem *disk.Mem) {
			mem.Inject(disk.Fault{Op: disk.OpRead, Path: filepath.Base(chunkFile(2)), Err: syscall.EIO, After: 2, Times: 1})
		},
		"file cannot be opened": func(t *testing.T, mem *disk.Mem) {
			mem.Inject(disk.Fault{Op: disk.OpOpen, Path: filepath.Base(chunkFile(2)), Err: syscall.EIO})
		},
	} {
		for _, open := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					mem := disk.NewMem()
					s := openStore(t, testOptions(mem, "/data"))
					random := rand.New(rand.NewPCG(1, 1))
					for n := 1; n <= 3; n++ {
						must(t, write(s, testChunk(n), 1, 0, randomBytes(random, length), true))
						must(t, s.Sync(testChunk(n), 1))
					}
					must(t, disk.ReplaceFile(mem, "/older", contentOf(t, mem, chunkFile(2)), 0o644))
					must(t, s.SetVersion(2, 2, false))
					if !open {
						must(t, s.settle(0, 1))
						closeAll(s)
					}
					s.changes.take(100)
					damage(t, mem)
					sc := scrubFor(t, s, time.Hour, time.Minute)
					want := []proto.ChunkID{2}
					if name == "nothing" {
						want = nil
					}
					if got := bad(s); !slices.Equal(got, want) {
						t.Errorf("reported as bad: %v", got)
					}
					if ids, _ := s.changes.take(100); !slices.Equal(ids, want) || len(s.changes.wake) != len(want) {
						t.Errorf("told with the next heartbeat: %v", ids)
					}
					if sc.progress.Passes != 1 || int(sc.progress.Damaged) != len(want) {
						t.Errorf("%+v", sc.progress)
					}
				})
			})
		}
	}
}

func contentOf(t *testing.T, fsys disk.FS, name string) []byte {
	t.Helper()
	content, err := disk.ReadFile(fsys, name, 4*testCapacity)
	must(t, err)
	return content
}

// closeAll lets go of all files, as the cache does with those that are not used.
func closeAll(s *Store) {
	for _, r := range s.index {
		r.mu.Lock()
		r.close()
		r.mu.Unlock()
	}
}

// Writes and reads go on while the scrub runs, and it takes none of them for damage.
func TestScrubUnderWrites(t *testing.T) {
	s := openStore(t, testOptions(disk.NewMem(), "/data"))
	const chunks = 4
	for n := range chunks {
		must(t, write(s, testChunk(n), 1, 0, make([]byte, 300_000), true))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, scrubPiece)
		for ctx.Err() == nil {
			for n := range chunks {
				if found, err := s.find(proto.ChunkID(n)).verify(buffer, func(int) bool { return true }); found || err != nil {
					t.Errorf("chunk %d: %v", n, err)
				}
			}
		}
	}()
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		off, n := randomRange(random)
		must(t, write(s, testChunk(random.IntN(chunks)), 1, off, randomBytes(random, n), false))
		if random.IntN(10) == 0 {
			must(t, s.Zero(testChunk(random.IntN(chunks)), 1, off, uint64(n), false))
		}
		if random.IntN(50) == 0 {
			must(t, s.settle(0, 1))
			closeAll(s)
		}
	}
	cancel()
	<-done
}

// L19: a pass takes the period, however much there is, unless the floor is faster.
func TestScrubRate(t *testing.T) {
	for _, c := range []struct {
		name          string
		left          int64
		gone          time.Duration // of the period
		atLeast, most float64
	}{
		{"14 TB in 14 days", 14e12, 0, 11e6, 12e6},
		{"half of the time left for it", 14e12, 7 * 24 * time.Hour, 22e6, 24e6},
		{"little", 1e9, 0, scrubFloor, scrubFloor},
		{"more than can be read", 1e15, 0, scrubCeiling, scrubCeiling},
		{"late", 1e9, 15 * 24 * time.Hour, scrubCeiling, scrubCeiling},
	} {
		now := time.Unix(1e9, 0)
		sc := scrubber{period: defaultScrubPeriod, left: c.left, progress: progress{Began: now.Add(-c.gone)}}
		if rate := sc.rate(now); rate < c.atLeast || rate > c.most {
			t.Errorf("%s: %.0f bytes a second", c.name, rate)
		}
	}
}

// The scrub waits for requests, though not for ever.
func TestScrubYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openStore(t, testOptions(disk.NewMem(), "/data"))
		must(t, write(s, testChunk(1), 1, 0, make([]byte, 4096), true))
		sc := newScrubber(s, s.folders[0], time.Hour)
		sc.progress.Began = time.Now()
		s.load.Add(1)
		began := time.Now()
		if sc.pace(t.Context(), 1); time.Since(began) != maxYield {
			t.Errorf("waited %v while there were requests", time.Since(began))
		}
		s.load.Add(-1)
		sc.due = time.Time{}
		began = time.Now()
		if sc.pace(t.Context(), 1); time.Since(began) != 0 {
			t.Errorf("waited %v for nobody", time.Since(began))
		}
	})
}

// A pass that is interrupted goes on where it was, in the next process too; and one
// pass does not follow the other without a rest.
func TestScrubKeepsItsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := disk.NewMem()
		s := openStore(t, testOptions(mem, "/data"))
		const chunks = 10
		for n := 1; n <= chunks; n++ {
			must(t, write(s, testChunk(n), 1, 0, bytes.Repeat([]byte{1}, 500_000), true))
		}
		began := time.Now()
		first := scrubFor(t, s, time.Hour, 2*time.Second)
		if first.progress.After < 2 || first.progress.After > 6 {
			t.Fatalf("in two seconds at a MiB a second it got to %+v", first.progress)
		}
		must(t, s.Close())
		s = openStoreAt(t, mem)
		flip(t, mem, chunkFile(1), 0)      // behind it already
		flip(t, mem, chunkFile(chunks), 0) // before it
		second := scrubFor(t, s, time.Hour, 10*time.Second)
		if got := bad(s); !slices.Equal(got, []proto.ChunkID{chunks}) || second.progress.Passes != 1 || !second.progress.Began.Equal(began.Truncate(time.Second)) {
			t.Errorf("found %v, %+v", got, second.progress)
		}
		third := scrubFor(t, s, time.Hour, 2*time.Minute)
		if got := bad(s); len(got) != 1 || third.progress.Passes != 1 {
			t.Errorf("the next pass began at once: %+v", third.progress)
		}
		fourth := scrubFor(t, s, time.Hour, 3*time.Minute)
		if got := bad(s); len(got) != 2 || fourth.progress.Passes != 2 || fourth.progress.Damaged != 2 {
			t.Errorf("found %v, %+v", got, fourth.progress)
		}
		must(t, s.Close())
	})
}

func TestProgressFormat(t *testing.T) {
	p := progress{Began: time.Unix(1_700_000_000, 0).UTC(), After: 4711, Finished: time.Unix(1_600_000_000, 0).UTC(), Passes: 3, Damaged: 1}
	const want = "distrifs scrub, format 1\n" +
		`{"began":"2023-11-14T22:13:20Z","after":4711,"finished":"2020-09-13T12:26:40Z","passes":3,"damaged":1}` +
		"\ncrc32c e6af9a6a\n"
	if got := string(p.encode()); got != want {
		t.Errorf("got %q", got)
	}
	if got, err := decodeProgress([]byte(want)); err != nil || got != p {
		t.Errorf("got %+v, %v", got, err)
	}
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	must(t, s.folders[0].saveProgress(p))
	flip(t, mem, "/data/scrub", 40)
	if got := s.folders[0].loadProgress(); got != (progress{}) {
		t.Errorf("believed %+v", got)
	}
}

func FuzzDecodeProgress(f *testing.F) {
	f.Add(progress{Began: time.Unix(1, 0), After: 1}.encode())
	f.Add([]byte(progressFirst + "{}\ncrc32c 00000000\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := decodeProgress(text)
		if err != nil {
			return
		}
		if again, err := decodeProgress(p.encode()); err != nil || again.After != p.After {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
	})
}
