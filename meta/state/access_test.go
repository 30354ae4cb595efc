package state

import (
	"testing"

	"github.com/distrifs/distrifs/proto"
)

func TestAccessMovesNothingButTheTime(t *testing.T) {
	f := newFixture(t)
	ino, gone := f.make(root, top, "f", typeFile|0o644), f.make(root, top, "gone", typeFile|0o644)
	f.ok(&Unlink{Header: f.header(root), Parent: top, Name: []byte("gone")})
	f.ok(&Reap{Inodes: []proto.InodeID{gone}})
	before := f.attr(ino)
	later := Time{Sec: before.Atime.Sec + 5, Nsec: 7}
	f.ok(&Access{Reads: []Read{{gone, later}, {ino, later}}})
	want := before
	want.Atime = later
	if got := f.attr(ino); got != want {
		t.Errorf("after a read: %+v, want %+v", got, want)
	}
	f.ok(&Access{Reads: []Read{{ino, before.Atime}}})
	if got := f.attr(ino); got != want {
		t.Errorf("an earlier read that was reported late: %+v", got)
	}
}

func TestAccessDue(t *testing.T) {
	f := newFixture(t)
	ino := f.make(root, top, "f", typeFile|0o644)
	born := f.attr(ino).Atime
	after := func(sec int64) Time { return Time{Sec: born.Sec + sec, Nsec: born.Nsec} }
	due := func(want bool, what string, at Time) {
		t.Helper()
		if f.AccessDue(Read{ino, at}) != want {
			t.Errorf("%s: due is %v", what, !want)
		}
	}
	due(true, "never read", after(10))
	f.ok(&Access{Reads: []Read{{ino, after(10)}}})
	due(false, "read since", after(20))
	due(false, "read almost a day ago", after(10+accessDay-1))
	due(true, "read a day ago", after(10+accessDay))
	f.now = after(30)
	f.ok(&SetAttr{Header: f.header(root), Inode: ino, Set: SetMode, Mode: 0o600})
	due(true, "changed since", after(40))
	due(false, "changed since, but the read is older than the last", after(5))
	if f.AccessDue(Read{ino + 1<<32, after(50)}) {
		t.Error("due for an inode that is gone")
	}
}
