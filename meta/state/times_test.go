package state

import (
	"math"
	"testing"
)

// Any time of 64-bit seconds comes back as it was set, whichever times it stands beside,
// also from a checkpoint, and takes no room once it is gone.
func TestTimesOf64Bits(t *testing.T) {
	const first, last = stampEpoch, stampEpoch + stampSeconds - 1
	near := []Time{{}, {1_700_000_000, 999_999_999}, {first, 0}, {first, 1}, {last, 999_999_999}}
	far := []Time{{first - 1, 999_999_999}, {last + 1, 0}, {math.MinInt64, 5}, {math.MaxInt64, 999_999_999}}
	f := newFixture(t)
	ino := f.make(root, top, "f", typeFile|0o644)
	blocks := f.arena.liveBlocks()
	all := append(near, far...)
	for _, atime := range all {
		for _, mtime := range all {
			f.ok(&SetAttr{Header: f.header(root), Inode: ino, Set: SetAtime | SetMtime, Atime: atime, Mtime: mtime})
			if a := f.attr(ino); a.Atime != atime || a.Mtime != mtime || a.Ctime != f.now {
				t.Fatalf("set to %v and %v at %v: %+v", atime, mtime, f.now, a)
			}
		}
		reload(t, f.State)
	}
	f.ok(&SetAttr{Header: f.header(root), Inode: ino, Set: SetAtime | SetMtime, Atime: near[0], Mtime: near[1]})
	if n := f.arena.liveBlocks(); n != blocks {
		t.Errorf("%d blocks in use, %d before", n, blocks)
	}
	f.now = far[1] // a master's clock may be as wrong as any
	made := f.make(root, top, "g", typeFile|0o644)
	if a := f.attr(made); a.Btime != f.now || a.Mtime != f.now {
		t.Errorf("made at %v: %+v", f.now, a)
	}
	f.ok(&Unlink{Header: f.header(root), Parent: top, Name: []byte("g")})
	reload(t, f.State)
}
