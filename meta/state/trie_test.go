package state

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// keyList is a keyer whose leaves are indexes of a list.
type keyList []uint64

func (k keyList) key(leaf uint32) uint64 { return k[leaf] }

// trieKeys makes keys that meet at all depths: spread wide, next to each other, and
// apart in the first and last bits.
func trieKeys(r *rand.Rand) uint64 {
	switch r.IntN(4) {
	case 0:
		return r.Uint64() >> 1
	case 1:
		return uint64(r.IntN(300))
	case 2:
		return 1<<62 + uint64(r.IntN(3000))<<indexShift
	default:
		return uint64(0xabcdef)<<32 | r.Uint64N(8)<<r.IntN(30)
	}
}

func TestTrieAgainstSortedList(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		a := newArena()
		keys := keyList{0}
		tr := trie{&a, &keys}
		leafOf := map[uint64]uint32{}
		var sorted []uint64
		root := uint32(0)
		for range 4000 {
			key := trieKeys(r)
			at, present := slices.BinarySearch(sorted, key)
			switch {
			case !present && r.IntN(10) < 6:
				keys = append(keys, key)
				leafOf[key] = uint32(len(keys) - 1)
				root = tr.insert(root, key, leafOf[key])
				sorted = slices.Insert(sorted, at, key)
			case present && r.IntN(2) == 0 || len(sorted) > 0 && r.IntN(4) == 0:
				if !present {
					at = r.IntN(len(sorted))
					key = sorted[at]
				}
				var leaf uint32
				if root, leaf = tr.remove(root, key); leaf != leafOf[key] {
					t.Fatalf("removed leaf %d, want %d", leaf, leafOf[key])
				}
				sorted = slices.Delete(sorted, at, at+1)
			case !present:
				if same, leaf := tr.remove(root, key); same != root || leaf != 0 {
					t.Fatalf("removed %d, which was not there", key)
				}
			}
			probe := trieKeys(r)
			at, _ = slices.BinarySearch(sorted, probe)
			leaf, key := tr.ceil(root, probe)
			if at == len(sorted) && leaf != 0 || at < len(sorted) && (leaf == 0 || key != sorted[at]) {
				t.Fatalf("ceil(%x) = %x", probe, key)
			}
		}
		var walked []uint64
		tr.walk(root, func(leaf uint32) bool {
			walked = append(walked, keys[leaf])
			return true
		})
		if !slices.Equal(walked, sorted) {
			t.Fatal("the walk gives other keys")
		}
		tr.clear(root, func(uint32) {})
		if n := a.liveBlocks(); n != 0 {
			t.Fatalf("%d blocks are left", n)
		}
	}
}

func TestArenaBlocksDoNotOverlap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	a := newArena()
	type block struct {
		r    ref
		n    int
		fill byte
	}
	var blocks []block
	for i := range 30000 {
		if len(blocks) > 2000 || len(blocks) > 0 && r.IntN(3) == 0 {
			k := r.IntN(len(blocks))
			b := blocks[k]
			for _, v := range a.block(b.r)[:b.n] {
				if v != b.fill {
					t.Fatal("a block was written to by another")
				}
			}
			a.release(b.r)
			blocks[k] = blocks[len(blocks)-1]
			blocks = blocks[:len(blocks)-1]
			continue
		}
		n := 1 + r.IntN(300)
		if r.IntN(10) == 0 {
			n = 1 + r.IntN(maxBlock)
		}
		b := block{a.alloc(n), n, byte(i)}
		if b.r == 0 || b.r >= nodeBit {
			t.Fatalf("ref %d", b.r)
		}
		for j := range b.n {
			a.mut(b.r)[j] = b.fill
		}
		blocks = append(blocks, b)
	}
	if got := a.liveBlocks(); got != len(blocks) {
		t.Fatalf("%d blocks in use, want %d", got, len(blocks))
	}
	for _, b := range blocks {
		a.release(b.r)
	}
	if pages := len(a.pages); len(a.empty) != pages {
		t.Fatalf("%d of %d pages are empty", len(a.empty), pages)
	}
}

func TestBlobs(t *testing.T) {
	a := newArena()
	for _, n := range []int{0, 1, 16, blobRest - 1, blobRest, blobRest + 1, 3*blobRest + 5, MaxXattrValue} {
		content := make([]byte, n)
		for i := range content {
			content[i] = byte(i * 7 >> 3)
		}
		r := a.newBlob(content)
		if a.blobLen(r) != n || !slices.Equal(a.blob(nil, r), content) {
			t.Errorf("a blob of %d bytes came back as another", n)
		}
		a.freeBlob(r)
	}
	if n := a.liveBlocks(); n != 0 {
		t.Errorf("%d blocks are left", n)
	}
}
