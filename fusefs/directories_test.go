package fusefs

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

func (f *fixture) opendir() uint64 {
	var out fuse.OpenOut
	f.want("opendir", f.OpenDir(nil, &fuse.OpenIn{InHeader: header(1)}, &out), 0)
	return out.Fh
}

// list reads a directory to its end in answers of some size.
func (f *fixture) list(fh, offset uint64, size int) (names []string, offsets []uint64) {
	f.t.Helper()
	for {
		list := fuse.NewDirEntryList(make([]byte, size), offset)
		f.want("readdir", f.ReadDir(nil, &fuse.ReadIn{Fh: fh, Offset: offset}, list), 0)
		entries, err := fuse.ParseDirEntries(list.Bytes())
		if err != nil {
			f.t.Fatal(err)
		}
		if len(entries) == 0 {
			return names, offsets
		}
		for _, e := range entries {
			names, offsets, offset = append(names, e.Name), append(offsets, e.Off), e.Off
		}
	}
}

// plus makes one READDIRPLUS request.
func (f *fixture) plus(fh, offset uint64, size int) ([]fuse.DirEntry, []fuse.EntryOut) {
	f.t.Helper()
	list := fuse.NewDirEntryList(make([]byte, size), offset)
	f.want("readdirplus", f.ReadDirPlus(nil, &fuse.ReadIn{Fh: fh, Offset: offset}, list), 0)
	entries, outs, err := fuse.ParseDirLookupEntries(list.Bytes())
	if err != nil {
		f.t.Fatal(err)
	}
	return entries, outs
}

func (f *fixture) fill(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("name-%03d", i))
		f.create(names[i], unix.O_RDWR)
	}
	return names
}

// A directory that is open is listed by whoever opened it, whatever its mode has become.
func TestAnOpenDirectoryStaysOpen(t *testing.T) {
	f := newFixture(t)
	f.fill(3)
	var out fuse.OpenOut
	in := &fuse.OpenIn{InHeader: header(1)}
	in.Uid = 1000
	f.want("opendir", f.OpenDir(nil, in, &out), 0)
	if names, _ := f.list(out.Fh, 0, 4096); len(names) != 5 || f.m.lastCred.UID != 0 {
		t.Errorf("%q, listed by user %d", names, f.m.lastCred.UID)
	}
}

func TestReadDirAcrossPages(t *testing.T) {
	f := newFixture(t)
	f.m.page = 7
	want := append([]string{".", ".."}, f.fill(50)...)
	for _, size := range []int{64, 100, 400, 4096, 1 << 16} {
		fh := f.opendir()
		for range 2 { // the second time after rewinddir
			if got, _ := f.list(fh, 0, size); !slices.Equal(got, want) {
				t.Errorf("answers of %d bytes: %q", size, got)
			}
		}
		f.ReleaseDir(&fuse.ReleaseIn{Fh: fh})
	}
	if len(f.dirs.open) != 0 {
		t.Errorf("%d handles are left", len(f.dirs.open))
	}
}

func TestSeekDirToAnyOffset(t *testing.T) {
	f := newFixture(t)
	f.m.page = 5
	f.fill(30)
	fh := f.opendir()
	names, offsets := f.list(fh, 0, 200)
	for i, at := range []int{20, 3, 0, 1, 31, 12, 11, 10} { // back and forth, in an old handle and in a new one
		if i%2 == 0 {
			fh = f.opendir()
		}
		if got, _ := f.list(fh, offsets[at], 150); !slices.Equal(got, names[at+1:]) {
			t.Errorf("behind %s: %q", names[at], got)
		}
	}
}

func TestReadDirWhileEntriesComeAndGo(t *testing.T) {
	f := newFixture(t)
	f.m.page = 4
	names := f.fill(20)
	fh := f.opendir()
	_, offsets := f.list(fh, 0, 100)
	h := header(1)
	for i := range 12 { // L17: the place is kept though the entry at it is gone
		f.want("unlink", f.Unlink(nil, &h, names[i]), 0)
	}
	if got, _ := f.list(f.opendir(), offsets[2+5], 100); !slices.Equal(got, names[12:]) {
		t.Errorf("behind an entry that is gone: %q", got)
	}
	f.create("new", unix.O_RDWR)
	if got, _ := f.list(fh, 0, 4096); !slices.Equal(got, append([]string{".", ".."}, append(slices.Clone(names[12:]), "new")...)) {
		t.Errorf("after rewinddir: %q", got)
	}
}

func TestAPageServesManyRequests(t *testing.T) {
	f := newFixture(t)
	f.fill(90)
	f.m.pages = 0
	f.list(f.opendir(), 0, 200)
	if f.m.pages != 1 {
		t.Errorf("%d pages were asked for, 1 holds all", f.m.pages)
	}
	f.m.pages = 0
	fh, offset := f.opendir(), uint64(0)
	for {
		entries, _ := f.plus(fh, offset, 1000)
		if len(entries) == 0 {
			break
		}
		offset = entries[len(entries)-1].Off
	}
	if f.m.pages != 1 {
		t.Errorf("%d pages with attributes were asked for, 1 holds all", f.m.pages)
	}
}

func TestReadDirPlusCountsNoLookupOfDots(t *testing.T) {
	f := newFixture(t)
	f.fill(1)
	entries, outs := f.plus(f.opendir(), 0, 4096)
	if len(entries) != 3 || outs[0].NodeId != 0 || outs[1].NodeId != 0 || outs[2].NodeId != entries[2].Ino || outs[2].Mode != unix.S_IFREG|0o644 {
		t.Errorf("%v %+v", entries, outs)
	}
}

func TestReadDirPlusNeverGivesOldAttributes(t *testing.T) {
	f := newFixture(t)
	now := time.Unix(1000, 0)
	f.now = func() time.Time { return now }
	f.fill(20)
	fh := f.opendir()
	next := func(offset uint64) (fuse.DirEntry, fuse.EntryOut) {
		t.Helper()
		entries, outs := f.plus(fh, offset, 200)
		if len(entries) == 0 {
			t.Fatal("no entry")
		}
		return entries[0], outs[0]
	}
	first, _ := f.plus(fh, 0, 600)
	offset := first[len(first)-1].Off

	now = now.Add(400 * time.Millisecond)
	e, out := next(offset)
	if out.AttrTimeout() != 600*time.Millisecond || out.EntryTimeout() != 600*time.Millisecond {
		t.Errorf("400 ms old attributes may be kept for %v", out.AttrTimeout())
	}
	n := f.m.inodes[f.inode(out.NodeId)]
	n.resize(77) // by another mount: visible when the second is over
	if _, out = next(offset); out.Size != 0 {
		t.Error("the page was not used within its time")
	}
	now = now.Add(700 * time.Millisecond)
	if _, out = next(offset); out.Size != 77 || out.AttrTimeout() != time.Second {
		t.Errorf("size %d for %v from a page that is too old", out.Size, out.AttrTimeout())
	}
	var open fuse.OpenOut
	f.want("open", f.Open(nil, &fuse.OpenIn{InHeader: header(out.NodeId), Flags: unix.O_WRONLY}, &open), 0)
	f.write(open.Fh, 0, string(make([]byte, 99)), 0, 0) // by this mount: visible at once
	if again, out := next(offset); out.Size != 99 || again.Name != e.Name {
		t.Errorf("%s has size %d after a write of 99 bytes to %s", again.Name, out.Size, e.Name)
	}
}
