package state

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/distrifs/distrifs/meta/acl"
	"github.com/distrifs/distrifs/proto"
)

// The entries of the tests.
func owner(perm uint16) acl.Entry            { return acl.Entry{Tag: acl.UserObj, Perm: perm, ID: acl.NoID} }
func user(id uint32, perm uint16) acl.Entry  { return acl.Entry{Tag: acl.User, Perm: perm, ID: id} }
func owning(perm uint16) acl.Entry           { return acl.Entry{Tag: acl.GroupObj, Perm: perm, ID: acl.NoID} }
func group(id uint32, perm uint16) acl.Entry { return acl.Entry{Tag: acl.Group, Perm: perm, ID: id} }
func mask(perm uint16) acl.Entry             { return acl.Entry{Tag: acl.Mask, Perm: perm, ID: acl.NoID} }
func other(perm uint16) acl.Entry            { return acl.Entry{Tag: acl.Other, Perm: perm, ID: acl.NoID} }

func (f *fixture) setACL(cred Cred, ino proto.InodeID, name string, entries ...acl.Entry) *SetXattr {
	return &SetXattr{Header: f.header(cred), Inode: ino, Name: []byte(name), Value: acl.List(entries).Encode(nil)}
}

// wantACL checks a list of an inode; no entries: it has none.
func (f *fixture) wantACL(what string, ino proto.InodeID, name string, entries ...acl.Entry) {
	f.t.Helper()
	got, kind := f.GetXattr(ino, []byte(name), bob)
	switch want := acl.List(entries).Encode(nil); {
	case entries == nil && kind != proto.NoAttr:
		f.t.Errorf("%s: %s is %v, %v; want none", what, name, got, kind)
	case entries != nil && !bytes.Equal(got, want):
		f.t.Errorf("%s: %s is %v, %v; want %v", what, name, got, kind, want)
	}
}

func (f *fixture) wantMode(what string, ino proto.InodeID, mode uint32) {
	f.t.Helper()
	if got := f.attr(ino).Mode & modePerm; got != mode {
		f.t.Errorf("%s: mode %o, want %o", what, got, mode)
	}
}

// Whatever changes the mode or the access ACL changes the other: acl(5),
// "correspondence between ACL entries and file permission bits".
func TestModeAndAccessACLAgree(t *testing.T) {
	f := newFixture(t)
	home := f.make(root, top, "home", typeDir|0o777)
	ino := f.make(alice, home, "file", typeFile|0o644)

	f.ok(f.setACL(alice, ino, accessACL, owner(7), user(1001, 6), owning(5), mask(6), other(0)))
	f.wantMode("an ACL was set", ino, 0o760)
	f.ok(&SetAttr{Header: f.header(alice), Inode: ino, Set: SetMode, Mode: 0o641})
	f.wantACL("chmod", ino, accessACL, owner(6), user(1001, 6), owning(5), mask(4), other(1))
	f.wantMode("chmod", ino, 0o641)
	reload(t, f.State)

	f.ok(f.setACL(alice, ino, accessACL, owner(7), owning(1), other(2)))
	f.wantACL("an ACL that the mode can say", ino, accessACL)
	f.wantMode("an ACL that the mode can say", ino, 0o712)

	// A mask alone is more than a mode can say.
	f.ok(f.setACL(alice, ino, accessACL, owner(7), owning(7), mask(1), other(2)))
	f.wantACL("a mask alone", ino, accessACL, owner(7), owning(7), mask(1), other(2))
	f.ok(&RemoveXattr{Header: f.header(alice), Inode: ino, Name: []byte(accessACL)})
	f.wantACL("removed", ino, accessACL)
	f.wantMode("removed", ino, 0o712)

	f.ok(f.setACL(alice, ino, accessACL, owner(7), owning(7), mask(1), other(2)))
	f.ok(f.setACL(alice, ino, accessACL))
	f.wantACL("set to an empty list", ino, accessACL)
	reload(t, f.State)
}

func TestWhoMaySetACLs(t *testing.T) {
	f := newFixture(t)
	home := f.make(root, top, "home", typeDir|0o777)
	file := f.make(alice, home, "file", typeFile|0o666)
	dir := f.make(alice, home, "dir", typeDir|0o777)
	link := f.make(alice, home, "link", typeLink)
	good := []acl.Entry{owner(7), user(1001, 6), owning(5), mask(6), other(0)}
	for _, c := range []struct {
		want proto.Kind
		cred Cred
		ino  proto.InodeID
		name string
		list []acl.Entry
	}{
		{proto.OK, alice, file, accessACL, good},
		{proto.OK, root, file, accessACL, good},
		{proto.OK, alice, dir, defaultACL, good},
		{proto.NotPermitted, bob, file, accessACL, good}, // who may write may not do this
		{proto.NotPermitted, bob, dir, defaultACL, good},
		{proto.Access, alice, file, defaultACL, good},
		{proto.NotSupported, root, link, accessACL, good},
		{proto.NotSupported, root, file, "system.posix_acl", good},
		{proto.Invalid, alice, file, accessACL, good[:3]},
		{proto.Stale, root, 4711, accessACL, good},
	} {
		f.want(c.want, f.setACL(c.cred, c.ino, c.name, c.list...))
	}
	f.want(proto.NotPermitted, &RemoveXattr{Header: f.header(bob), Inode: file, Name: []byte(accessACL)})
	f.want(proto.NoAttr, &RemoveXattr{Header: f.header(alice), Inode: dir, Name: []byte(accessACL)})
	if _, kind := f.GetXattr(link, []byte(accessACL), root); kind != proto.NotSupported {
		t.Errorf("the ACL of a symlink: %v", kind)
	}
	again := f.setACL(alice, file, accessACL, good...)
	again.Create = true
	f.want(proto.Exists, again)
}

// Set-group-id goes when somebody outside the group sets an ACL, as it does by chmod.
func TestSettingAnACLClearsSetGroupID(t *testing.T) {
	f := newFixture(t)
	home := f.make(root, top, "home", typeDir|0o777)
	list := []acl.Entry{owner(7), user(1001, 6), owning(5), mask(5), other(0)}
	for _, c := range []struct {
		cred Cred
		gid  uint32
		mode uint32
	}{
		{alice, 100, 0o6750}, {alice, 200, 0o6750}, {alice, 999, 0o4750}, {root, 999, 0o6750},
	} {
		what := fmt.Sprintf("by %d, group %d", c.cred.UID, c.gid)
		ino := f.make(alice, home, what, typeFile|0o644)
		f.ok(&SetAttr{Header: f.header(root), Inode: ino, Set: SetGID, GID: c.gid})
		f.ok(&SetAttr{Header: f.header(root), Inode: ino, Set: SetMode, Mode: 0o6755})
		f.ok(f.setACL(c.cred, ino, accessACL, list...))
		f.wantMode(what, ino, c.mode)
	}
}

// The master checks what the kernel checks.
func TestAccessByACL(t *testing.T) {
	f := newFixture(t)
	home := f.make(root, top, "home", typeDir|0o777)
	dir := f.make(alice, home, "dir", typeDir|0o700)
	file := f.make(alice, dir, "file", typeFile|0o600)
	carol := Cred{UID: 1002, GID: 300}
	may := func(what string, ino proto.InodeID, cred Cred, mask uint32, want proto.Kind) {
		t.Helper()
		if kind := f.Access(ino, cred, mask); kind != want {
			t.Errorf("%s: access of %d for %d: %v, want %v", what, cred.UID, mask, kind, want)
		}
	}
	if _, kind := f.Lookup(dir, []byte("file"), bob); kind != proto.Access {
		t.Errorf("lookup without an ACL: %v", kind)
	}
	f.ok(f.setACL(alice, dir, accessACL, owner(7), user(1001, 5), owning(0), group(300, 7), mask(7), other(0)))
	f.ok(f.setACL(alice, file, accessACL, owner(0), user(1001, 6), owning(0), group(300, 6), mask(4), other(7)))
	if _, kind := f.Lookup(dir, []byte("file"), bob); kind != proto.OK {
		t.Errorf("lookup by a named user: %v", kind)
	}
	may("a named user", file, bob, mayRead, proto.OK)
	may("a named user under the mask", file, bob, mayWrite, proto.Access)
	may("a named group", file, carol, mayRead, proto.OK)
	may("others", file, Cred{UID: 7, GID: 7}, mayWrite, proto.OK)
	may("the owner", file, alice, mayRead, proto.Access)
	may("root", file, root, mayRead|mayWrite, proto.OK)

	f.want(proto.Access, &Make{Header: f.header(bob), Parent: dir, Name: []byte("new")})
	f.make(carol, dir, "new", typeFile)
	f.want(proto.Access, &Unlink{Header: f.header(bob), Parent: dir, Name: []byte("new")})
	f.ok(&Unlink{Header: f.header(carol), Parent: dir, Name: []byte("new")})
	f.want(proto.Access, &SetAttr{Header: f.header(bob), Inode: file, Set: SetSize})
	f.want(proto.Access, &SetXattr{Header: f.header(bob), Inode: file, Name: []byte("user.x")})
	f.ok(&SetAttr{Header: f.header(alice), Inode: file, Set: SetMode, Mode: 0o060}) // the mask is 6 now
	f.ok(&SetAttr{Header: f.header(bob), Inode: file, Set: SetSize})
	f.ok(&SetXattr{Header: f.header(bob), Inode: file, Name: []byte("user.x")})
}

// acl(5), "object creation and default ACLs": the umask counts only where there is no
// default ACL.
func TestInheritance(t *testing.T) {
	f := newFixture(t)
	home := f.make(root, top, "home", typeDir|0o777)
	short := []acl.Entry{owner(7), owning(7), other(5)}
	long := []acl.Entry{owner(7), user(1001, 7), owning(5), mask(7), other(5)}
	for i, c := range []struct {
		defaults    []acl.Entry
		mode, umask uint32
		want        uint32
		access      []acl.Entry
	}{
		{nil, typeFile | 0o666, 0, 0o666, nil},
		{nil, typeFile | 0o666, 0o022, 0o644, nil},
		{nil, typeDir | 0o777, 0o027, 0o750, nil},
		{nil, typeFIFO | 0o777, 0o7777, 0o000, nil},
		{nil, typeFile | 0o4777, 0o077, 0o4700, nil}, // the umask has permission bits only
		{nil, typeLink | 0o777, 0o077, 0o777, nil},
		{short, typeFile | 0o666, 0o077, 0o664, nil},
		{short, typeDir | 0o777, 0o077, 0o775, nil},
		{short, typeLink | 0o777, 0o077, 0o777, nil},
		{long, typeFile | 0o666, 0o077, 0o664, []acl.Entry{owner(6), user(1001, 7), owning(5), mask(6), other(4)}},
		{long, typeDir | 0o700, 0o077, 0o700, []acl.Entry{owner(7), user(1001, 7), owning(5), mask(0), other(0)}},
		{long, typeSocket | 0o777, 0o777, 0o775, []acl.Entry{owner(7), user(1001, 7), owning(5), mask(7), other(5)}},
		{long, typeLink | 0o777, 0o077, 0o777, nil},
	} {
		what := fmt.Sprintf("case %d", i)
		dir := f.make(alice, home, what, typeDir|0o777)
		if c.defaults != nil {
			f.ok(f.setACL(alice, dir, defaultACL, c.defaults...))
		}
		f.wantMode("a default ACL does not concern the directory", dir, 0o777)
		made := &Make{Header: f.header(bob), Parent: dir, Name: []byte("new"), Mode: c.mode, Umask: c.umask}
		if c.mode&typeMask == typeLink {
			made.Target = []byte("target")
		}
		r := f.ok(made)
		f.wantMode(what, r.Inode, c.want)
		if c.mode&typeMask == typeLink {
			continue // has no ACL to read
		}
		f.wantACL(what, r.Inode, accessACL, c.access...)
		if c.mode&typeMask == typeDir {
			f.wantACL(what, r.Inode, defaultACL, c.defaults...)
		} else {
			f.wantACL(what, r.Inode, defaultACL)
		}
		if c.mode&typeMask == typeFile {
			r := f.ok(&MakeUnnamed{Header: f.header(bob), Parent: dir, Mode: c.mode &^ typeMask, Umask: c.umask})
			f.wantMode(what+", without a name", r.Inode, c.want)
			f.wantACL(what+", without a name", r.Inode, accessACL, c.access...)
		}
		if r.Attr.Ctime != r.Attr.Btime {
			t.Errorf("%s: made at %v, changed at %v", what, r.Attr.Btime, r.Attr.Ctime)
		}
	}
	reload(t, f.State)
}

// Removing the default ACL brings the umask back; what was made keeps its lists.
func TestDefaultACLRemoved(t *testing.T) {
	f := newFixture(t)
	dir := f.make(alice, f.make(root, top, "home", typeDir|0o777), "dir", typeDir|0o777)
	list := []acl.Entry{owner(7), user(1001, 7), owning(5), mask(7), other(5)}
	f.ok(f.setACL(alice, dir, defaultACL, list...))
	sub := f.make(alice, dir, "sub", typeDir|0o777)
	f.ok(&RemoveXattr{Header: f.header(alice), Inode: dir, Name: []byte(defaultACL)})
	r := f.ok(&Make{Header: f.header(alice), Parent: dir, Name: []byte("new"), Mode: 0o666, Umask: 0o022})
	f.wantMode("made after that", r.Inode, 0o644)
	f.wantACL("made before that", sub, defaultACL, list...)
	for _, name := range []string{"sub", "new"} {
		f.ok(&Unlink{Header: f.header(root), Parent: dir, Name: []byte(name), Dir: name == "sub"})
	}
	f.ok(&Reap{Inodes: []proto.InodeID{sub, r.Inode}})
	reload(t, f.State) // and nothing leaked
}

// A file loses its capabilities with its owner, its size, and when it is written to.
func TestCapabilitiesAreDropped(t *testing.T) {
	f := newFixture(t)
	home := f.make(root, top, "home", typeDir|0o777)
	for i, c := range []struct {
		set  SetAttr
		kept bool
		mode uint32 // before: 6755
	}{
		{SetAttr{Set: SetMode, Mode: 0o700}, true, 0o700},
		{SetAttr{Set: SetAtimeNow | SetMtimeNow}, true, 0o6755},
		{SetAttr{Set: SetUID, UID: 5}, false, 0o755},
		{SetAttr{Set: SetGID, GID: 5}, false, 0o755},
		{SetAttr{Set: SetSize}, false, 0o6755}, // by root
		{SetAttr{Set: DropCapability}, false, 0o6755},
		{SetAttr{Set: DropSetIDs}, true, 0o755},
		{SetAttr{Set: DropSetIDs | DropCapability}, false, 0o755},
	} {
		what := fmt.Sprintf("case %d", i)
		ino := f.make(alice, home, what, typeFile|0o6755)
		f.ok(&SetXattr{Header: f.header(root), Inode: ino, Name: capabilityName, Value: []byte("all")})
		c.set.Header, c.set.Inode = f.header(root), ino
		f.ok(&c.set)
		f.wantMode(what, ino, c.mode)
		if _, kind := f.GetXattr(ino, capabilityName, root); (kind == proto.OK) != c.kept {
			t.Errorf("%s: its capabilities: %v", what, kind)
		}
	}
	dir := f.make(alice, home, "dir", typeDir|0o755)
	f.ok(&SetXattr{Header: f.header(root), Inode: dir, Name: capabilityName, Value: []byte("all")})
	f.ok(&SetAttr{Header: f.header(root), Inode: dir, Set: SetUID, UID: 5})
	if _, kind := f.GetXattr(dir, capabilityName, root); kind != proto.OK {
		t.Errorf("a directory's: %v", kind)
	}
	f.want(proto.Invalid, &SetAttr{Header: f.header(root), Inode: dir, Set: DropCapability})
	f.want(proto.Access, &SetAttr{Header: f.header(bob), Inode: f.make(alice, home, "file", typeFile|0o644), Set: DropSetIDs})
	reload(t, f.State)
}

// A list that an inode cannot have is damage in a checkpoint.
func TestWrongACLsInACheckpointAreRefused(t *testing.T) {
	good := acl.List{owner(6), user(1001, 4), owning(4), mask(4), other(4)}
	for name, c := range map[string]struct {
		kind uint32
		attr string
		list acl.List
		want proto.Kind
	}{
		"right":                    {typeFile, accessACL, good, proto.OK},
		"a file's default":         {typeFile, defaultACL, good, proto.Damaged},
		"a directory's default":    {typeDir, defaultACL, good, proto.OK},
		"minimal":                  {typeFile, accessACL, acl.FromMode(0o644), proto.Damaged},
		"a minimal default":        {typeDir, defaultACL, acl.FromMode(0o644), proto.OK},
		"another mode":             {typeFile, accessACL, acl.List{owner(7), user(1001, 4), owning(4), mask(4), other(4)}, proto.Damaged},
		"not sorted":               {typeFile, accessACL, acl.List{owner(6), user(9, 4), user(8, 4), owning(4), mask(4), other(4)}, proto.Damaged},
		"names without a mask":     {typeFile, accessACL, acl.List{owner(6), user(8, 4), owning(4), other(4)}, proto.Damaged},
		"an empty list":            {typeFile, accessACL, nil, proto.Damaged},
		"a symlink's":              {typeLink, accessACL, good, proto.Damaged},
		"a default without others": {typeDir, defaultACL, good[:4], proto.Damaged},
	} {
		f := newFixture(t)
		ino := f.make(root, top, "x", c.kind|0o644)
		f.putXattr(ino.Slot(), []byte(c.attr), c.list.Encode(nil))
		_, err := Load(bytes.NewReader(checkpointOf(t, f.State)))
		if proto.KindOf(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
