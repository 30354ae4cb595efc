package state

import (
	"fmt"
	"strings"
	"testing"

	"github.com/distrifs/distrifs/proto"
)

const top = proto.RootInode

func TestMakeGivesTypesModesAndOwners(t *testing.T) {
	f := newFixture(t)
	shared := f.make(root, top, "shared", typeDir|0o2777)
	f.ok(&SetAttr{Header: f.header(root), Inode: shared, Set: SetMode | SetGID, Mode: 0o2777, GID: 500})
	open := f.make(root, top, "open", typeDir|0o777)
	for _, c := range []struct {
		parent   proto.InodeID
		cred     Cred
		mode     uint32
		wantMode uint32
		wantGID  uint32
	}{
		{open, alice, 0o644, typeFile | 0o644, 100},
		{open, alice, typeFile | 0o6755, typeFile | 0o6755, 100},
		{open, alice, typeDir | 0o7755, typeDir | 0o1755, 100},
		{open, alice, typeLink | 0o600, typeLink | 0o777, 100},
		{open, alice, typeFIFO | 0o600, typeFIFO | 0o600, 100},
		{open, alice, typeSocket | 0o600, typeSocket | 0o600, 100},
		{open, root, typeChar | 0o600, typeChar | 0o600, 0},
		{shared, alice, typeDir | 0o755, typeDir | 0o2755, 500},
		{shared, alice, typeFile | 0o2755, typeFile | 0o755, 500}, // not in the group
		{shared, alice, typeFile | 0o2744, typeFile | 0o2744, 500},
		{shared, root, typeFile | 0o2755, typeFile | 0o2755, 500},
	} {
		name := fmt.Sprintf("%v-%o-%d", c.parent, c.mode, c.cred.UID)
		a := f.attr(f.make(c.cred, c.parent, name, c.mode))
		if a.Mode != c.wantMode || a.GID != c.wantGID || a.UID != c.cred.UID {
			t.Errorf("mode %o became %o, group %d, owner %d; want %o, %d", c.mode, a.Mode, a.GID, a.UID, c.wantMode, c.wantGID)
		}
	}
}

func TestMakeMarksTimesAndCounts(t *testing.T) {
	f := newFixture(t)
	before := f.attr(top)
	dir := f.make(root, top, "d", typeDir|0o755)
	parent, a := f.attr(top), f.attr(dir)
	if a.Nlink != 2 || parent.Nlink != before.Nlink+1 {
		t.Errorf("nlink %d, parent's %d", a.Nlink, parent.Nlink)
	}
	if a.Atime != f.now || a.Mtime != f.now || a.Ctime != f.now || a.Btime != f.now {
		t.Errorf("times %+v", a)
	}
	if parent.Mtime != f.now || parent.Ctime != f.now || parent.Atime != before.Atime || parent.Change <= before.Change {
		t.Errorf("parent's times %+v", parent)
	}
	link := f.ok(&Make{Header: f.header(root), Parent: dir, Name: []byte("l"), Mode: typeLink, Target: []byte("/some/where")})
	if target, kind := f.ReadLink(link.Inode); kind != proto.OK || string(target) != "/some/where" || link.Attr.Size != 11 {
		t.Errorf("target %q, size %d, %v", target, link.Attr.Size, kind)
	}
	device := f.ok(&Make{Header: f.header(root), Parent: dir, Name: []byte("c"), Mode: typeChar | 0o600, Rdev: 259})
	if device.Attr.Rdev != 259 {
		t.Errorf("rdev %d", device.Attr.Rdev)
	}
	if got := f.attr(dir); got.Size != 2 || got.Nlink != 2 {
		t.Errorf("directory %+v", got)
	}
}

func TestMakeErrors(t *testing.T) {
	f := newFixture(t)
	private := f.make(root, top, "private", typeDir|0o700)
	readable := f.make(root, top, "readable", typeDir|0o755)
	f.make(root, readable, "taken", typeFile)
	file := f.make(root, top, "file", typeFile)
	gone := f.make(root, top, "gone", typeDir|0o777)
	f.ok(&Unlink{Header: f.header(root), Parent: top, Name: []byte("gone"), Dir: true})
	long := strings.Repeat("n", 256)
	for _, c := range []struct {
		want proto.Kind
		make Make
		cred Cred
		name string
	}{
		{proto.Access, Make{Parent: private}, alice, "x"},
		{proto.Access, Make{Parent: readable}, alice, "x"},
		{proto.Exists, Make{Parent: readable}, alice, "taken"}, // before the permission to write
		{proto.NotDir, Make{Parent: file}, root, "x"},
		{proto.Stale, Make{Parent: 4711}, root, "x"},
		{proto.Stale, Make{Parent: top | 1<<32}, root, "x"},
		{proto.NotFound, Make{Parent: gone}, root, "x"},
		{proto.NameTooLong, Make{Parent: top}, root, long},
		{proto.NotFound, Make{Parent: top}, root, ""},
		{proto.Exists, Make{Parent: top}, root, "."},
		{proto.Exists, Make{Parent: top}, root, ".."},
		{proto.Invalid, Make{Parent: top}, root, "a/b"},
		{proto.Invalid, Make{Parent: top}, root, "a\x00b"},
		{proto.Invalid, Make{Parent: top, Mode: 0o070000}, root, "x"},
		{proto.NotPermitted, Make{Parent: f.make(root, top, "open", typeDir|0o777), Mode: typeBlock}, alice, "x"},
		{proto.NotFound, Make{Parent: top, Mode: typeLink}, root, "x"},
		{proto.NameTooLong, Make{Parent: top, Mode: typeLink, Target: make([]byte, proto.MaxSymlink+1)}, root, "x"},
		{proto.Invalid, Make{Parent: top, Mode: typeLink, Target: []byte("a\x00")}, root, "x"},
		{proto.Invalid, Make{Parent: top, Mode: typeDir, Chain: []proto.NodeID{1, 2}}, root, "x"},
		{proto.TooFewReplicas, Make{Parent: top, Chain: []proto.NodeID{1}}, root, "x"},
		{proto.Invalid, Make{Parent: top, Chain: []proto.NodeID{1, 9}}, root, "x"},
		{proto.Invalid, Make{Parent: top, Chain: []proto.NodeID{1, 1}}, root, "x"},
		{proto.Invalid, Make{Parent: top, Chain: []proto.NodeID{0, 1}}, root, "x"},
	} {
		c.make.Header, c.make.Name = f.header(c.cred), []byte(c.name)
		f.want(c.want, &c.make)
	}
	f.ok(&Make{Header: f.header(root), Parent: top, Name: []byte(long[:255])})
}

func TestLookup(t *testing.T) {
	f := newFixture(t)
	dir := f.make(root, top, "d", typeDir|0o700)
	file := f.make(root, dir, "f", typeFile|0o644)
	for _, c := range []struct {
		parent proto.InodeID
		name   string
		cred   Cred
		want   proto.InodeID
		kind   proto.Kind
	}{
		{dir, "f", root, file, proto.OK},
		{dir, ".", root, dir, proto.OK},
		{dir, "..", root, top, proto.OK},
		{top, "..", root, top, proto.OK},
		{dir, "f", alice, 0, proto.Access},
		{dir, "g", root, 0, proto.NotFound},
		{file, "g", root, 0, proto.NotDir},
		{99, "g", root, 0, proto.Stale},
		{dir, strings.Repeat("n", 256), root, 0, proto.NameTooLong},
	} {
		if a, kind := f.Lookup(c.parent, []byte(c.name), c.cred); kind != c.kind || a.Inode != c.want {
			t.Errorf("lookup %v/%q: %v, %v; want %v, %v", c.parent, c.name, a.Inode, kind, c.want, c.kind)
		}
	}
}

func TestLink(t *testing.T) {
	f := newFixture(t)
	dir := f.make(root, top, "d", typeDir|0o755)
	file := f.make(root, top, "f", typeFile|0o644)
	before := f.attr(file)
	link := func(ino, parent proto.InodeID, name string) *Link {
		return &Link{Header: f.header(root), Inode: ino, Parent: parent, Name: []byte(name)}
	}
	r := f.ok(link(file, dir, "g"))
	if r.Attr.Nlink != 2 || r.Attr.Ctime != f.now || r.Attr.Mtime != before.Mtime || f.lookup(dir, "g") != file {
		t.Errorf("attributes %+v", r.Attr)
	}
	f.want(proto.Exists, link(file, dir, "g"))
	f.want(proto.NotPermitted, link(dir, top, "e"))
	f.want(proto.Stale, link(1234, top, "e"))
	f.want(proto.Exists, link(file, top, "."))
	denied := link(file, dir, "h")
	denied.Cred = alice
	f.want(proto.Access, denied)
	f.ok(&Unlink{Header: f.header(root), Parent: top, Name: []byte("f")})
	last := f.ok(&Unlink{Header: f.header(root), Parent: dir, Name: []byte("g")})
	if last.Inode != file || last.Nlink != 0 {
		t.Errorf("unlink: %+v", last)
	}
	f.want(proto.NotFound, link(file, top, "again")) // an orphan gets no name
	file = f.make(root, top, "many", typeFile)
	f.inodes.mut(file.Slot()).nlink = MaxLinks
	r = f.Apply(0, link(file, dir, "one more"))
	if r.Kind != proto.TooManyLinks {
		t.Errorf("link beyond the limit: %v", r.Kind)
	}
}

func TestUnlinkAndRmdir(t *testing.T) {
	f := newFixture(t)
	sticky := f.make(root, top, "sticky", typeDir|0o1777)
	dir := f.make(alice, sticky, "dir", typeDir|0o755)
	f.make(alice, sticky, "file", typeFile|0o644)
	f.make(alice, dir, "inner", typeDir|0o755)
	shut := f.make(root, top, "shut", typeDir|0o755)
	f.make(root, shut, "x", typeFile)
	for _, c := range []struct {
		want   proto.Kind
		cred   Cred
		parent proto.InodeID
		name   string
		rmdir  bool
	}{
		{proto.NotPermitted, bob, sticky, "file", false},
		{proto.NotPermitted, bob, sticky, "dir", true},
		{proto.IsDir, alice, sticky, "dir", false},
		{proto.NotDir, alice, sticky, "file", true},
		{proto.NotEmpty, alice, sticky, "dir", true},
		{proto.NotFound, alice, sticky, "nothing", false},
		{proto.Access, alice, shut, "x", false},
		{proto.Invalid, root, dir, ".", true},
		{proto.NotEmpty, root, dir, "..", true},
		{proto.IsDir, root, dir, ".", false},
		{proto.OK, root, dir, "inner", true},
		{proto.OK, alice, sticky, "dir", true},
		{proto.OK, alice, sticky, "file", false},
	} {
		f.want(c.want, &Unlink{Header: f.header(c.cred), Parent: c.parent, Name: []byte(c.name), Dir: c.rmdir})
	}
	a := f.attr(dir)
	if parent, _ := f.Parent(dir); a.Nlink != 0 || a.Ctime == a.Btime || parent != dir {
		t.Errorf("a removed directory: %+v, parent %v", a, parent)
	}
	if p := f.attr(sticky); p.Nlink != 2 || p.Size != 0 || p.Mtime != f.now {
		t.Errorf("its parent: %+v", p)
	}
	var orphans []proto.InodeID
	f.EachOrphan(func(ino proto.InodeID) bool { orphans = append(orphans, ino); return true })
	if len(orphans) != 3 || f.Stats().Orphans != 3 {
		t.Errorf("orphans %v", orphans)
	}
	f.ok(&Reap{Inodes: append(orphans, top, sticky, 12345)})
	if _, kind := f.State.Attr(dir); kind != proto.Stale || f.Stats().Orphans != 0 {
		t.Errorf("a reaped directory: %v", kind)
	}
	f.ok(&Reap{Inodes: orphans})
	if again := f.make(root, top, "again", typeFile); again.Generation() == 0 {
		t.Errorf("inode %v: a slot came back without a new generation", again)
	}
	reload(t, f.State)
}

func TestRename(t *testing.T) {
	f := newFixture(t)
	a := f.make(root, top, "a", typeDir|0o777)
	b := f.make(root, a, "b", typeDir|0o777)
	c := f.make(root, b, "c", typeDir|0o777)
	file := f.make(root, a, "file", typeFile|0o644)
	other := f.make(root, b, "other", typeFile|0o644)
	f.ok(&Link{Header: f.header(root), Inode: file, Parent: b, Name: []byte("same")})
	theirs := f.make(root, top, "theirs", typeDir|0o1777)
	f.make(alice, theirs, "hers", typeFile)
	f.make(alice, theirs, "fixed", typeDir|0o555)
	f.make(bob, a, "his", typeDir|0o755)
	move := func(p proto.InodeID, name string, np proto.InodeID, newName string) *Rename {
		return &Rename{Header: f.header(root), Parent: p, Name: []byte(name), NewParent: np, NewName: []byte(newName)}
	}
	by := func(cred Cred, r *Rename) *Rename { r.Cred = cred; return r }
	noReplace := func(r *Rename) *Rename { r.NoReplace = true; return r }
	exchange := func(r *Rename) *Rename { r.Exchange = true; return r }
	for _, tc := range []struct {
		want proto.Kind
		c    *Rename
	}{
		{proto.NotFound, move(a, "nothing", b, "x")},
		{proto.Invalid, move(top, "a", c, "x")},
		{proto.Invalid, move(top, "a", a, "x")},
		{proto.NotEmpty, move(b, "c", top, "a")},
		{proto.Invalid, exchange(move(b, "c", top, "a"))},
		{proto.Invalid, exchange(noReplace(move(a, "file", b, "other")))},
		{proto.Exists, noReplace(move(a, "file", b, "other"))},
		{proto.Exists, noReplace(move(a, "file", b, "same"))},
		{proto.NotFound, exchange(move(a, "file", b, "x"))},
		{proto.IsDir, move(a, "file", b, "c")},
		{proto.NotDir, move(b, "c", a, "file")},
		{proto.NotEmpty, move(top, "theirs", top, "a")},
		{proto.Busy, move(a, ".", b, "x")},
		{proto.Busy, move(a, "file", b, "..")},
		{proto.NameTooLong, move(a, "file", b, strings.Repeat("n", 256))},
		{proto.NotDir, move(a, "file", other, "x")},
		{proto.Stale, move(a, "file", 999, "x")},
		{proto.NotPermitted, by(bob, move(theirs, "hers", a, "x"))},
		{proto.NotPermitted, by(bob, move(a, "file", theirs, "hers"))},
		{proto.Access, by(alice, move(theirs, "fixed", a, "x"))}, // ".." of a directory she may not write
		{proto.Access, by(alice, exchange(move(theirs, "hers", a, "his")))},
		{proto.Access, by(bob, move(top, "a", a, "y"))},
	} {
		if tc.c.Cred.UID == bob.UID && string(tc.c.NewName) == "y" {
			tc.c.NewParent = theirs // out of "/", which he may not write
		}
		f.want(tc.want, tc.c)
	}

	before := f.Hash()
	if r := f.ok(move(a, "file", b, "same")); r.Inode != file || r.Replaced != 0 || f.Hash() != before {
		t.Error("a rename among names of one inode did something")
	}
	r := f.ok(move(a, "file", b, "other"))
	if r.Replaced != other || r.Nlink != 0 || f.lookup(b, "other") != file || f.lookup(a, "file") != 0 {
		t.Errorf("rename over a file: %+v", r)
	}
	for _, ino := range []proto.InodeID{a, b} {
		if got := f.attr(ino); got.Mtime != f.now || got.Ctime != f.now {
			t.Errorf("directory %v not marked", ino)
		}
	}
	if got := f.attr(file); got.Ctime != f.now || got.Mtime == f.now {
		t.Error("the file's ctime alone is to be marked")
	}
	if got := f.attr(other); got.Ctime != f.now || got.Nlink != 0 {
		t.Error("the replaced file's ctime is to be marked")
	}
	f.ok(move(b, "c", top, "c"))
	if parent, _ := f.Parent(c); parent != top || f.attr(b).Nlink != 2 || f.attr(top).Nlink != 5 {
		t.Errorf("moved directory: parent %v, nlink %d and %d", parent, f.attr(b).Nlink, f.attr(top).Nlink)
	}
	r = f.ok(exchange(move(top, "c", b, "other")))
	if f.lookup(top, "c") != file || f.lookup(b, "other") != c || r.Replaced != file || f.attr(b).Nlink != 3 || f.attr(top).Nlink != 4 {
		t.Errorf("exchange of a directory and a file: %+v", r)
	}
	r = f.ok(move(b, "other", a, "his"))
	if r.Replaced == 0 || f.attr(r.Replaced).Nlink != 0 || f.attr(a).Nlink != 4 {
		t.Errorf("rename over an empty directory: %+v", r)
	}
	reload(t, f.State)
}

func TestReadDirUnderChurn(t *testing.T) {
	f := newFixture(t)
	dir := f.make(root, top, "d", typeDir|0o777)
	const stay = 500
	for i := range stay {
		f.make(root, dir, fmt.Sprint("stays", i), typeFile)
		f.make(root, dir, fmt.Sprint("goes", i), typeFile)
	}
	seen := map[string]int{}
	gone := 0
	for cookie, last := uint64(0), ""; ; {
		n := 0
		kind := f.ReadDir(dir, cookie, func(e DirEntry) bool {
			if e.Cookie <= cookie || e.Cookie < 3 || e.Cookie >= 1<<63 || e.Type != typeFile {
				t.Fatalf("entry %+v behind %d", e, cookie)
			}
			cookie, last = e.Cookie, string(e.Name)
			seen[last]++
			n++
			return n < 7
		})
		if kind != proto.OK {
			t.Fatal(kind)
		}
		if n == 0 {
			break
		}
		if strings.HasPrefix(last, "goes") { // the cursor's own entry (L17)
			f.ok(&Unlink{Header: f.header(root), Parent: dir, Name: []byte(last)})
			gone++
		}
		f.make(root, dir, fmt.Sprint("new", cookie), typeFile)
	}
	for i := range stay {
		if n := seen[fmt.Sprint("stays", i)]; n != 1 {
			t.Errorf("stays%d was seen %d times", i, n)
		}
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%s was seen %d times", name, n)
		}
	}
	if gone == 0 {
		t.Error("no cursor lost its entry")
	}
}

// Names whose hashes agree in all 55 bits share a cookie but for the discriminator.
func TestCookiesOfCollidingNames(t *testing.T) {
	for _, bits := range []uint{0, 2, 8} {
		f := newFixture(t)
		f.hash = func(seed uint64, name []byte) uint64 {
			return hashName(seed, name) >> 1 << (64 - bits) >> 1 // few values, 0 among them
		}
		dir := f.make(root, top, "d", typeDir|0o777)
		cookies := map[string]uint64{}
		byCookie := map[uint64]string{}
		list := func() {
			f.ReadDir(dir, 0, func(e DirEntry) bool {
				name := string(e.Name)
				if was, ok := cookies[name]; ok && was != e.Cookie {
					t.Fatalf("the cookie of %s changed", name)
				}
				if other, ok := byCookie[e.Cookie]; ok && other != name || e.Cookie < 3 {
					t.Fatalf("%s and %s have the cookie %d", name, other, e.Cookie)
				}
				cookies[name], byCookie[e.Cookie] = e.Cookie, name
				return true
			})
		}
		for i := range 200 {
			f.make(root, dir, fmt.Sprint(i), typeFile)
		}
		list()
		for i := range 200 {
			if f.lookup(dir, fmt.Sprint(i)) == 0 {
				t.Fatalf("%d bits: name %d is not found", bits, i)
			}
			if i%3 == 0 {
				f.ok(&Unlink{Header: f.header(root), Parent: dir, Name: []byte(fmt.Sprint(i))})
				delete(byCookie, cookies[fmt.Sprint(i)])
			}
		}
		for i := range 200 {
			if found := f.lookup(dir, fmt.Sprint(i)) != 0; found == (i%3 == 0) {
				t.Fatalf("%d bits: name %d: %v", bits, i, found)
			}
		}
		f.make(root, dir, "fills a gap", typeFile)
		list()
		if len(byCookie) != 200-67+1 {
			t.Fatalf("%d entries", len(byCookie))
		}
	}
}

func TestTooManyCollidingNames(t *testing.T) {
	f := newFixture(t)
	f.hash = func(uint64, []byte) uint64 { return 1 << 20 }
	dir := f.make(root, top, "d", typeDir|0o777)
	for i := range 256 {
		f.make(root, dir, fmt.Sprint(i), typeFile)
	}
	f.want(proto.NoSpace, &Make{Header: f.header(root), Parent: dir, Name: []byte("256")})
	f.ok(&Unlink{Header: f.header(root), Parent: dir, Name: []byte("77")})
	f.make(root, dir, "256", typeFile)
}

func TestTablesFull(t *testing.T) {
	f := newFixture(t)
	f.make(root, top, "a", typeFile)
	f.limits.slots = f.inodes.length
	f.want(proto.NoSpace, &Make{Header: f.header(root), Parent: top, Name: []byte("b")})
	f.ok(&Unlink{Header: f.header(root), Parent: top, Name: []byte("a")})
}
