package state

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/distrifs/distrifs/proto"
)

func (f *fixture) chunksOf(ino proto.InodeID) (list []Chunk) {
	f.t.Helper()
	if kind := f.FileChunks(ino, 0, 1<<62, func(c Chunk) bool { list = append(list, c); return true }); kind != proto.OK {
		f.t.Fatal(kind)
	}
	return list
}

func TestAssignAndCommit(t *testing.T) {
	f := newFixture(t)
	chain := []proto.NodeID{3, 1, 2}
	made := f.ok(&Make{Header: f.header(root), Parent: top, Name: []byte("f"), Chain: chain})
	ino, first := made.Inode, made.Chunks[0]
	if first.Index != 0 || first.Version != 1 || first.Committed || first.Inode != ino || !slices.Equal(first.Chain, chain) {
		t.Fatalf("chunk of a new file: %+v", first)
	}
	r := f.ok(&AssignChunks{Header: f.header(root), Inode: ino, Chains: [][]proto.NodeID{{1, 4}, {1, 2, 3, 4}}})
	if r.Chunks[0].ID != first.ID || !slices.Equal(r.Chunks[0].Chain, chain) || r.Chunks[1].Index != 1 || len(r.Chunks[1].Chain) != 4 {
		t.Fatalf("assigned %+v", r.Chunks)
	}
	before := f.attr(ino)
	mtime := f.now
	c := f.ok(&Commit{Header: f.header(alice), Inode: ino, Size: 1000, Chunks: []proto.ChunkID{first.ID}, Mtime: mtime})
	if a := c.Attr; a.Size != 1000 || a.Mtime != mtime || a.Ctime != mtime || a.Change <= before.Change || a.Blocks != 8 {
		t.Errorf("committed: %+v", a)
	}
	if c := f.ok(&Commit{Header: f.header(root), Inode: ino, Size: 10}); c.Attr.Size != 1000 || c.Attr.Mtime != (Time{}) {
		t.Errorf("a commit never shrinks: %+v", c.Attr)
	}
	if got, ok := f.Chunk(first.ID); !ok || !got.Committed || f.Stats().Assigned != 1 {
		t.Errorf("chunk %+v, %+v", got, f.Stats())
	}

	f.ok(&SetAttr{Header: f.header(root), Inode: ino, Set: SetMode, Mode: 0o6755})
	if c := f.ok(&Commit{Header: f.header(bob), Inode: ino}); c.Attr.Mode != typeFile|0o755 {
		t.Errorf("mode after a write by another: %o", c.Attr.Mode)
	}
	other := f.ok(&Make{Header: f.header(root), Parent: top, Name: []byte("g"), Chain: chain})
	f.want(proto.NotFound, &Commit{Header: f.header(root), Inode: ino, Chunks: []proto.ChunkID{r.Chunks[1].ID, other.Chunks[0].ID}})
	f.want(proto.NotFound, &Commit{Header: f.header(root), Inode: ino, Chunks: []proto.ChunkID{0}})
	f.want(proto.FileTooBig, &Commit{Header: f.header(root), Inode: ino, Size: 1 << 63})
	f.want(proto.IsDir, &Commit{Header: f.header(root), Inode: top})
	f.want(proto.Stale, &AssignChunks{Header: f.header(root), Inode: 99, Chains: [][]proto.NodeID{chain}})
	f.want(proto.Invalid, &AssignChunks{Header: f.header(root), Inode: ino})
	f.want(proto.FileTooBig, &AssignChunks{Header: f.header(root), Inode: ino, First: MaxFileSize / testChunk, Chains: [][]proto.NodeID{chain, chain}})
	f.want(proto.FileTooBig, &AssignChunks{Header: f.header(root), Inode: ino, First: 1<<64 - 1, Chains: [][]proto.NodeID{chain}})
	f.want(proto.TooFewReplicas, &AssignChunks{Header: f.header(root), Inode: ino, Chains: [][]proto.NodeID{chain, {1}}})

	d := f.ok(&DropAssigned{Inode: ino, Chunks: []proto.ChunkID{first.ID, r.Chunks[1].ID, other.Chunks[0].ID, 4711}})
	if len(d.Freed) != 1 || d.Freed[0].ID != r.Chunks[1].ID || len(d.Freed[0].Chain) != 4 || len(f.chunksOf(ino)) != 1 {
		t.Errorf("dropped %+v", d.Freed)
	}
	f.ok(&Unlink{Header: f.header(root), Parent: top, Name: []byte("f")})
	if d := f.ok(&Reap{Inodes: []proto.InodeID{ino}}); len(d.Freed) != 1 || d.Freed[0].ID != first.ID {
		t.Errorf("reaped %+v", d.Freed)
	}
	reload(t, f.State)
}

func TestFateOfChunks(t *testing.T) {
	f := newFixture(t)
	made := f.ok(&Make{Header: f.header(root), Parent: top, Name: []byte("f"), Chain: []proto.NodeID{1, 2}})
	id := made.Chunks[0].ID
	next := proto.ChunkID(proto.MakeID(id.Slot(), id.Generation()+1))
	check := func(when string, id proto.ChunkID, want Fate) {
		t.Helper()
		for _, s := range []*State{f.State, reload(t, f.State)} {
			if got := s.Fate(id); got != want {
				t.Errorf("%s: fate of %v is %d, want %d", when, id, got, want)
			}
		}
	}
	check("live", id, Live)
	check("never issued", next, NeverIssued)
	check("beyond", id+1, NeverIssued)
	check("zero", 0, NeverIssued)
	f.ok(&DropAssigned{Inode: made.Inode, Chunks: []proto.ChunkID{id}})
	check("freed", id, Freed)
	check("the slot's next", next, NeverIssued)
	again := f.ok(&AssignChunks{Header: f.header(root), Inode: made.Inode, Chains: [][]proto.NodeID{{1, 2}}})
	if again.Chunks[0].ID != next {
		t.Fatalf("chunk %v, want %v", again.Chunks[0].ID, next)
	}
	check("the slot was used again", id, Freed)
	check("live again", next, Live)

	// The last generation of a slot is never handed out (L1).
	f.chunks.mut(next.Slot()).generation = retired - 1
	last := f.chunksOf(made.Inode)[0].ID
	f.ok(&DropAssigned{Inode: made.Inode, Chunks: []proto.ChunkID{last}})
	check("retired", last, Freed)
	if c := f.ok(&AssignChunks{Header: f.header(root), Inode: made.Inode, Chains: [][]proto.NodeID{{1, 2}}}); c.Chunks[0].ID.Slot() == last.Slot() {
		t.Error("a retired slot was used again")
	}
}

func TestSetChainIsCompareAndSet(t *testing.T) {
	f := newFixture(t)
	id := f.ok(&Make{Header: f.header(root), Parent: top, Name: []byte("f"), Chain: []proto.NodeID{1, 2, 3}}).Chunks[0].ID
	r := f.ok(&SetChain{Chunk: id, From: 1, To: 2, Chain: []proto.NodeID{2, 3}})
	if c := r.Chunks[0]; c.Version != 2 || !slices.Equal(c.Chain, []proto.NodeID{2, 3}) {
		t.Errorf("chain %+v", c)
	}
	r = f.want(proto.WrongVersion, &SetChain{Chunk: id, From: 1, To: 3, Chain: []proto.NodeID{1, 2}})
	if len(r.Chunks) != 1 || r.Chunks[0].Version != 2 {
		t.Errorf("what stands: %+v", r.Chunks)
	}
	f.want(proto.Invalid, &SetChain{Chunk: id, From: 2, To: 2, Chain: []proto.NodeID{1, 2}}) // L3
	f.want(proto.Invalid, &SetChain{Chunk: id, From: 2, To: 1, Chain: []proto.NodeID{1, 2}})
	f.want(proto.Invalid, &SetChain{Chunk: id, From: 2, To: 1 << 32, Chain: []proto.NodeID{1, 2}})
	f.want(proto.TooFewReplicas, &SetChain{Chunk: id, From: 2, To: 3, Chain: []proto.NodeID{1}}) // L4
	f.want(proto.NotFound, &SetChain{Chunk: id + 1, From: 2, To: 3, Chain: []proto.NodeID{1, 2}})
	f.ok(&SetChain{Chunk: id, From: 2, To: 9, Chain: []proto.NodeID{1, 2, 3, 4}})
	f.ok(&SetChain{Chunk: id, From: 9, To: 10, Chain: []proto.NodeID{4, 3, 2, 1}})
	f.ok(&SetChain{Chunk: id, From: 10, To: 11, Chain: []proto.NodeID{1, 2, 3}})
	reload(t, f.State)
}

// A file with holes up to the largest offset costs what its chunks cost.
func TestFileMapAgainstMap(t *testing.T) {
	f := newFixture(t)
	ino := f.make(root, top, "f", typeFile)
	r := rand.New(rand.NewPCG(3, 4))
	want := map[uint64]proto.ChunkID{}
	last := uint64(MaxFileSize) / testChunk
	check := func() {
		t.Helper()
		list := f.chunksOf(ino)
		if len(list) != len(want) || !slices.IsSortedFunc(list, func(a, b Chunk) int { return int(int64(a.Index - b.Index)) }) {
			t.Fatalf("%d chunks, want %d", len(list), len(want))
		}
		for _, c := range list {
			if want[c.Index] != c.ID {
				t.Fatalf("chunk %+v, want %v", c, want[c.Index])
			}
		}
	}
	for range 3000 {
		index := r.Uint64N(400)
		if r.IntN(3) == 0 {
			index = r.Uint64N(last + 1)
		}
		switch r.IntN(50) {
		case 0:
			size := max(index, 2) * testChunk
			if size > MaxFileSize {
				size = MaxFileSize
			}
			f.Apply(0, &SetAttr{Header: f.header(root), Inode: ino, Set: SetSize, Size: size})
			for i := range want {
				if i >= index && i >= 2 && size != MaxFileSize {
					delete(want, i)
				}
			}
			check()
		case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10:
			for i, id := range want {
				f.Apply(0, &DropAssigned{Inode: ino, Chunks: []proto.ChunkID{id}})
				delete(want, i)
				break
			}
		default:
			got := f.Apply(0, &AssignChunks{Header: f.header(root), Inode: ino, First: index, Chains: [][]proto.NodeID{{1, 2}}})
			if id := got.Chunks[0].ID; want[index] != 0 && want[index] != id {
				t.Fatalf("index %d has chunk %v, was given %v", index, want[index], id)
			} else {
				want[index] = id
			}
		}
	}
	check()
	reload(t, f.State)
	var some []uint64
	f.FileChunks(ino, 5, 100, func(c Chunk) bool { some = append(some, c.Index); return len(some) < 3 })
	for _, i := range some {
		if i < 5 || i >= 105 {
			t.Errorf("chunk %d outside the range", i)
		}
	}
	n := 0
	f.EachChunk(0, func(Chunk) bool { n++; return true })
	if n != len(want) || f.Stats().Chunks != uint64(n) {
		t.Errorf("%d chunks in the table, %d in the file", n, len(want))
	}
	f.ok(&Unlink{Header: f.header(root), Parent: top, Name: []byte("f")})
	if freed := f.ok(&Reap{Inodes: []proto.InodeID{ino}}).Freed; len(freed) != n || f.Stats().Chunks != 0 {
		t.Errorf("%d chunks freed of %d", len(freed), n)
	}
	reload(t, f.State)
}
