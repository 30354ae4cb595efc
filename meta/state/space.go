package state

import "github.com/distrifs/distrifs/proto"

// What space files take: holes, and how much is held.

func (s *State) fallocate(c *Fallocate) Result {
	slot, kind := s.regularFile(c.Inode)
	switch {
	case kind != proto.OK:
		return Result{Kind: kind}
	case c.Offset > MaxFileSize || c.Length > MaxFileSize-c.Offset || c.Size > MaxFileSize:
		return Result{Kind: proto.FileTooBig}
	}
	r := Result{Inode: c.Inode}
	first, end := s.holeChunks(s.size(s.inodes.get(slot)), c)
	r.Freed = s.punchChunks(slot, first, end)
	if c.Size > s.size(s.inodes.get(slot)) {
		s.setSize(slot, c.Size)
	}
	s.dropXattr(slot, capabilityName)
	if c.Cred.UID != 0 {
		s.dropSetIDs(slot, &c.Cred)
	}
	s.modified(slot, c.Now)
	r.Attr = s.attr(slot)
	return r
}

// holeChunks says which indexes the hole covers wholly: first <= index < end.
func (t *tables) holeChunks(size uint64, c *Fallocate) (first, end uint64) {
	chunk := t.config.ChunkSize
	first, end = chunksOf(c.Offset, chunk), (c.Offset+c.Length)/chunk
	if c.Tail && size > 0 && c.Length > 0 && c.Offset+c.Length >= size {
		end = max(end, chunksOf(size, chunk))
	}
	return first, end
}

// chunksOf is how many chunks hold so many bytes.
func chunksOf(bytes, chunk uint64) uint64 { return (bytes + chunk - 1) / chunk }

// punchChunks frees the committed chunks at first <= index < end. Those that are
// assigned hold nothing for readers, and somebody may be writing to them.
func (t *tables) punchChunks(inode uint32, first, end uint64) (freed []Chunk) {
	for index := first; index < end; index++ {
		chunk := t.chunkFrom(t.inodes.get(inode).content, index)
		if chunk == 0 {
			break
		}
		if index = t.chunks.get(chunk).index(); index >= end {
			break
		}
		if t.chunks.get(chunk).committed() {
			t.detach(inode, index)
			freed = t.freeChunk(chunk, freed)
		}
	}
	return freed
}

// fileBlocks is st_blocks: each committed chunk counts whole, the one that the file
// ends in to the end of the file, in whole blocks.
func (t *tables) fileBlocks(n *inode) uint64 {
	chunk, size := t.config.ChunkSize, t.size(n)
	held := uint64(t.committedCount(n.content))
	if held == 0 || size == 0 {
		return 0
	}
	last := (size - 1) / chunk
	bytes := min(held, last+1) * chunk
	if slot := t.chunkAt(n.content, last); slot != 0 && t.chunks.get(slot).committed() {
		bytes -= chunk - 1 - (size-1)%chunk
	}
	return (bytes + proto.BlockSize - 1) / proto.BlockSize * (proto.BlockSize / 512)
}
