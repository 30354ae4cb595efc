package state

import (
	"testing"

	"github.com/distrifs/distrifs/proto"
)

// fileOf makes a file whose chunks at the indexes are committed.
func (f *fixture) fileOf(size uint64, indexes ...uint64) proto.InodeID {
	f.t.Helper()
	ino := f.make(root, top, "f", typeFile)
	for _, index := range indexes {
		r := f.ok(&AssignChunks{Header: f.header(root), Inode: ino, First: index, Chains: [][]proto.NodeID{{1, 2}}})
		f.ok(&Commit{Header: f.header(root), Inode: ino, Chunks: []proto.ChunkID{r.Chunks[0].ID}})
	}
	f.ok(&Commit{Header: f.header(root), Inode: ino, Size: size})
	return ino
}

func TestPunchingFreesWholeChunks(t *testing.T) {
	const size = 4*testChunk + 1000
	for _, test := range []struct {
		name           string
		offset, length uint64
		tail           bool
		want           []uint64 // indexes that are left
	}{
		{"within one chunk", 10, testChunk - 10, false, []uint64{0, 1, 2, 4}},
		{"one chunk", 0, testChunk, false, []uint64{1, 2, 4}},
		{"parts of two", 1, 2*testChunk - 2, false, []uint64{0, 1, 2, 4}},
		{"one and parts", 1, 2*testChunk - 1, false, []uint64{0, 2, 4}},
		{"over a hole", 2 * testChunk, 2 * testChunk, false, []uint64{0, 1, 4}},
		{"to the end", 3 * testChunk, testChunk + 1000, false, []uint64{0, 1, 2, 4}},
		{"to the end, alone", 3 * testChunk, testChunk + 1000, true, []uint64{0, 1, 2}},
		{"nearly to the end, alone", 0, size - 1, true, []uint64{4}},
		{"part of the last, alone", 4*testChunk + 1, testChunk, true, []uint64{0, 1, 2, 4}},
		{"beyond the end", 0, MaxFileSize, false, nil},
		{"behind the end", 5 * testChunk, testChunk, true, []uint64{0, 1, 2, 4}},
		{"nothing", 0, 0, true, []uint64{0, 1, 2, 4}},
	} {
		f := newFixture(t)
		ino := f.fileOf(size, 0, 1, 2, 4)
		before := f.attr(ino)
		r := f.ok(&Fallocate{Header: f.header(root), Inode: ino, Offset: test.offset, Length: test.length, Tail: test.tail})
		var left []uint64
		for _, c := range f.chunksOf(ino) {
			left = append(left, c.Index)
		}
		if len(left) != len(test.want) || len(r.Freed) != 4-len(left) {
			t.Fatalf("%s: %v are left and %d freed, want %v", test.name, left, len(r.Freed), test.want)
		}
		for i := range left {
			if left[i] != test.want[i] {
				t.Errorf("%s: %v are left, want %v", test.name, left, test.want)
			}
		}
		if a := r.Attr; a.Size != size || a.Mtime != f.now || a.Ctime != f.now || a.Change <= before.Change {
			t.Errorf("%s: %+v", test.name, a)
		}
		reload(t, f.State)
	}
}

func TestAssignedChunksOutliveAPunch(t *testing.T) {
	f := newFixture(t)
	ino := f.fileOf(testChunk, 0)
	f.ok(&AssignChunks{Header: f.header(root), Inode: ino, First: 1, Chains: [][]proto.NodeID{{1, 2}}})
	r := f.ok(&Fallocate{Header: f.header(root), Inode: ino, Length: MaxFileSize, Tail: true})
	if left := f.chunksOf(ino); len(r.Freed) != 1 || len(left) != 1 || left[0].Index != 1 {
		t.Errorf("%d freed, left: %+v", len(r.Freed), left)
	}
}

func TestFallocateGrows(t *testing.T) {
	f := newFixture(t)
	ino := f.fileOf(1000, 0)
	if r := f.ok(&Fallocate{Header: f.header(root), Inode: ino, Size: 1 << 40}); r.Attr.Size != 1<<40 || r.Attr.Blocks != testChunk/512 {
		t.Errorf("%+v", r.Attr)
	}
	if r := f.ok(&Fallocate{Header: f.header(root), Inode: ino, Size: 10}); r.Attr.Size != 1<<40 {
		t.Errorf("it shrank: %+v", r.Attr)
	}
	f.ok(&SetAttr{Header: f.header(root), Inode: ino, Set: SetMode, Mode: 0o6755})
	if r := f.ok(&Fallocate{Header: f.header(bob), Inode: ino}); r.Attr.Mode != typeFile|0o755 {
		t.Errorf("mode %o", r.Attr.Mode)
	}
	f.want(proto.FileTooBig, &Fallocate{Header: f.header(root), Inode: ino, Size: MaxFileSize + 1})
	f.want(proto.FileTooBig, &Fallocate{Header: f.header(root), Inode: ino, Offset: 2, Length: MaxFileSize - 1})
	f.want(proto.FileTooBig, &Fallocate{Header: f.header(root), Inode: ino, Offset: MaxFileSize + 1})
	f.want(proto.IsDir, &Fallocate{Header: f.header(root), Inode: top})
	f.want(proto.Stale, &Fallocate{Header: f.header(root), Inode: 99})
}

func TestBlocksCountWhatIsHeld(t *testing.T) {
	f := newFixture(t)
	const whole = testChunk / 512
	for _, test := range []struct {
		size    uint64
		indexes []uint64
		want    uint64
	}{
		{0, nil, 0}, {1 << 50, nil, 0}, {1, []uint64{0}, 8}, {5000, []uint64{0}, 16},
		{testChunk, []uint64{0}, whole}, {3 * testChunk, []uint64{1}, whole},
		{3*testChunk + 1, []uint64{0, 3}, whole + 8}, {3*testChunk + 1, []uint64{0, 1}, 2 * whole},
		{MaxFileSize, []uint64{MaxFileSize / testChunk}, whole},
	} {
		ino := f.fileOf(test.size, test.indexes...)
		f.ok(&AssignChunks{Header: f.header(root), Inode: ino, First: 2, Chains: [][]proto.NodeID{{1, 2}}})
		if got := f.attr(ino).Blocks; got != test.want {
			t.Errorf("size %d, chunks %v: %d blocks, want %d", test.size, test.indexes, got, test.want)
		}
		if got, _ := reload(t, f.State).Attr(ino); got.Blocks != test.want {
			t.Errorf("size %d, chunks %v: %d blocks from a checkpoint, want %d", test.size, test.indexes, got.Blocks, test.want)
		}
		f.ok(&Unlink{Header: f.header(root), Parent: top, Name: []byte("f")})
	}
}

func TestUnnamedFile(t *testing.T) {
	f := newFixture(t)
	f.ok(&SetAttr{Header: f.header(root), Inode: top, Set: SetMode, Mode: 0o777})
	before := f.attr(top)
	made := f.ok(&MakeUnnamed{Header: f.header(alice), Parent: top, Mode: 0o600, Chain: []proto.NodeID{1, 2}})
	if a := made.Attr; a.Nlink != 0 || a.Mode != typeFile|0o600 || a.UID != alice.UID || len(made.Chunks) != 1 || f.Stats().Orphans != 1 {
		t.Fatalf("%+v, %+v", made, f.Stats())
	}
	if f.attr(top) != before {
		t.Error("the directory changed")
	}
	// It survives a checkpoint as what it is: a file that may be linked, once from nothing.
	f.State = reload(t, f.State)
	link := &Link{Header: f.header(alice), Inode: made.Inode, Parent: top, Name: []byte("name")}
	if r := f.ok(link); r.Attr.Nlink != 1 || f.Stats().Orphans != 0 {
		t.Errorf("%+v, %+v", r, f.Stats())
	}
	f.ok(&Unlink{Header: f.header(alice), Parent: top, Name: []byte("name")})
	f.want(proto.NotFound, link)
	if r := f.ok(&Reap{Inodes: []proto.InodeID{made.Inode}}); len(r.Freed) != 1 {
		t.Errorf("%+v", r)
	}
	never := f.ok(&MakeUnnamed{Header: f.header(alice), Parent: top})
	f.ok(&Reap{Inodes: []proto.InodeID{never.Inode}})
	f.want(proto.Stale, &Link{Header: f.header(alice), Inode: never.Inode, Parent: top, Name: []byte("name")})

	f.ok(&SetAttr{Header: f.header(root), Inode: top, Set: SetMode, Mode: 0o755})
	f.want(proto.Access, &MakeUnnamed{Header: f.header(alice), Parent: top})
	f.want(proto.NotDir, &MakeUnnamed{Header: f.header(root), Parent: f.make(root, top, "file", typeFile)})
	f.want(proto.TooFewReplicas, &MakeUnnamed{Header: f.header(root), Parent: top, Chain: []proto.NodeID{1}})
	reload(t, f.State)
}
