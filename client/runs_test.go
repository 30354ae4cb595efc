package client

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestPieceEnd(t *testing.T) {
	for _, c := range []struct{ off, want int64 }{
		{0, pieceSize}, {1, pieceSize}, {pieceSize - 1, pieceSize}, {pieceSize, 2 * pieceSize}, {63<<20 + 5, 64 << 20},
	} {
		if got := pieceEnd(c.off); got != c.want {
			t.Errorf("pieceEnd(%d) = %d, want %d", c.off, got, c.want)
		}
	}
}

func TestBufferSize(t *testing.T) {
	for _, c := range []struct {
		n    int64
		want int
	}{{1, 4 << 10}, {4 << 10, 4 << 10}, {4<<10 + 1, 16 << 10}, {100 << 10, 256 << 10}, {pieceSize, pieceSize}} {
		if got := bufferSize(c.n); got != c.want {
			t.Errorf("bufferSize(%d) = %d, want %d", c.n, got, c.want)
		}
	}
}

func TestRunTakes(t *testing.T) {
	r := &run{off: 100, n: 50, buf: make([]byte, 4096)}
	for _, c := range []struct {
		off  int64
		n    int
		want bool
	}{
		{150, 10, true},                // goes on
		{100, 50, true},                // again
		{120, 100, true},               // overlaps the end
		{99, 1, false},                 // before
		{151, 1, false},                // a gap
		{150, pieceSize - 150, true},   // to the end of the piece
		{150, pieceSize - 149, false},  // beyond it
		{150 + pieceSize, 1, false},    // another piece
		{100, pieceSize - 100, true},   // all of it
		{0, 200, false},                // around
		{pieceSize - 1, 1, false},      // far
		{149, 1, true}, {100, 0, true}, // borders
		{150, 0, true}, {151, 0, false}, //
		{1 << 40, 10, false}, {0, 1, false}, //
	} {
		if got := r.takes(c.off, c.n); got != c.want {
			t.Errorf("takes(%d, %d) = %v", c.off, c.n, got)
		}
	}
	if (&run{off: 0, n: 10}).takes(10, 1) {
		t.Error("a run of zeros took bytes in")
	}
}

func TestRunCut(t *testing.T) {
	for _, c := range []struct {
		end  int64
		left bool
		n    int64
	}{{200, true, 50}, {150, true, 50}, {149, true, 49}, {101, true, 1}, {100, false, 0}, {0, false, 0}, {-5, false, 0}} {
		r := &run{off: 100, n: 50, buf: make([]byte, 64)}
		if left := r.cut(c.end); left != c.left || r.n != c.n {
			t.Errorf("cut(%d) = %v, n %d", c.end, left, r.n)
		}
	}
}

// TestGatheringKeepsOrder gathers random writes into runs as write.go does and
// plays the runs back in order: the result must be that of the writes.
func TestGatheringKeepsOrder(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			bytesOf := rand.NewChaCha8([32]byte{byte(seed)})
			const size = 4 * pieceSize
			want, got := make([]byte, size), make([]byte, size)
			var gathering *run
			seal := func() {
				if r := gathering; r != nil {
					copy(got[r.off:], r.buf[:r.n])
					gathering = nil
				}
			}
			next := int64(0)
			for range 2000 {
				off := next // mostly sequential
				if rnd.IntN(3) == 0 {
					off = rnd.Int64N(size)
				}
				n := min(rnd.Int64N(1<<(1+rnd.IntN(20))), pieceEnd(off)-off, size-off)
				if n <= 0 {
					next = 0
					continue
				}
				p := make([]byte, n)
				bytesOf.Read(p)
				copy(want[off:], p)
				if gathering == nil || !gathering.takes(off, len(p)) || !gathering.fits(off+n) {
					seal()
					gathering = &run{off: off, buf: make([]byte, bufferSize(n))}
				}
				gathering.put(p, off)
				if !gathering.covers(off, n) || !gathering.overlaps(off, n) {
					t.Fatal("a run does not know what it holds")
				}
				if back := make([]byte, n); true {
					if gathering.read(back, off); !bytes.Equal(back, p) {
						t.Fatal("a run gives other bytes back")
					}
				}
				if gathering.end() > pieceEnd(gathering.off) {
					t.Fatal("a run left its piece")
				}
				if gathering.full() {
					seal()
				}
				next = (off + n) % size
			}
			seal()
			if !bytes.Equal(got, want) {
				t.Fatalf("first difference at %d", differ(got, want))
			}
		})
	}
}
