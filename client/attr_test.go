package client

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/proto"
)

func TestUnwrittenDataShowsInAttributes(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	before := f.Attr().Mtime
	time.Sleep(2 * time.Millisecond)
	mustWrite(t, f, make([]byte, 12345), 0)
	check := func(what string, a Attr) {
		t.Helper()
		if a.Size != 12345 || !a.Mtime.After(before) || a.Blocks == 0 {
			t.Errorf("%s: size %d, mtime %v, blocks %d", what, a.Size, a.Mtime, a.Blocks)
		}
	}
	a, err := c.GetAttr(t.Context(), f.Inode())
	must(t, err)
	check("getattr", a)
	a, err = c.Lookup(t.Context(), root, 1, "f")
	must(t, err)
	check("lookup", a)
	page, err := c.ReadDir(t.Context(), root, 1, 0, true)
	must(t, err)
	check("readdir", *page.Entries[0].Attr)
	mode := uint32(0o600)
	a, err = c.SetAttr(t.Context(), root, f.Inode(), SetAttr{Mode: &mode})
	must(t, err)
	check("setattr", a)
	shown := a.Mtime
	must(t, f.Close())
	a, err = c.GetAttr(t.Context(), f.Inode())
	must(t, err)
	check("after the close", a)
	if !a.Mtime.Equal(shown) {
		t.Errorf("mtime was %v and became %v by the close", shown, a.Mtime)
	}
}

// TestAnAnswerThatACommitOvertook: the master answers a getattr, the client then commits
// what it wrote before, and only then does the answer arrive. The file has not shrunk.
func TestAnAnswerThatACommitOvertook(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	mustWrite(t, f, make([]byte, 12345), 0)
	answered, committed := make(chan struct{}), make(chan struct{})
	cluster.Hook(func(method string, _ any, after bool) error {
		if method == "GetAttr" && after {
			close(answered)
			<-committed
		}
		return nil
	})
	size := make(chan uint64)
	go func() {
		a, err := c.GetAttr(t.Context(), f.Inode())
		if err != nil {
			t.Error(err)
		}
		size <- a.Size
	}()
	<-answered
	must(t, f.Sync(t.Context()))
	close(committed)
	if got := <-size; got != 12345 {
		t.Errorf("size %d, of 12345 bytes that were written and synced", got)
	}
}

// TestTimesThatWereSetStand: cp -p sets the time between the last write and close.
func TestTimesThatWereSetStand(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	mustWrite(t, f, []byte("x"), 0)
	want := time.Unix(1000000000, 5)
	_, err := c.SetAttr(t.Context(), root, f.Inode(), SetAttr{Mtime: &TimeSet{Time: want}})
	must(t, err)
	must(t, f.Close())
	a, err := c.GetAttr(t.Context(), f.Inode())
	must(t, err)
	if !a.Mtime.Equal(want) || a.Size != 1 {
		t.Errorf("mtime %v, size %d", a.Mtime, a.Size)
	}
}

func TestKeepCache(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	a, b := connect(t, cluster), connect(t, cluster)
	reopen := func(c *Client, want bool, what string) {
		t.Helper()
		f := open(t, c, "/f", unix.O_RDONLY)
		if f.KeepCache() != want {
			t.Errorf("%s: KeepCache is %v", what, !want)
		}
		must(t, f.Close())
	}
	write := func(c *Client) {
		f := open(t, c, "/f", unix.O_WRONLY)
		mustWrite(t, f, []byte("y"), 0)
		must(t, f.Close())
	}
	f := create(t, a, "/f")
	mustWrite(t, f, []byte("x"), 0)
	must(t, f.Close())
	reopen(a, true, "after its own writes")
	reopen(b, false, "first open")
	reopen(b, true, "nothing changed")
	write(a)
	reopen(a, true, "after its own writes again")
	reopen(b, false, "after another's write")
	write(b)
	write(a) // its open saw what b wrote
	reopen(a, true, "after a later open and own writes")
	f = open(t, a, "/f", unix.O_WRONLY)
	write(b)
	mustWrite(t, f, []byte("z"), 0)
	must(t, f.Close())
	reopen(a, false, "another's write among its own")
	reopen(a, true, "nothing changed since")
}

func TestFlagsAreCheckedNotIgnored(t *testing.T) { // L14
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	_, err := c.Mkdir(t.Context(), root, 1, "d", 0o755)
	must(t, err)
	for _, flags := range []uint32{unix.RENAME_WHITEOUT, 1 << 20, unix.RENAME_NOREPLACE | unix.RENAME_EXCHANGE} {
		wantKind(t, "rename", c.Rename(t.Context(), root, 1, "d", 1, "e", flags), proto.Invalid)
	}
	wantKind(t, "setxattr", c.SetXattr(t.Context(), root, 1, "user.x", nil, 1<<10), proto.Invalid)
}

func TestXattrs(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	_, err := c.GetXattr(t.Context(), root, 1, "user.x")
	wantKind(t, "getxattr", err, proto.NoAttr)
	must(t, c.SetXattr(t.Context(), root, 1, "user.x", []byte("value"), unix.XATTR_CREATE))
	if value, err := c.GetXattr(t.Context(), root, 1, "user.x"); err != nil || string(value) != "value" {
		t.Errorf("%q, %v", value, err)
	}
	if names, err := c.ListXattr(t.Context(), root, 1); err != nil || len(names) != 1 || names[0] != "user.x" {
		t.Errorf("%v, %v", names, err)
	}
}
