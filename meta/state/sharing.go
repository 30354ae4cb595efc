package state

import "github.com/distrifs/distrifs/proto"

// A chunk that stands in several places is shared. Its record then belongs to no file
// (inode: chunkShared and the number of its references, index 0), and in each place
// hangs a reference, which is a record of the same table:
//
//	generation  of the slot; no chunk id is made of it
//	inode       slot: whose file
//	version     slot of the shared chunk
//	index       in the file
//	word        chunkLive, chunkCommitted, chunkReference
//	chain       slot of the clone, as the ref of a long chain; 0: none
//
// So chunks that are not shared cost nothing more, and each place of one that is costs
// a record.
//
// A chunk that was shared once stays so, even when one reference is left: what a
// client knows of it from before must never lead a write to it. Who wants to write gets
// a clone: AssignChunks makes it and hangs it on the reference, replicas are made, and
// TakeClone puts it into the place of the reference. A clone that is never taken goes
// with the reference, or with DropAssigned.
const (
	// chunkReference marks a reference: a long chain has no length.
	chunkReference = chunkLong | 1<<12
	// chunkShared marks a shared chunk in chunk.inode, where slots are smaller.
	chunkShared = nodeBit
)

func (c *chunk) reference() bool { return c.word&(chunkLong|chunkLength) == chunkReference }
func (c *chunk) shared() bool    { return c.live() && c.inode&chunkShared != 0 }
func (c *chunk) target() uint32  { return c.version }
func (c *chunk) clone() uint32   { return c.long() }

func (c *chunk) setClone(slot uint32) { c.chain = [3]uint16{uint16(slot), uint16(slot >> 16)} }

// references counts those of a shared chunk.
func (c *chunk) references() uint32 {
	if !c.shared() {
		return 0
	}
	return c.inode &^ chunkShared
}

// newReference has a shared chunk stand in a place that is empty.
func (t *tables) newReference(inode uint32, index uint64, shared uint32) {
	slot := t.chunks.alloc()
	c := t.chunks.mut(slot)
	*c = chunk{
		generation: c.generation, inode: inode, version: shared,
		indexLow: uint32(index), word: uint16(index>>32) | chunkLive | chunkCommitted | chunkReference,
	}
	t.chunks.mut(shared).inode++
	t.counts.references++
	t.attach(inode, slot, index)
}

// freeReference frees a reference that is detached from its file, with its clone, and
// with the chunk if it was the last one.
func (t *tables) freeReference(slot uint32, freed []Chunk) []Chunk {
	shared, clone := t.chunks.get(slot).target(), t.chunks.get(slot).clone()
	t.releaseChunk(slot)
	t.counts.references--
	if clone != 0 {
		freed = t.freeChunk(clone, freed)
	}
	c := t.chunks.mut(shared)
	if c.inode--; c.inode == chunkShared {
		freed = t.freeChunk(shared, freed)
	}
	return freed
}

// share gives the shared chunk of a place where a committed one stands; fresh: it was
// not shared before.
func (t *tables) share(inode, chunk uint32) (shared uint32, fresh bool) {
	if c := t.chunks.get(chunk); c.reference() {
		return c.target(), false
	}
	index := t.chunks.get(chunk).index()
	t.detach(inode, index)
	c := t.chunks.mut(chunk)
	c.inode, c.indexLow = chunkShared, 0
	c.word &^= chunkIndexHigh
	t.newReference(inode, index, chunk)
	return chunk, true
}

// holds tells whether a chunk is what stands in its place of the file: it is neither
// shared nor a clone that was not taken yet.
func (t *tables) holds(inode, chunk uint32) bool {
	c := t.chunks.get(chunk)
	return c.inode == inode && t.chunkAt(t.inodes.get(inode).content, c.index()) == chunk
}

// cloneOf gives the clone of a reference, which is made if there is none yet.
func (t *tables) cloneOf(reference uint32, chain []proto.NodeID) uint32 {
	c := t.chunks.get(reference)
	if clone := c.clone(); clone != 0 {
		return clone
	}
	clone := t.looseChunk(c.inode, c.index(), chain)
	t.chunks.mut(reference).setClone(clone)
	return clone
}

func (s *State) takeClone(c *TakeClone) Result {
	clone, ok := s.chunk(c.Clone)
	if !ok || s.chunks.get(clone).shared() {
		return Result{Kind: proto.NotFound}
	}
	inode, index := s.chunks.get(clone).inode, s.chunks.get(clone).index()
	place := s.chunkAt(s.inodes.get(inode).content, index)
	if place == clone || place == 0 || !s.chunks.get(place).reference() || s.chunks.get(place).clone() != clone {
		return Result{Kind: proto.NotFound}
	}
	s.chunks.mut(place).setClone(0)
	s.detach(inode, index)
	freed := s.freeReference(place, nil)
	s.attach(inode, clone, index)
	s.setCommitted(clone)
	return Result{Inode: s.inodeID(inode), Chunks: []Chunk{s.chunkInfo(clone)}, Freed: freed}
}

func (s *State) copyChunks(c *CopyChunks) Result {
	from, kind := s.regularFile(c.From)
	if kind != proto.OK {
		return Result{Kind: kind}
	}
	to, kind := s.regularFile(c.To)
	if kind != proto.OK {
		return Result{Kind: kind}
	}
	if kind := s.checkCopy(from, to, c); kind != proto.OK {
		return Result{Kind: kind}
	}
	r := Result{Inode: c.To}
	fresh := false
	for i := range c.Count {
		var more bool
		r.Freed, more = s.copyChunk(from, c.FromIndex+i, to, c.ToIndex+i, r.Freed)
		fresh = fresh || more
	}
	if fresh && from != to { // who knew them as his to write to, knows too little now
		s.setTimes(from, s.times(from))
	}
	if c.Size > s.size(s.inodes.get(to)) {
		s.setSize(to, c.Size)
	}
	s.dropXattr(to, capabilityName)
	if c.Cred.UID != 0 {
		s.dropSetIDs(to, &c.Cred)
	}
	s.modified(to, c.Now)
	r.Attr = s.attr(to)
	return r
}

func (t *tables) checkCopy(from, to uint32, c *CopyChunks) proto.Kind {
	last := t.config.LastChunk()
	switch {
	case c.Count == 0 || c.Count > MaxAssign:
		return proto.Invalid
	case max(c.FromIndex, c.ToIndex) > last || c.Count-1 > last-max(c.FromIndex, c.ToIndex) || c.Size > MaxFileSize:
		return proto.FileTooBig
	case from == to && c.FromIndex < c.ToIndex+c.Count && c.ToIndex < c.FromIndex+c.Count:
		return proto.Invalid
	}
	if t.change(from) != c.FromChange {
		return proto.Busy
	}
	chunk, size := t.config.ChunkSize, t.size(t.inodes.get(from))
	if size < (c.FromIndex+c.Count)*chunk {
		good := c.ToIndex*chunk + max(size, c.FromIndex*chunk) - c.FromIndex*chunk
		if max(c.Size, t.size(t.inodes.get(to))) > good {
			return proto.Busy
		}
	}
	return proto.OK
}

// copyChunk has one place look like another; fresh: a chunk was not shared before. What
// is assigned holds nothing for readers, and counts as a hole where it is copied from.
func (t *tables) copyChunk(from uint32, index uint64, to uint32, toIndex uint64, freed []Chunk) (_ []Chunk, fresh bool) {
	shared := uint32(0)
	if chunk := t.chunkAt(t.inodes.get(from).content, index); chunk != 0 && t.chunks.get(chunk).committed() {
		shared, fresh = t.share(from, chunk)
	}
	if old := t.chunkAt(t.inodes.get(to).content, toIndex); old != 0 && (shared != 0 || t.chunks.get(old).committed()) {
		t.detach(to, toIndex)
		freed = t.freeChunk(old, freed)
	}
	if shared != 0 {
		t.newReference(to, toIndex, shared)
	}
	return freed, fresh
}

// EachClone calls fn for the places at first <= index < first+count of a file where a
// shared chunk stands that a clone has been assigned for, in order.
func (s *State) EachClone(ino proto.InodeID, first uint64, count int, fn func(shared, clone Chunk)) proto.Kind {
	slot, kind := s.regularFile(ino)
	if kind != proto.OK {
		return kind
	}
	content := s.inodes.get(slot).content
	for i := range uint64(max(count, 0)) {
		place := s.chunkAt(content, first+i)
		if place == 0 || !s.chunks.get(place).reference() {
			continue
		}
		if clone := s.chunks.get(place).clone(); clone != 0 {
			fn(s.chunkInfo(place), s.chunkInfo(clone))
		}
	}
	return proto.OK
}
