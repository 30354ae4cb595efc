package state

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/distrifs/distrifs/proto"
)

func TestChmodAndChown(t *testing.T) {
	f := newFixture(t)
	home := f.make(root, top, "home", typeDir|0o777)
	n := 0
	for _, c := range []struct {
		want     proto.Kind
		cred     Cred
		mode     uint32 // of alice's file before
		set      SetAttr
		wantMode uint32
	}{
		{proto.OK, alice, 0o644, SetAttr{Set: SetMode, Mode: 0o4755}, 0o4755},
		{proto.OK, alice, 0o644, SetAttr{Set: SetMode, Mode: 0o2755}, 0o2755},
		{proto.OK, root, 0o644, SetAttr{Set: SetMode, Mode: typeDir | 0o600}, 0o600}, // the type stays
		{proto.NotPermitted, bob, 0o666, SetAttr{Set: SetMode, Mode: 0o600}, 0},
		{proto.OK, alice, 0o6755, SetAttr{Set: SetGID, GID: 200}, 0o755},
		{proto.OK, alice, 0o6745, SetAttr{Set: SetGID, GID: 200}, 0o2745}, // no group execution: stays
		{proto.OK, root, 0o6755, SetAttr{Set: SetUID, UID: 5}, 0o755},
		{proto.OK, alice, 0o6755, SetAttr{Set: SetUID, UID: 1000}, 0o755},
		{proto.NotPermitted, alice, 0o644, SetAttr{Set: SetUID, UID: 1001}, 0},
		{proto.NotPermitted, alice, 0o644, SetAttr{Set: SetGID, GID: 101}, 0},
		{proto.NotPermitted, bob, 0o644, SetAttr{Set: SetGID, GID: 101}, 0},
		{proto.Invalid, root, 0o644, SetAttr{Set: attrMaskEnd}, 0},
	} {
		n++
		ino := f.make(alice, home, fmt.Sprint(n), typeFile|c.mode)
		c.set.Header, c.set.Inode = f.header(c.cred), ino
		before := f.attr(ino)
		r := f.want(c.want, &c.set)
		if c.want != proto.OK {
			continue
		}
		if r.Attr.Mode != typeFile|c.wantMode || r.Attr.Ctime != f.now || r.Attr.Mtime != before.Mtime || r.Attr.Change <= before.Change {
			t.Errorf("case %d: %o, want %o; ctime %v", n, r.Attr.Mode, c.wantMode, r.Attr.Ctime)
		}
	}
	// A group that the owner is not in: the bit cannot be set.
	ino := f.make(alice, home, "foreign", typeFile|0o644)
	f.ok(&SetAttr{Header: f.header(root), Inode: ino, Set: SetGID, GID: 999})
	if r := f.ok(&SetAttr{Header: f.header(alice), Inode: ino, Set: SetMode, Mode: 0o2755}); r.Attr.Mode != typeFile|0o755 {
		t.Errorf("mode %o", r.Attr.Mode)
	}
	dir := f.make(alice, home, "dir", typeDir|0o755)
	f.ok(&SetAttr{Header: f.header(alice), Inode: dir, Set: SetMode, Mode: 0o2755})
	if r := f.ok(&SetAttr{Header: f.header(alice), Inode: dir, Set: SetGID, GID: 200}); r.Attr.Mode != typeDir|0o2755 {
		t.Errorf("a directory's mode %o", r.Attr.Mode)
	}
	f.want(proto.NotSupported, &SetAttr{Header: f.header(root), Inode: f.make(root, top, "l", typeLink), Set: SetMode})
	f.want(proto.Stale, &SetAttr{Header: f.header(root), Inode: 4711, Set: SetMode})
}

func TestUtimens(t *testing.T) {
	f := newFixture(t)
	ino := f.make(alice, f.make(root, top, "home", typeDir|0o777), "f", typeFile|0o666)
	then := Time{Sec: 5, Nsec: 6}
	const both = SetAtimeNow | SetMtimeNow
	for _, c := range []struct {
		want proto.Kind
		cred Cred
		set  AttrMask
	}{
		{proto.OK, alice, SetAtime | SetMtime},
		{proto.OK, alice, SetAtimeNow},
		{proto.OK, root, SetAtime | SetMtimeNow},
		{proto.OK, bob, both}, // may write
		{proto.NotPermitted, bob, SetAtime},
		{proto.NotPermitted, bob, SetMtimeNow},
		{proto.NotPermitted, bob, SetAtime | SetMtimeNow},
	} {
		before := f.attr(ino)
		r := f.want(c.want, &SetAttr{Header: f.header(c.cred), Inode: ino, Set: c.set, Atime: then, Mtime: then})
		if c.want != proto.OK {
			continue
		}
		wanted := func(explicit, now AttrMask, was Time) Time {
			switch {
			case c.set&explicit != 0:
				return then
			case c.set&now != 0:
				return f.now
			}
			return was
		}
		if a := r.Attr; a.Atime != wanted(SetAtime, SetAtimeNow, before.Atime) ||
			a.Mtime != wanted(SetMtime, SetMtimeNow, before.Mtime) || a.Ctime != f.now || a.Btime != before.Btime {
			t.Errorf("set %b: %+v", c.set, a)
		}
	}
	f.ok(&SetAttr{Header: f.header(alice), Inode: ino, Set: SetMode, Mode: 0o644})
	f.want(proto.Access, &SetAttr{Header: f.header(bob), Inode: ino, Set: both})
}

func TestTruncate(t *testing.T) {
	f := newFixture(t)
	home := f.make(root, top, "home", typeDir|0o777)
	ino := f.make(alice, home, "f", typeFile|0o6755)
	assigned := f.ok(&AssignChunks{Header: f.header(alice), Inode: ino, Chains: [][]proto.NodeID{{1, 2, 3}, {2, 3, 4}, {3, 4}}})
	f.ok(&Commit{Header: f.header(root), Inode: ino, Size: 3 * testChunk, Chunks: []proto.ChunkID{assigned.Chunks[0].ID}})
	size := func(cred Cred, n uint64, more AttrMask) *SetAttr {
		return &SetAttr{Header: f.header(cred), Inode: ino, Set: SetSize | more, Size: n}
	}
	f.want(proto.Access, size(bob, 0, 0))
	f.want(proto.FileTooBig, size(alice, 1<<63, 0))
	r := f.ok(size(alice, testChunk+1, 0))
	if len(r.Freed) != 1 || r.Freed[0].Index != 2 || r.Freed[0].ID != assigned.Chunks[2].ID || r.Attr.Size != testChunk+1 {
		t.Errorf("truncate: %+v", r)
	}
	if r.Attr.Mode != typeFile|0o755 || r.Attr.Mtime != f.now || r.Attr.Ctime != f.now {
		t.Errorf("truncate by the owner: mode %o, %+v", r.Attr.Mode, r.Attr)
	}
	if r = f.ok(size(alice, testChunk, 0)); len(r.Freed) != 1 || r.Freed[0].Index != 1 {
		t.Errorf("truncate to a chunk's end: %+v", r.Freed)
	}
	if r = f.ok(size(bob, 10*testChunk, SetOpened)); len(r.Freed) != 0 || r.Attr.Size != 10*testChunk || r.Attr.Blocks != testChunk/512 {
		t.Errorf("extended: %+v", r)
	}
	if r = f.ok(size(root, 0, 0)); len(r.Freed) != 1 || f.Stats().Chunks != 0 || f.Stats().Bytes != 0 {
		t.Errorf("emptied: %+v, %+v", r, f.Stats())
	}
	f.want(proto.IsDir, &SetAttr{Header: f.header(root), Inode: home, Set: SetSize})
	f.want(proto.Invalid, &SetAttr{Header: f.header(root), Inode: f.make(root, top, "p", typeFIFO), Set: SetSize})
}

func TestAccess(t *testing.T) {
	f := newFixture(t)
	ino := f.make(alice, f.make(root, top, "home", typeDir|0o777), "f", typeFile|0o640)
	member := Cred{UID: 7, GID: 8, Groups: []uint32{9, 100}}
	for _, c := range []struct {
		cred Cred
		mask uint32
		want proto.Kind
	}{
		{alice, 6, proto.OK}, {alice, 1, proto.Access},
		{member, 4, proto.OK}, {member, 2, proto.Access},
		{bob, 4, proto.Access}, {bob, 0, proto.OK},
		{root, 6, proto.OK}, {root, 1, proto.Access}, // nobody may execute it
	} {
		if kind := f.Access(ino, c.cred, c.mask); kind != c.want {
			t.Errorf("access of %d, %d: %v, want %v", c.cred.UID, c.mask, kind, c.want)
		}
	}
	if kind := f.Access(top, root, 1); kind != proto.OK {
		t.Error("root may search any directory")
	}
}

func TestXattrs(t *testing.T) {
	f := newFixture(t)
	ino := f.make(alice, f.make(root, top, "home", typeDir|0o777), "f", typeFile|0o644)
	link := f.make(root, top, "l", typeLink)
	set := func(cred Cred, ino proto.InodeID, name string, value []byte) *SetXattr {
		return &SetXattr{Header: f.header(cred), Inode: ino, Name: []byte(name), Value: value}
	}
	big := bytes.Repeat([]byte("value"), MaxXattrValue/5)
	before := f.attr(ino)
	r := f.ok(set(alice, ino, "user.b", []byte("1")))
	if r.Attr.Ctime != f.now || r.Attr.Mtime != before.Mtime || r.Attr.Atime != before.Atime {
		t.Errorf("times %+v", r.Attr)
	}
	f.ok(set(alice, ino, "user.c", nil))
	f.ok(set(alice, ino, "user.a", big))
	f.ok(set(alice, ino, "user.b", []byte("22")))
	f.ok(set(root, ino, "trusted.t", []byte("t")))
	f.ok(set(root, ino, "security.s", []byte("s")))
	for name, want := range map[string][]byte{"user.a": big, "user.b": []byte("22"), "user.c": {}} {
		if got, kind := f.GetXattr(ino, []byte(name), bob); kind != proto.OK || !bytes.Equal(got, want) {
			t.Errorf("%s = %d bytes, %v", name, len(got), kind)
		}
	}
	names := func(cred Cred) string {
		list, _ := f.ListXattr(ino, cred)
		return string(bytes.Join(list, []byte(" ")))
	}
	if got := names(alice); got != "security.s user.a user.b user.c" {
		t.Errorf("alice sees %q", got)
	}
	if got := names(root); got != "security.s trusted.t user.a user.b user.c" {
		t.Errorf("root sees %q", got)
	}
	with := func(c *SetXattr, create, replace bool) *SetXattr { c.Create, c.Replace = create, replace; return c }
	f.want(proto.Exists, with(set(alice, ino, "user.b", nil), true, false))
	f.want(proto.NoAttr, with(set(alice, ino, "user.x", nil), false, true))
	f.want(proto.Access, set(bob, ino, "user.x", nil))
	f.want(proto.NotPermitted, set(alice, ino, "trusted.x", nil))
	f.want(proto.NotPermitted, set(alice, ino, "security.x", nil))
	f.want(proto.NotSupported, set(root, ino, "system.x", nil))
	f.want(proto.Invalid, set(root, ino, "user.", nil))
	f.want(proto.NotSupported, set(root, ino, "user", nil))
	f.want(proto.Exists, with(set(alice, ino, "user.b", nil), true, true))
	f.want(proto.NoAttr, with(set(alice, ino, "user.x", nil), true, true))
	f.want(proto.NotPermitted, set(root, link, "user.x", nil))
	f.want(proto.Range, set(root, ino, "", nil))
	f.want(proto.Range, set(root, ino, "user."+string(make([]byte, 251)), nil))
	f.want(proto.TooBig, set(alice, ino, "user.x", make([]byte, MaxXattrValue+1)))
	if _, kind := f.GetXattr(ino, []byte("trusted.t"), alice); kind != proto.NoAttr {
		t.Errorf("alice reads a trusted attribute: %v", kind)
	}
	reload(t, f.State)
	for _, name := range []string{"user.a", "user.c", "security.s"} {
		f.ok(&RemoveXattr{Header: f.header(root), Inode: ino, Name: []byte(name)})
	}
	f.want(proto.NoAttr, &RemoveXattr{Header: f.header(root), Inode: ino, Name: []byte("user.a")})
	f.want(proto.Access, &RemoveXattr{Header: f.header(bob), Inode: ino, Name: []byte("user.b")})
	if got := names(root); got != "trusted.t user.b" {
		t.Errorf("left: %q", got)
	}
	for i := 0; ; i++ {
		c := set(root, ino, fmt.Sprint("user.n", i), big)
		if r := f.Apply(0, c); r.Kind == proto.NoSpace && i >= MaxXattrTotal/MaxXattrValue-1 {
			break
		} else if r.Kind != proto.OK {
			t.Fatalf("attribute %d: %v", i, r.Kind)
		}
	}
	reload(t, f.State)
}

func TestNumbersGrowBeyondTheirRecord(t *testing.T) {
	f := newFixture(t)
	ino := f.make(root, top, "f", typeFile)
	for _, edge := range []uint64{1 << 16, 1 << 32, 1 << 47} {
		f.putChange(ino.Slot(), edge-1)
		for want := range uint64(3) {
			r := f.ok(&SetAttr{Header: f.header(root), Inode: ino, Set: SetAtimeNow})
			if r.Attr.Change != edge+want {
				t.Fatalf("change %d, want %d", r.Attr.Change, edge+want)
			}
		}
		if a, _ := reload(t, f.State).Attr(ino); a.Change != edge+2 {
			t.Errorf("change after a checkpoint: %d, want %d", a.Change, edge+2)
		}
	}
	for _, size := range []uint64{1<<32 - 1, 1 << 32, MaxFileSize, 5, 0} {
		if r := f.ok(&SetAttr{Header: f.header(root), Inode: ino, Set: SetSize, Size: size}); r.Attr.Size != size || f.Stats().Bytes != size {
			t.Fatalf("size %d and %d in all, want %d", r.Attr.Size, f.Stats().Bytes, size)
		}
		if a, _ := reload(t, f.State).Attr(ino); a.Size != size {
			t.Errorf("size after a checkpoint: %d, want %d", a.Size, size)
		}
	}
}
