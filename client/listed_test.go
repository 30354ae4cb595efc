package client

import (
	"fmt"
	"slices"
	"testing"

	"github.com/distrifs/distrifs/proto"
)

func mkdir(t *testing.T, c *Client, path string) proto.InodeID {
	t.Helper()
	must(t, c.MkdirAll(t.Context(), path, 0o755))
	attr, err := c.Stat(t.Context(), path)
	must(t, err)
	return attr.Inode
}

func chmod(t *testing.T, c *Client, path string, mode uint32) {
	t.Helper()
	attr, err := c.Stat(t.Context(), path)
	must(t, err)
	_, err = c.SetAttr(t.Context(), root, attr.Inode, SetAttr{Mode: &mode})
	must(t, err)
}

// names lists a directory as the kernel does, with attributes.
func names(t *testing.T, c *Client, dir proto.InodeID, attrs bool) (list []string) {
	t.Helper()
	page, err := c.ReadDir(t.Context(), Cred{}, dir, 0, attrs)
	must(t, err)
	if !page.End {
		t.Fatal("a page that is not the last")
	}
	for _, e := range page.Entries {
		name := e.Name
		if attrs {
			if e.Attr == nil {
				t.Fatalf("no attributes of %s", name)
			}
			name = fmt.Sprintf("%s %o", name, e.Attr.Mode&0o7777)
		}
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func wantNames(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
}

// G3: a listing that is kept is as right as a new one.
func TestADirectoryIsListedAgainWithoutAQuestion(t *testing.T) {
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	d := mkdir(t, a, "/d")
	mkdir(t, a, "/d/e")
	list := func() []string { return names(t, b, d, true) }
	wantNames(t, list(), "e 755")
	costs(t, cluster, "the same again", func() { wantNames(t, list(), "e 755") }, nil)
	costs(t, cluster, "names alone", func() { wantNames(t, names(t, b, d, false), "e") }, nil)

	mkdir(t, a, "/d/f")
	wantNames(t, list(), "e 755", "f 755")
	mkdir(t, b, "/d/g")
	wantNames(t, list(), "e 755", "f 755", "g 755")
	must(t, b.Rename(t.Context(), root, d, "e", d, "h", 0))
	wantNames(t, list(), "f 755", "g 755", "h 755")
	chmod(t, a, "/d/h", 0o700)
	wantNames(t, list(), "f 755", "g 755", "h 700")
	must(t, b.Remove(t.Context(), "/d/f"))
	must(t, a.Remove(t.Context(), "/d/g"))
	wantNames(t, list(), "h 700")
	costs(t, cluster, "the same again", func() { wantNames(t, list(), "h 700") }, nil)
}

func TestNoListingForWhomItIsForbidden(t *testing.T) {
	cluster := leasing(t)
	c := connect(t, cluster, checked)
	d := mkdir(t, c, "/d")
	chmod(t, c, "/d", 0o711)
	names(t, c, d, false)
	before := cluster.Count("ReadDir")
	_, _ = c.ReadDir(t.Context(), Cred{UID: 7, GID: 7}, d, 0, false)
	if cluster.Count("ReadDir") == before {
		t.Error("the master was not asked whether somebody else may list it")
	}
}

// forest makes two levels of folders, and gives them: the upper ones first.
func forest(t *testing.T, c *Client) (dirs []proto.InodeID) {
	t.Helper()
	for i := range 9 {
		dirs = append(dirs, mkdir(t, c, fmt.Sprint("/", i)))
	}
	for i := range 9 {
		for j := range 3 {
			dirs = append(dirs, mkdir(t, c, fmt.Sprint("/", i, "/", j)))
		}
	}
	return dirs
}

func TestAWalkListsManyFoldersAtOnce(t *testing.T) {
	cluster := leasing(t)
	dirs := forest(t, connect(t, cluster, checked))
	c := connect(t, cluster, checked)
	price(t, cluster, "a walk through 36 folders", func() {
		wantNames(t, names(t, c, c.root, false), "0", "1", "2", "3", "4", "5", "6", "7", "8")
		for i := range 9 {
			wantNames(t, names(t, c, dirs[i], false), "0", "1", "2")
			for j := range 3 {
				wantNames(t, names(t, c, dirs[9+3*i+j], false))
			}
		}
	}, map[string]int{"ReadDir": 8})
}

// G4: what was listed with another folder goes when somebody else changes it, and what somebody else
// is at work in is not told.
func TestFoldersListedWithOthersAreRight(t *testing.T) {
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	dirs := forest(t, a)
	names(t, b, b.root, false)
	wantNames(t, names(t, b, dirs[0], false), "0", "1", "2")
	wantNames(t, names(t, b, dirs[1], false), "0", "1", "2")
	price(t, cluster, "one that was listed with another", func() {
		wantNames(t, names(t, b, dirs[2], false), "0", "1", "2")
	}, nil)
	mkdir(t, a, "/3/new")
	wantNames(t, names(t, b, dirs[3], false), "0", "1", "2", "new")
	must(t, a.Remove(t.Context(), "/2/1"))
	wantNames(t, names(t, b, dirs[2], false), "0", "2")
}

// Above lists no folder for longer than its listing is kept.
func TestListingsAreForgotten(t *testing.T) {
	cluster := leasing(t)
	c := connect(t, cluster, checked)
	forest(t, c)
	names(t, c, c.root, false)
	above := func() int {
		c.leases.mu.Lock()
		defer c.leases.mu.Unlock()
		return len(c.leases.above)
	}
	if got := above(); got != 9 {
		t.Errorf("%d folders in a listing, want 9", got)
	}
	other := connect(t, cluster, checked)
	mkdir(t, other, "/more")
	if got := above(); got != 0 {
		t.Errorf("%d folders in a listing that is gone", got)
	}
}

// Who lists folders here and there is not taken for one who goes through a tree: of what was listed
// with others in vain there is an end.
func TestNoWalk(t *testing.T) {
	cluster := leasing(t)
	a := connect(t, cluster, checked)
	upper, some := []proto.InodeID{}, []proto.InodeID{}
	for i := range 81 {
		if i%9 == 0 {
			upper = append(upper, mkdir(t, a, fmt.Sprintf("/%d", i/9)))
		}
		dir := mkdir(t, a, fmt.Sprintf("/%d/%d", i/9, i%9))
		for j := range 9 {
			mkdir(t, a, fmt.Sprintf("/%d/%d/%d", i/9, i%9, j))
		}
		if i%9 < 2 {
			some = append(some, dir)
		}
	}
	b := connect(t, cluster, checked)
	names(t, b, b.root, false)
	given, anew := 0, false
	for _, dir := range append(upper, some...) {
		names(t, b, dir, false)
		w := b.leases.walk
		if w.given-w.used > walkMost {
			t.Fatalf("%+v", w)
		}
		given, anew = w.given, anew || w.given < given
	}
	if !anew {
		t.Error("it was not begun anew")
	}
}
