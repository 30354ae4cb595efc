package state

import (
	"slices"
	"testing"

	"github.com/distrifs/distrifs/proto"
)

var abc = []proto.NodeID{1, 2, 3}

// written makes a file of so many bytes, in committed chunks.
func (f *fixture) written(name string, size uint64) (proto.InodeID, []Chunk) {
	f.t.Helper()
	ino := f.make(root, top, name, typeFile|0o644)
	var ids []proto.ChunkID
	for index := range chunksOf(size, testChunk) {
		r := f.ok(&AssignChunks{Header: f.header(root), Inode: ino, First: index, Chains: [][]proto.NodeID{abc}})
		ids = append(ids, r.Chunks[0].ID)
	}
	f.ok(&Commit{Header: f.header(root), Inode: ino, Size: size, Chunks: ids})
	return ino, f.chunksOf(ino)
}

func (f *fixture) copies(from, to proto.InodeID, count, size uint64) Result {
	f.t.Helper()
	return f.copyOK(CopyChunks{From: from, To: to, Count: count, Size: size})
}

func (f *fixture) copyOK(c CopyChunks) Result {
	f.t.Helper()
	c.Header, c.FromChange = f.header(root), f.attr(c.From).Change
	return f.ok(&c)
}

func ids(chunks []Chunk) (list []proto.ChunkID) {
	for _, c := range chunks {
		list = append(list, c.ID)
	}
	return list
}

func TestCopiesShareChunks(t *testing.T) {
	f := newFixture(t)
	a, chunks := f.written("a", 3*testChunk)
	b := f.make(root, top, "b", typeFile|0o644)
	before := f.attr(a)
	r := f.copies(a, b, 3, 3*testChunk)
	if len(r.Freed) != 0 || r.Attr.Size != 3*testChunk || r.Attr.Blocks != f.attr(a).Blocks {
		t.Errorf("copied: %+v", r)
	}
	if after := f.attr(a); after.Change != before.Change+1 || after.Mtime != before.Mtime || after.Ctime != before.Ctime {
		t.Errorf("the source changed from %+v to %+v", before, after)
	}
	for _, ino := range []proto.InodeID{a, b} {
		list := f.chunksOf(ino)
		if !slices.Equal(ids(list), ids(chunks)) {
			t.Fatalf("chunks %+v, want those of %+v", list, chunks)
		}
		for _, c := range list {
			if c.Inode != ino || c.References != 2 || !c.Shared() || !c.Committed || f.Fate(c.ID) != Live {
				t.Errorf("chunk %+v", c)
			}
		}
	}
	if s := f.Stats(); s.Chunks != 3 || s.References != 6 {
		t.Errorf("counted %+v", s)
	}

	// A copy of a copy shares the same chunks, and tells the source nothing new.
	before = f.attr(a)
	f.copyOK(CopyChunks{From: a, To: b, FromIndex: 1, ToIndex: 7, Count: 2, Size: 9 * testChunk})
	if f.attr(a) != before || f.chunksOf(b)[4].References != 3 {
		t.Errorf("copied again: %+v", f.chunksOf(b))
	}

	// Freed is what lost its last reference, in whatever order they go.
	f.ok(&Unlink{Header: f.header(root), Parent: top, Name: []byte("a")})
	if r := f.ok(&Reap{Inodes: []proto.InodeID{a}}); len(r.Freed) != 0 {
		t.Errorf("freed %+v with the source", r.Freed)
	}
	r = f.ok(&SetAttr{Header: f.header(root), Inode: b, Set: SetSize, Size: 2 * testChunk})
	if !slices.Equal(ids(r.Freed), ids(chunks[2:])) || f.Fate(chunks[2].ID) != Freed || f.Fate(chunks[1].ID) != Live {
		t.Errorf("freed %+v with the end of the copy", r.Freed)
	}
	r = f.ok(&Fallocate{Header: f.header(root), Inode: b, Length: testChunk})
	if !slices.Equal(ids(r.Freed), ids(chunks[:1])) {
		t.Errorf("freed %+v with a hole", r.Freed)
	}
	f.ok(&Unlink{Header: f.header(root), Parent: top, Name: []byte("b")})
	if r := f.ok(&Reap{Inodes: []proto.InodeID{b}}); !slices.Equal(ids(r.Freed), ids(chunks[1:2])) {
		t.Errorf("freed %+v at last", r.Freed)
	}
	if s := f.Stats(); s.Chunks != 0 || s.References != 0 || f.chunks.live != 0 {
		t.Errorf("left: %+v, %d records", s, f.chunks.live)
	}
	reload(t, f.State)
}

func TestClonesTakeTheirPlace(t *testing.T) {
	f := newFixture(t)
	a, chunks := f.written("a", 2*testChunk)
	b := f.make(root, top, "b", typeFile|0o644)
	f.copies(a, b, 2, 2*testChunk)
	assign := func(ino proto.InodeID) Chunk {
		return f.ok(&AssignChunks{Header: f.header(root), Inode: ino, Chains: [][]proto.NodeID{{3, 4}}}).Chunks[0]
	}
	clone := assign(b)
	if clone.ID == chunks[0].ID || clone.Committed || clone.Inode != b || clone.Shared() || assign(b).ID != clone.ID {
		t.Fatalf("clone %+v", clone)
	}
	// Until it is taken it is nobody's: readers find the old one, nobody can commit it.
	if list := f.chunksOf(b); !slices.Equal(ids(list), ids(chunks)) {
		t.Errorf("while it is made: %+v", list)
	}
	f.want(proto.NotFound, &Commit{Header: f.header(root), Inode: b, Chunks: []proto.ChunkID{clone.ID}})
	f.want(proto.NotFound, &Commit{Header: f.header(root), Inode: b, Chunks: []proto.ChunkID{chunks[0].ID}})
	f.want(proto.NotFound, &TakeClone{Clone: chunks[0].ID})
	if r := f.ok(&DropAssigned{Inode: b, Chunks: []proto.ChunkID{clone.ID}}); len(r.Freed) != 1 || len(f.chunksOf(b)) != 2 {
		t.Errorf("dropped %+v", r.Freed)
	}
	f.want(proto.NotFound, &TakeClone{Clone: clone.ID})

	again := assign(b)
	r := f.ok(&TakeClone{Clone: again.ID})
	if len(r.Freed) != 0 || !r.Chunks[0].Committed || f.chunksOf(b)[0].ID != again.ID || f.attr(b).Blocks != f.attr(a).Blocks {
		t.Errorf("taken: %+v", r)
	}
	f.want(proto.NotFound, &TakeClone{Clone: again.ID})
	// The source's is still no chunk to write to; the last one to leave frees it.
	last := assign(a)
	if r := f.ok(&TakeClone{Clone: last.ID}); !slices.Equal(ids(r.Freed), ids(chunks[:1])) {
		t.Errorf("freed %+v with the last reference", r.Freed)
	}

	// A clone goes with its place.
	pending := f.ok(&AssignChunks{Header: f.header(root), Inode: b, First: 1, Chains: [][]proto.NodeID{{1, 2}}}).Chunks[0]
	r = f.ok(&SetAttr{Header: f.header(root), Inode: b, Set: SetSize, Size: testChunk})
	if !slices.Equal(ids(r.Freed), []proto.ChunkID{pending.ID}) {
		t.Errorf("freed %+v with the place", r.Freed)
	}
	reload(t, f.State)
}

func TestWhatCannotBeCopied(t *testing.T) {
	f := newFixture(t)
	a, _ := f.written("a", 2*testChunk+100)
	b, _ := f.written("b", testChunk/2)
	dir := f.make(root, top, "d", typeDir|0o755)
	fifo := f.make(root, top, "p", typeFIFO|0o644)
	h := f.header(root)
	for _, x := range []struct {
		why  string
		kind proto.Kind
		c    CopyChunks
	}{
		{"no chunks", proto.Invalid, CopyChunks{From: a, To: b}},
		{"too many", proto.Invalid, CopyChunks{From: a, To: b, Count: MaxAssign + 1}},
		{"from beyond the last index", proto.FileTooBig, CopyChunks{From: a, To: b, FromIndex: MaxFileSize / testChunk, Count: 2}},
		{"to beyond the last index", proto.FileTooBig, CopyChunks{From: a, To: b, ToIndex: 1 << 63, Count: 1}},
		{"a size beyond all", proto.FileTooBig, CopyChunks{From: a, To: b, Count: 1, Size: 1 << 63}},
		{"onto itself", proto.Invalid, CopyChunks{From: a, To: a, FromIndex: 0, ToIndex: 1, Count: 2}},
		{"from a directory", proto.IsDir, CopyChunks{From: dir, To: b, Count: 1}},
		{"to a FIFO", proto.Invalid, CopyChunks{From: a, To: fifo, Count: 1}},
		{"to what is gone", proto.Stale, CopyChunks{From: a, To: 1 << 20, Count: 1}},
		{"more than there is", proto.Busy, CopyChunks{From: a, To: b, Count: 3, Size: 2*testChunk + 101}},
		{"behind the end", proto.Busy, CopyChunks{From: a, To: b, FromIndex: 3, ToIndex: 3, Count: 1, Size: 3*testChunk + 1}},
		{"an end into the middle", proto.Busy, CopyChunks{From: b, To: a, Count: 1}},
	} {
		t.Run(x.why, func(t *testing.T) {
			x.c.Header = h
			if a, kind := f.State.Attr(x.c.From); kind == proto.OK {
				x.c.FromChange = a.Change
			}
			f.want(x.kind, &x.c)
		})
	}
	f.want(proto.Busy, &CopyChunks{Header: h, From: a, To: b, Count: 3, FromChange: f.attr(a).Change - 1})
	f.copies(a, b, 3, 2*testChunk+100)
}

// A file whose chunks are not shared costs what it did before there was sharing.
func TestSharingCostsNothingUnlessUsed(t *testing.T) {
	f := newFixture(t)
	f.written("a", 10*testChunk)
	if f.chunks.live != 10 {
		t.Errorf("%d records for 10 chunks", f.chunks.live)
	}
	if size := f.chunks.memory() / uint64(len(f.chunks.pages)) >> f.chunks.shift; size != 24 {
		t.Errorf("a record has %d bytes", size)
	}
}
