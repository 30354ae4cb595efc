package client

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/proto"
)

func touch(t *testing.T, c *Client, name, content string) {
	t.Helper()
	f := create(t, c, name)
	if _, err := f.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	must(t, f.Close())
}

func TestPaths(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	ctx := t.Context()
	must(t, c.MkdirAll(ctx, "/a/b/c", 0o755))
	must(t, c.MkdirAll(ctx, "/a/b/c", 0o755))
	touch(t, c, "/a/b/file", "content")
	at, err := c.Stat(ctx, "/a/b")
	must(t, err)
	_, err = c.Symlink(ctx, root, at.Inode, "up", "../b/file")
	must(t, err)
	_, err = c.Symlink(ctx, root, c.Root(), "abs", "/a/b")
	must(t, err)
	_, err = c.Symlink(ctx, root, c.Root(), "loop", "loop")
	must(t, err)
	_, err = c.Symlink(ctx, root, c.Root(), "dangling", "/a/new")
	must(t, err)

	for name, want := range map[string]int{ // size, or -1 for a directory
		"/": -1, "": -1, "/..": -1, "a": -1, "/a/./b//": -1, "/a/b/../b/c": -1, "/a/b/file": 7, "/a/b/up": 7, "/abs/file": 7, "/abs/up": 7, "/abs/..": -1, "/abs/../b/file": 7,
	} {
		attr, err := c.Stat(ctx, name)
		if err != nil || attr.isDir() != (want < 0) || want >= 0 && attr.Size != uint64(want) {
			t.Errorf("%q: %+v, %v", name, attr, err)
		}
	}
	for name, want := range map[string]proto.Kind{
		"/x": proto.NotFound, "/x/y": proto.NotFound, "/a/b/file/x": proto.NotDir, "/loop": proto.Loop, "/loop/x": proto.Loop, "/dangling": proto.NotFound,
	} {
		_, err := c.Stat(ctx, name)
		wantKind(t, name, err, want)
	}
	if attr, err := c.Lstat(ctx, "/loop"); err != nil || !attr.isSymlink() {
		t.Errorf("lstat of a symlink: %+v, %v", attr, err)
	}
	touch(t, c, "/dangling", "made through a symlink")
	if attr, err := c.Stat(ctx, "/a/new"); err != nil || attr.Size != 22 {
		t.Errorf("the file behind a symlink: %+v, %v", attr, err)
	}
}

func TestOpenFileFlags(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	ctx := t.Context()
	touch(t, c, "/f", "x")
	must(t, c.MkdirAll(ctx, "/d", 0o755))
	_, err := c.Symlink(ctx, root, 1, "s", "f")
	must(t, err)
	for _, c2 := range []struct {
		name  string
		flags int
		want  proto.Kind
	}{
		{"/f", unix.O_RDONLY, proto.OK},
		{"/f", unix.O_CREAT, proto.OK},
		{"/f", unix.O_CREAT | unix.O_EXCL, proto.Exists},
		{"/s", unix.O_CREAT | unix.O_EXCL, proto.Exists},
		{"/s", unix.O_RDONLY, proto.OK},
		{"/s", unix.O_NOFOLLOW, proto.Loop},
		{"/d", unix.O_RDONLY, proto.IsDir},
		{"/none", unix.O_RDWR, proto.NotFound},
		{"/none/x", unix.O_CREAT, proto.NotFound},
		{"/f/x", unix.O_CREAT, proto.NotDir},
	} {
		f, err := c.OpenFile(ctx, c2.name, c2.flags, 0o644)
		wantKind(t, fmt.Sprintf("%s flags %#x", c2.name, c2.flags), err, c2.want)
		if err == nil {
			must(t, f.Close())
		}
	}
}

func TestListWalkRemove(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	ctx := t.Context()
	var want []string
	for i := range 35 { // more than a page
		must(t, c.MkdirAll(ctx, fmt.Sprintf("/dir/%02d/sub", i), 0o755))
		want = append(want, fmt.Sprintf("%02d", i))
	}
	touch(t, c, "/dir/07/file", "x")
	entries, err := c.List(ctx, "/dir")
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
		if e.Attr == nil || e.Attr.Inode != e.Inode {
			t.Errorf("%s has no attributes", e.Name)
		}
	}
	if !slices.Equal(names, want) {
		t.Errorf("%v", names)
	}
	_, err = c.List(ctx, "/dir/07/file")
	wantKind(t, "list of a file", err, proto.NotDir)

	var walked []string
	must(t, c.Walk(ctx, "/dir", func(name string, attr Attr, err error) error {
		must(t, err)
		walked = append(walked, name)
		if attr.isDir() && filepath.Base(name) != "dir" && filepath.Base(name) != "07" {
			return SkipDir
		}
		return nil
	}))
	if len(walked) != 1+35+2 || walked[0] != "/dir" || !slices.IsSorted(walked) {
		t.Errorf("%v", walked)
	}
	wantKind(t, "remove of a full directory", c.Remove(ctx, "/dir"), proto.NotEmpty)
	wantKind(t, "remove of nothing", c.Remove(ctx, "/nothing"), proto.NotFound)
	wantKind(t, "remove of the root", c.Remove(ctx, "/"), proto.Busy)
	must(t, c.RemoveAll(ctx, "/nothing/at/all"))
	must(t, c.RemoveAll(ctx, "/dir"))
	_, err = c.Stat(ctx, "/dir")
	wantKind(t, "after the removal", err, proto.NotFound)
}

func TestRenamePath(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	ctx := t.Context()
	touch(t, c, "/a", "a")
	must(t, c.MkdirAll(ctx, "/d", 0o755))
	must(t, c.RenamePath(ctx, "/a", "/d/b"))
	if attr, err := c.Stat(ctx, "/d/b"); err != nil || attr.Size != 1 {
		t.Errorf("%+v, %v", attr, err)
	}
	wantKind(t, "rename of nothing", c.RenamePath(ctx, "/a", "/b"), proto.NotFound)
	wantKind(t, "rename of the root", c.RenamePath(ctx, "/", "/b"), proto.Busy)
}

func TestSubfolder(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	must(t, c.MkdirAll(t.Context(), "/sub/folder", 0o755))
	touch(t, c, "/sub/folder/f", "x")
	s := connect(t, cluster, func(o *Options) { o.Subfolder = "sub/folder" })
	if s.Root() == c.Root() {
		t.Error("its root is the root")
	}
	for _, name := range []string{"/f", "/../f", "f"} { // there is no way out
		if _, err := s.Stat(t.Context(), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := Dial(t.Context(), clienttest.MasterAddress, Options{Subfolder: "/none", Dial: cluster.Dial, DialOptions: cluster.DialOptions()})
	wantKind(t, "a subfolder that is not there", err, proto.NotFound)
}

func TestTransfers(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	for _, n := range []int{0, 1, 1 << 20, 5<<20 + 333} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			dir := t.TempDir()
			data := noise(uint64(n), n)
			if n > 3<<20 {
				clear(data[1<<20 : 3<<20]) // which Download makes a hole
			}
			from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
			must(t, os.WriteFile(from, data, 0o640))
			var steps []int64
			progress := TransferOptions{Parallel: 3, Progress: func(done, total int64) {
				if total != int64(n) {
					t.Errorf("total %d", total)
				}
				steps = append(steps, done)
			}}
			must(t, c.Upload(t.Context(), from, "/f", progress))
			if attr, err := c.Stat(t.Context(), "/f"); err != nil || attr.Size != uint64(n) || n == 0 && attr.Mode&0o777 != 0o640 {
				t.Errorf("%+v, %v", attr, err)
			}
			if n > 0 && (!slices.IsSorted(steps) || steps[len(steps)-1] != int64(n)) {
				t.Errorf("progress %v", steps)
			}
			must(t, c.Download(t.Context(), "/f", to, TransferOptions{}))
			if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes came back, %v", len(got), err)
			}
			if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
		})
	}
	missing := filepath.Join(t.TempDir(), "missing")
	wantKind(t, "upload of nothing", c.Upload(t.Context(), missing, "/g", TransferOptions{}), proto.NotFound)
	wantKind(t, "upload of a folder", c.Upload(t.Context(), t.TempDir(), "/g", TransferOptions{}), proto.Invalid)
	wantKind(t, "download of nothing", c.Download(t.Context(), "/g", missing, TransferOptions{}), proto.NotFound)
}

func TestUploadReportsErrors(t *testing.T) { // L10
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	from := filepath.Join(t.TempDir(), "from")
	must(t, os.WriteFile(from, noise(1, 2<<20), 0o644))
	cluster.Hook(failing("Commit", proto.E(proto.IO, "", "", "injected")))
	wantKind(t, "upload", c.Upload(t.Context(), from, "/f", TransferOptions{}), proto.IO)
	cluster.Hook(nil)
	failNodes(cluster, "write", proto.NoSpace)
	wantKind(t, "upload", c.Upload(t.Context(), from, "/g", TransferOptions{}), proto.NoSpace)
}

func TestSequentialFileInterface(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	for range 3 {
		if _, err := f.Write([]byte("line\n")); err != nil {
			t.Fatal(err)
		}
	}
	for _, seek := range []struct {
		offset int64
		whence int
		want   int64
	}{{5, 0, 5}, {2, 1, 7}, {-5, 2, 10}} {
		if at, err := f.Seek(seek.offset, seek.whence); err != nil || at != seek.want {
			t.Errorf("Seek(%d, %d) = %d, %v", seek.offset, seek.whence, at, err)
		}
	}
	p := make([]byte, 100)
	if n, err := f.Read(p); err != nil || string(p[:n]) != "line\n" {
		t.Errorf("%q, %v", p[:n], err)
	}
	if n, err := f.Read(p); n != 0 || err == nil {
		t.Errorf("read %d at the end, %v", n, err)
	}
	_, err := f.Seek(-1, 0)
	wantKind(t, "seek before the start", err, proto.Invalid)
}
