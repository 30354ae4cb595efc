package state

import "github.com/distrifs/distrifs/proto"

// A file's chunks hang on inode.content: none (0), one (the chunk's slot), or more
// (nodeBit and the slot of a fileMap, whose trie orders them by index). So holes
// cost nothing, wherever the chunks are.
type fileMap struct {
	root      uint32
	count     uint32 // of chunks, at least 2
	committed uint32 // of them
}

func (m *fileMap) freeLink() *uint32 { return &m.root }

// indexShift moves an index to where the lowest digits of its key fill whole trie nodes.
const indexShift = 15

// chunkKeys are the keys of chunks in a file's trie.
type chunkKeys tables

func (k *chunkKeys) key(slot uint32) uint64 { return k.chunks.get(slot).index() << indexShift }

func (t *tables) chunkTrie() trie { return trie{&t.arena, (*chunkKeys)(t)} }

// committedCount is how many chunks of a file are committed.
func (t *tables) committedCount(content uint32) uint32 {
	switch {
	case content == 0:
		return 0
	case content&nodeBit == 0:
		return t.oneIfCommitted(content)
	default:
		return t.maps.get(content &^ nodeBit).committed
	}
}

func (t *tables) oneIfCommitted(chunk uint32) uint32 {
	if t.chunks.get(chunk).committed() {
		return 1
	}
	return 0
}

// setCommitted makes an assigned chunk part of its file.
func (t *tables) setCommitted(chunk uint32) {
	c := t.chunks.mut(chunk)
	c.word |= chunkCommitted
	t.counts.assigned--
	if content := t.inodes.get(c.inode).content; content&nodeBit != 0 {
		t.maps.mut(content&^nodeBit).committed++
	}
}

// chunkFrom finds the first chunk at or behind an index; 0: none.
func (t *tables) chunkFrom(content uint32, index uint64) uint32 {
	if content&nodeBit != 0 {
		slot, _ := t.chunkTrie().ceil(t.maps.get(content&^nodeBit).root, index<<indexShift)
		return slot
	}
	if content != 0 && t.chunks.get(content).index() >= index {
		return content
	}
	return 0
}

// chunkAt finds the chunk at an index; 0: a hole.
func (t *tables) chunkAt(content uint32, index uint64) uint32 {
	if slot := t.chunkFrom(content, index); slot != 0 && t.chunks.get(slot).index() == index {
		return slot
	}
	return 0
}

// attach hangs a chunk on a file that has none at its index.
func (t *tables) attach(inode, chunk uint32, index uint64) {
	n := t.inodes.mut(inode)
	switch {
	case n.content == 0:
		n.content = chunk
	case n.content&nodeBit == 0:
		only := n.content
		m := t.maps.alloc()
		n.content = m | nodeBit
		root := t.chunkTrie().insert(only, index<<indexShift, chunk)
		*t.maps.mut(m) = fileMap{root: root, count: 2, committed: t.oneIfCommitted(only) + t.oneIfCommitted(chunk)}
	default:
		m := t.maps.mut(n.content &^ nodeBit)
		m.root = t.chunkTrie().insert(m.root, index<<indexShift, chunk)
		m.count++
		m.committed += t.oneIfCommitted(chunk)
	}
}

// detach takes the chunk at an index off its file, before it is freed.
func (t *tables) detach(inode uint32, index uint64) {
	n := t.inodes.mut(inode)
	if n.content&nodeBit == 0 {
		n.content = 0
		return
	}
	slot := n.content &^ nodeBit
	chunk := t.chunkAt(n.content, index)
	m := t.maps.mut(slot)
	m.committed -= t.oneIfCommitted(chunk)
	m.root, _ = t.chunkTrie().remove(m.root, index<<indexShift)
	if m.count--; m.count == 1 {
		n.content = m.root
		t.maps.release(slot)
	}
}

// truncateChunks frees the chunks at and behind an index and appends them to freed.
func (t *tables) truncateChunks(inode uint32, from uint64, freed []Chunk) []Chunk {
	if content := t.inodes.get(inode).content; from == 0 && content&nodeBit != 0 {
		slot := content &^ nodeBit
		t.inodes.mut(inode).content = 0
		t.chunkTrie().clear(t.maps.get(slot).root, func(chunk uint32) {
			freed = t.freeChunk(chunk, freed)
		})
		t.maps.release(slot)
		return freed
	}
	for {
		chunk := t.chunkFrom(t.inodes.get(inode).content, from)
		if chunk == 0 {
			return freed
		}
		t.detach(inode, t.chunks.get(chunk).index())
		freed = t.freeChunk(chunk, freed)
	}
}

// FileChunks calls fn for the chunks at first <= index < first+count, in order, until
// it answers false; holes are left out. Stale, IsDir, Invalid (no regular file).
func (s *State) FileChunks(ino proto.InodeID, first uint64, count int, fn func(Chunk) bool) proto.Kind {
	slot, kind := s.regularFile(ino)
	if kind != proto.OK {
		return kind
	}
	content := s.inodes.get(slot).content
	last := s.config.LastChunk()
	for index := first; index <= last; index++ {
		chunk := s.chunkFrom(content, index)
		if chunk == 0 {
			return proto.OK
		}
		index = s.chunks.get(chunk).index()
		if index-first >= uint64(max(count, 0)) || !fn(s.chunkInfo(chunk)) {
			return proto.OK
		}
	}
	return proto.OK
}
