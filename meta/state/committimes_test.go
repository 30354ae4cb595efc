package state

import "testing"

// A commit leaves the change time that the writer has shown since he wrote.
func TestTimesOfACommit(t *testing.T) {
	f := newFixture(t)
	ino := f.make(root, top, "f", typeFile|0o644)
	made := f.attr(ino).Ctime
	after := func(sec int64) Time { return Time{Sec: made.Sec + sec, Nsec: 7} }
	for _, c := range []struct {
		what                    string
		now, mtime, wantM, want int64 // seconds after the file was made
	}{
		{"written before it was committed", 10, 5, 5, 5},
		{"nothing was written since", 20, 5, 5, 5},
		{"by a clock that is behind", 30, -100, -100, 5},
		{"by a clock that is ahead", 40, 100, 100, 40},
	} {
		f.ok(&Commit{Header: Header{Now: after(c.now)}, Inode: ino, Size: 10, Mtime: after(c.mtime)})
		if a := f.attr(ino); a.Mtime != after(c.wantM) || a.Ctime != after(c.want) {
			t.Errorf("%s: mtime %v, ctime %v; made at %v", c.what, a.Mtime, a.Ctime, made)
		}
	}
	f.ok(&SetAttr{Header: Header{Now: after(50)}, Inode: ino, Set: SetMtime, Mtime: after(-500)})
	f.ok(&Commit{Header: Header{Now: after(60)}, Inode: ino, Size: 20, Mtime: after(-500)})
	if a := f.attr(ino); a.Mtime != after(-500) || a.Ctime != after(50) {
		t.Errorf("after a time was set: mtime %v, ctime %v", a.Mtime, a.Ctime)
	}
	f.ok(&Commit{Header: Header{Now: after(70)}, Inode: ino, Size: 20, Mtime: after(45)})
	if a := f.attr(ino); a.Mtime != after(45) || a.Ctime != after(50) {
		t.Errorf("written before attributes changed: mtime %v, ctime %v", a.Mtime, a.Ctime)
	}
}
