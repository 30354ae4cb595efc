package client

import (
	"bytes"
	"math"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/proto"
)

func TestPunchedChunksAreGone(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	want := noise(1, 3<<20+5000)
	mustWrite(t, f, want, 0) // unwritten yet when the hole is punched
	must(t, f.PunchHole(t.Context(), 1000, 2<<20))
	clear(want[1000 : 2<<20+1000])
	if cluster.Chain(f.Inode(), 0) == nil || cluster.Chain(f.Inode(), 1) != nil || cluster.Chain(f.Inode(), 2) == nil {
		t.Error("not the one chunk that lies within the hole is gone")
	}
	if got := contents(t, f); !bytes.Equal(got, want) {
		t.Errorf("first difference at %d", differ(got, want))
	}
	must(t, f.PunchHole(t.Context(), 2<<20, 1<<40)) // as far as the file goes, and no farther
	clear(want[2<<20:])
	if cluster.Chain(f.Inode(), 3) != nil {
		t.Error("the chunk that the file ended in is there")
	}
	mustWrite(t, f, []byte("again"), 3<<20) // and not into the chunk that was
	copy(want[3<<20:], "again")
	must(t, f.Sync(t.Context()))
	if got := contents(t, open(t, connect(t, cluster), "/f", unix.O_RDONLY)); !bytes.Equal(got, want) {
		t.Errorf("another client: first difference at %d", differ(got, want))
	}
}

// The end of a file that others have open may have bytes behind it that they have
// not committed yet.
func TestLastChunkStaysWhileOthersHaveTheFileOpen(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	f := create(t, connect(t, cluster), "/f")
	mustWrite(t, f, []byte("some bytes"), 0)
	must(t, f.Flush(t.Context()))
	other := connect(t, cluster)
	g := open(t, other, "/f", unix.O_RDWR)
	must(t, g.PunchHole(t.Context(), 0, 100))
	if cluster.Chain(f.Inode(), 0) == nil {
		t.Error("the chunk is gone")
	}
	if got := contents(t, g); !bytes.Equal(got, make([]byte, 10)) {
		t.Errorf("%q", got)
	}
}

// A tail that was cut off does not come back when the file grows by an allocation.
func TestAllocationGrowsOverOldBytes(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	for name, grow := range map[string]func(f *File) error{
		"allocate":          func(f *File) error { return f.Allocate(t.Context(), 5000, 100, false) },
		"zero range behind": func(f *File) error { return f.ZeroRange(t.Context(), 5000, 100, false) },
		"zero range across": func(f *File) error { return f.ZeroRange(t.Context(), 10, 5090, false) },
	} {
		f := create(t, c, "/f")
		mustWrite(t, f, bytes.Repeat([]byte{1}, 10000), 0)
		must(t, f.Truncate(t.Context(), 10))
		must(t, grow(f))
		if got := contents(t, f); !bytes.Equal(got, append(bytes.Repeat([]byte{1}, 10), make([]byte, 5090)...)) {
			t.Errorf("%s: %d bytes, not what was expected", name, len(got))
		}
		must(t, f.Close())
	}
}

func TestAllocationNeedsRoom(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{Free: 1 << 30})
	f := create(t, connect(t, cluster), "/f")
	must(t, f.Allocate(t.Context(), 0, 1<<20, true))
	if size := f.Attr().Size; size != 0 {
		t.Errorf("size %d", size)
	}
	wantKind(t, "more than there is", f.Allocate(t.Context(), 0, 1<<40, false), proto.NoSpace)
	wantKind(t, "an empty range", f.Allocate(t.Context(), 0, 0, false), proto.Invalid)
	wantKind(t, "a negative offset", f.ZeroRange(t.Context(), -1, 1, false), proto.Invalid)
	wantKind(t, "beyond all files", f.PunchHole(t.Context(), 2, math.MaxInt64-1), proto.FileTooBig)
	r := open(t, connect(t, cluster), "/f", unix.O_RDONLY)
	wantKind(t, "a file open for reading", r.PunchHole(t.Context(), 0, 1), proto.BadHandle)
}

// L10: what could not be zeroed was not punched.
func TestPunchReportsAFailure(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	f := create(t, connect(t, cluster), "/f")
	mustWrite(t, f, noise(1, 10000), 0)
	must(t, f.Flush(t.Context()))
	for _, node := range cluster.Nodes {
		node.Hook(func(op string, _ uuid.UUID, _ uint64, _ int) error {
			if op == "zero" {
				return proto.NoSpace
			}
			return nil
		})
	}
	wantKind(t, "a full disk", f.PunchHole(t.Context(), 0, 5000), proto.NoSpace)
	if got := contents(t, f); !bytes.Equal(got[5000:], noise(1, 10000)[5000:]) {
		t.Error("bytes behind the hole changed")
	}
}

func TestSeekInSparseFile(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	f := create(t, connect(t, cluster), "/f")
	const far = math.MaxInt64 - 100
	mustWrite(t, f, []byte("head"), 8192)
	mustWrite(t, f, []byte("tail"), far)
	_, err := f.WriteAt([]byte("x"), math.MaxInt64)
	wantKind(t, "write at the last offset of all", err, proto.FileTooBig)
	for _, test := range []struct {
		off  int64
		data bool
		want int64
	}{
		{0, true, 8192}, {8195, true, 8195}, {12288, true, far / 4096 * 4096},
		{0, false, 0}, {8192, false, 12288}, {1 << 40, false, 1 << 40}, {far, false, far + 4},
	} {
		seek := f.SeekHole
		if test.data {
			seek = f.SeekData
		}
		if got, err := seek(t.Context(), test.off); err != nil || got != test.want {
			t.Errorf("%+v: %d, %v", test, got, err)
		}
	}
	got := make([]byte, 8)
	if n, err := f.ReadAt(got, far); n != 4 || string(got[:4]) != "tail" {
		t.Errorf("%q, %v", got[:n], err)
	}
	must(t, f.PunchHole(t.Context(), 0, far))
	if at, err := f.SeekData(t.Context(), 0); err != nil || at < far/4096*4096 {
		t.Errorf("data at %d, %v", at, err)
	}
	must(t, f.Truncate(t.Context(), math.MaxInt64))
	if attr := f.Attr(); attr.Size != math.MaxInt64 || attr.Blocks > 1<<20/512 {
		t.Errorf("size %d, %d blocks", attr.Size, attr.Blocks)
	}
}

// When no replica answers, nothing is called a hole.
func TestSeekWithoutReplicasFindsData(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	f := create(t, connect(t, cluster), "/f")
	mustWrite(t, f, []byte("x"), 1<<20-1)
	must(t, f.Flush(t.Context()))
	if at, err := f.SeekData(t.Context(), 5); err != nil || at != 1<<20-4096 {
		t.Errorf("data at %d, %v", at, err)
	}
	cluster.Bump(f.Inode()) // every replica refuses the version that the client knows
	if at, err := f.SeekData(t.Context(), 5); err != nil || at != 5 {
		t.Errorf("data at %d, %v", at, err)
	}
}

// What this client wrote counts for st_blocks, and the flush changes nothing.
func TestBlocksOfUnwrittenData(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	if blocks := f.Attr().Blocks; blocks != 0 {
		t.Errorf("%d blocks of nothing", blocks)
	}
	mustWrite(t, f, []byte("x"), 0)
	if blocks := f.Attr().Blocks; blocks != 8 {
		t.Errorf("%d blocks of a byte", blocks)
	}
	mustWrite(t, f, []byte("x"), 5<<20)
	if blocks := f.Attr().Blocks; blocks != 1<<20/512+8 {
		t.Errorf("%d blocks of two chunks", blocks)
	}
	must(t, f.Flush(t.Context()))
	if blocks := f.Attr().Blocks; blocks != 1<<20/512+8 {
		t.Errorf("%d blocks after the flush", blocks)
	}
}

func TestUnnamedFile(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f, err := c.CreateUnnamed(t.Context(), root, proto.RootInode, 0o666, unix.O_RDWR)
	must(t, err)
	if attr := f.Attr(); attr.Nlink != 0 || attr.Mode != unix.S_IFREG|0o644 {
		t.Errorf("%+v", attr)
	}
	mustWrite(t, f, []byte("hello"), 0)
	_, err = c.Link(t.Context(), root, f.Inode(), proto.RootInode, "name")
	must(t, err)
	must(t, f.Close())
	if got := contents(t, open(t, connect(t, cluster), "/name", unix.O_RDONLY)); string(got) != "hello" {
		t.Errorf("%q", got)
	}
}
