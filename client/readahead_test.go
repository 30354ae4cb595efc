package client

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
)

// aheadTest is a readAhead over a file in memory, and what it asked for.
type aheadTest struct {
	*readAhead
	file  []byte
	delay time.Duration

	mu     sync.Mutex
	loads  []int64 // offsets of whole pieces
	direct int     // other loads
	held   int     // pieces of memory
	most   int
	limit  int
	fail   error
}

func newAheadTest(n int, window int64) *aheadTest {
	a := &aheadTest{file: noise(1, n), limit: 1000}
	a.readAhead = &readAhead{
		max:   window,
		spawn: func(f func()) { go f() },
		load: func(ctx context.Context, p []byte, off int64) error {
			a.mu.Lock()
			if off%pieceSize == 0 && (len(p) == pieceSize || off+int64(len(p)) == int64(len(a.file))) {
				a.loads = append(a.loads, off)
			} else {
				a.direct++
			}
			fail := a.fail
			a.mu.Unlock()
			select {
			case <-time.After(a.delay):
			case <-ctx.Done():
				return ctx.Err()
			}
			copy(p, a.file[off:])
			return fail
		},
		reserve: func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.held == a.limit {
				return false
			}
			a.held++
			a.most = max(a.most, a.held)
			return true
		},
		release: func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.held--
		},
	}
	return a
}

func (a *aheadTest) readAt(t *testing.T, off, n int64, content uint64) {
	t.Helper()
	n = min(n, int64(len(a.file))-off)
	p := make([]byte, n)
	if err := a.read(t.Context(), p, off, int64(len(a.file)), content); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p, a.file[off:off+n]) {
		t.Fatalf("wrong bytes at %d", off)
	}
}

func (a *aheadTest) counts() (loads, direct, held int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.loads), a.direct, a.held
}

func TestSequentialReadsAreFetchedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAheadTest(40<<20+5000, 8<<20)
		a.delay = time.Millisecond
		start := time.Now()
		for off := int64(0); off < int64(len(a.file)); off += 128 << 10 {
			a.readAt(t, off, 128<<10, 1)
		}
		synctest.Wait()
		loads, direct, _ := a.counts()
		if loads != 40 || direct > 8 { // all but the first piece, each once
			t.Errorf("%d pieces, %d direct reads", loads, direct)
		}
		if a.most > 9 || a.most < 8 {
			t.Errorf("at most %d MiB were held, the window is 8", a.most)
		}
		if took := time.Since(start); took > 20*time.Millisecond {
			t.Errorf("40 MiB of 1 ms each took %v", took)
		}
		a.close()
		if _, _, held := a.counts(); held != 0 {
			t.Errorf("%d pieces leaked", held)
		}
	})
}

func TestReadsOutOfOrderAreAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // as the kernel's read-ahead sends them
		a := newAheadTest(20<<20, 4<<20)
		a.delay = time.Millisecond
		var wg sync.WaitGroup
		rnd := rand.New(rand.NewPCG(1, 2))
		const batch = 512 << 10
		for off := int64(0); off < int64(len(a.file)); off += batch {
			for _, k := range rnd.Perm(4) {
				wg.Go(func() { a.readAt(t, off+int64(k)*batch/4, batch/4, 1) })
			}
			wg.Wait()
		}
		if loads, direct, _ := a.counts(); loads < 18 || direct > 12 {
			t.Errorf("%d pieces, %d direct reads", loads, direct)
		}
		a.close()
		synctest.Wait()
		if _, _, held := a.counts(); held != 0 {
			t.Errorf("%d pieces leaked", held)
		}
	})
}

func TestRandomReadsGoStraightThrough(t *testing.T) {
	a := newAheadTest(64<<20, 8<<20)
	rnd := rand.New(rand.NewPCG(3, 4))
	for k := range 200 {
		a.readAt(t, int64(k%2)<<25+rnd.Int64N(25<<20), 4096, 1)
	}
	if loads, direct, _ := a.counts(); loads > 20 || direct < 180 {
		t.Errorf("%d pieces, %d direct reads", loads, direct)
	}
}

func TestSeekAndChangeDropPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAheadTest(64<<20, 8<<20)
		stream := func(from int64, content uint64) {
			for k := range int64(12) {
				a.readAt(t, from+k<<18, 1<<18, content)
			}
			synctest.Wait()
		}
		stream(0, 1)
		if _, _, held := a.counts(); held == 0 {
			t.Fatal("nothing was read ahead")
		}
		a.readAt(t, 40<<20, 100, 1) // a seek
		synctest.Wait()
		if _, _, held := a.counts(); held != 0 {
			t.Errorf("%d pieces outlived a seek", held)
		}
		stream(40<<20, 1)
		copy(a.file[40<<20:], noise(2, 20<<20)) // somebody writes
		a.readAt(t, 43<<20, 1<<18, 2)           // checks the bytes
		stream(43<<20+1<<18, 2)
		a.close()
		synctest.Wait()
		if _, _, held := a.counts(); held != 0 {
			t.Errorf("%d pieces leaked", held)
		}
	})
}

func TestReadAheadWithoutMemory(t *testing.T) {
	a := newAheadTest(16<<20, 8<<20)
	a.limit = 2
	for off := int64(0); off < 16<<20; off += 1 << 18 {
		a.readAt(t, off, 1<<18, 1)
	}
	if a.most > 2 {
		t.Errorf("%d pieces were held with memory for 2", a.most)
	}
}

func TestFailedReadAheadIsNoFailedRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAheadTest(16<<20, 8<<20)
		a.readAt(t, 0, 1<<18, 1)
		a.mu.Lock()
		a.fail = errors.New("a replica died")
		a.mu.Unlock()
		p := make([]byte, 1<<18)
		if err := a.read(t.Context(), p, 1<<18, 16<<20, 1); err == nil { // the direct read of it fails
			t.Error("no error")
		}
		synctest.Wait()
		a.mu.Lock()
		a.fail = nil
		a.mu.Unlock()
		for off := int64(1 << 19); off < 4<<20; off += 1 << 18 {
			a.readAt(t, off, 1<<18, 1)
		}
		a.close()
		synctest.Wait()
		if _, _, held := a.counts(); held != 0 {
			t.Errorf("%d pieces leaked", held)
		}
	})
}

// TestReadAheadOverChunks reads a file front to back: every byte is fetched
// about once, and from all chunkservers.
func TestReadAheadOverChunks(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	f, data := written(t, cluster, 24<<20)
	before := 0
	for _, n := range cluster.Nodes {
		before += n.Count("read")
	}
	got := make([]byte, 0, len(data))
	for off := 0; off < len(data); off += 128 << 10 {
		p := make([]byte, 128<<10)
		if _, err := f.ReadAt(p, int64(off)); err != nil {
			t.Fatal(err)
		}
		got = append(got, p...)
	}
	if !bytes.Equal(got, data) {
		t.Fatalf("first difference at %d", differ(got, data))
	}
	reads := -before
	for _, n := range cluster.Nodes {
		reads += n.Count("read")
		if n.Count("read") == 0 {
			t.Errorf("node %d was not read from", n.ID)
		}
	}
	if reads > 24+8+hedgeBurst { // a frame a piece, the first piece in requests of its own, and races
		t.Errorf("%d frames for 24 pieces", reads)
	}
	must(t, f.Close())
	eventually(t, "all memory", func() bool {
		if !f.ino.c.readBudget.TryAcquire(DefaultReadBuffer) {
			return false
		}
		f.ino.c.readBudget.Release(DefaultReadBuffer)
		return true
	})
}

func TestNoReadAhead(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	f, data := written(t, cluster, 3<<20, func(o *Options) { o.ReadAhead = -1 })
	if f.ahead != nil {
		t.Error("it reads ahead")
	}
	if got := contents(t, f); !bytes.Equal(got, data) {
		t.Error("wrong bytes")
	}
}

// TestReadersAndWriters runs everything at once on one inode, for the race detector.
func TestReadersAndWriters(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster, func(o *Options) { o.WriteBuffer = minBuffer })
	f := create(t, c, "/f")
	var wg sync.WaitGroup
	const size = 6 << 20
	data := noise(1, size)
	mustWrite(t, f, data, 0)
	for worker := range 4 {
		wg.Go(func() {
			g := open(t, c, "/f", unix.O_RDWR)
			rnd := rand.New(rand.NewPCG(uint64(worker), 5))
			for range 60 {
				off := rnd.IntN(size)
				n := min(1+rnd.IntN(200000), size-off)
				switch rnd.IntN(4) {
				case 0, 1: // writes put the same bytes there again
					mustWrite(t, g, data[off:off+n], int64(off))
				case 2:
					p := make([]byte, n)
					if _, err := g.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, data[off:off+n]) {
						t.Errorf("wrong bytes at %d: %v", off, err)
					}
				default:
					if err := g.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	must(t, f.Close())
	checkReplicas(t, cluster, c, data)
}
