package state

import (
	"encoding/binary"
	"math"

	"github.com/distrifs/distrifs/proto"
)

// chunk is the record of a chunk, or of a reference to one that is shared
// (sharing.go). A free slot keeps the generation that its next chunk will have.
type chunk struct {
	generation uint32
	inode      uint32 // slot; of a shared chunk see there
	version    uint32
	indexLow   uint32
	word       uint16    // the index's bits 32-42, and the flags below
	chain      [3]uint16 // node ids; with chunkLong the ref of a block: length, ids
}

const (
	chunkIndexHigh = 1<<11 - 1
	chunkLive      = 1 << 11
	chunkLength    = 3 << 12 // of the chain, unless it is long; both: sharing.go
	chunkLong      = 1 << 14
	chunkCommitted = 1 << 15
)

func (c *chunk) freeLink() *uint32 { return &c.inode }
func (c *chunk) live() bool        { return c.word&chunkLive != 0 }
func (c *chunk) committed() bool   { return c.word&chunkCommitted != 0 }
func (c *chunk) index() uint64     { return uint64(c.word&chunkIndexHigh)<<32 | uint64(c.indexLow) }
func (c *chunk) long() ref         { return uint32(c.chain[1])<<16 | uint32(c.chain[0]) }

// newChunk makes an assigned chunk of version 1 and attaches it to a file.
func (t *tables) newChunk(inode uint32, index uint64, chain []proto.NodeID) uint32 {
	slot := t.looseChunk(inode, index, chain)
	t.attach(inode, slot, index)
	return slot
}

// looseChunk makes an assigned chunk for a place in a file, and does not attach it.
func (t *tables) looseChunk(inode uint32, index uint64, chain []proto.NodeID) uint32 {
	slot := t.chunks.alloc()
	c := t.chunks.mut(slot)
	*c = chunk{
		generation: c.generation, inode: inode, version: 1,
		indexLow: uint32(index), word: uint16(index>>32) | chunkLive,
	}
	t.setChain(slot, chain)
	t.counts.assigned++
	return slot
}

// freeChunk frees what is detached from its file, a chunk or a reference, and appends
// the chunks that are gone with it to freed.
func (t *tables) freeChunk(slot uint32, freed []Chunk) []Chunk {
	if t.chunks.get(slot).reference() {
		return t.freeReference(slot, freed)
	}
	freed = append(freed, t.chunkInfo(slot))
	t.setChain(slot, nil)
	if !t.chunks.get(slot).committed() {
		t.counts.assigned--
	}
	t.releaseChunk(slot)
	return freed
}

// releaseChunk makes a slot free for another chunk.
func (t *tables) releaseChunk(slot uint32) {
	c := t.chunks.mut(slot)
	c.word = 0
	if c.generation++; c.generation == retired {
		t.chunks.retire()
	} else {
		t.chunks.release(slot)
	}
}

// setChain replaces the chain; nil: none.
func (t *tables) setChain(slot uint32, chain []proto.NodeID) {
	c := t.chunks.mut(slot)
	if c.word&chunkLong != 0 {
		t.arena.release(c.long())
	}
	c.word &^= chunkLong | chunkLength
	if len(chain) <= len(c.chain) {
		c.word |= uint16(len(chain)) << 12
		for i, node := range chain {
			c.chain[i] = uint16(node)
		}
		return
	}
	r := t.arena.alloc(2 + 2*len(chain))
	block := t.arena.mut(r)
	binary.LittleEndian.PutUint16(block, uint16(len(chain)))
	for i, node := range chain {
		binary.LittleEndian.PutUint16(block[2+2*i:], uint16(node))
	}
	c.word |= chunkLong
	c.chain = [3]uint16{uint16(r), uint16(r >> 16)}
}

// appendChain appends the chain to dst.
func (t *tables) appendChain(dst []proto.NodeID, c *chunk) []proto.NodeID {
	if c.word&chunkLong == 0 {
		for _, node := range c.chain[:c.word&chunkLength>>12] {
			dst = append(dst, proto.NodeID(node))
		}
		return dst
	}
	block := t.arena.block(c.long())
	for i := range int(binary.LittleEndian.Uint16(block)) {
		dst = append(dst, proto.NodeID(binary.LittleEndian.Uint16(block[2+2*i:])))
	}
	return dst
}

// chunk finds the slot of a live chunk.
func (t *tables) chunk(id proto.ChunkID) (uint32, bool) {
	slot := id.Slot()
	if slot == 0 || slot >= t.chunks.length {
		return 0, false
	}
	c := t.chunks.get(slot)
	return slot, c.live() && !c.reference() && c.generation == id.Generation()
}

// chunkInfo tells of a chunk, or of the one that a reference stands for.
func (t *tables) chunkInfo(slot uint32) (info Chunk) {
	info.Chain = make([]proto.NodeID, 0, len(chunk{}.chain))
	t.describe(slot, &info)
	return info
}

// describe is chunkInfo without an allocation, if the chain has room.
func (t *tables) describe(slot uint32, info *Chunk) {
	place := t.chunks.get(slot)
	c := place
	if place.reference() {
		slot = place.target()
		c = t.chunks.get(slot)
	}
	*info = Chunk{
		ID:      proto.ChunkID(proto.MakeID(slot, c.generation)),
		Version: proto.Version(c.version), Committed: c.committed(), References: c.references(),
		Chain: t.appendChain(info.Chain[:0], c),
	}
	if !place.shared() {
		info.Index, info.Inode = place.index(), t.inodeID(place.inode)
	}
}

// checkChain says whether chunks may be kept on these nodes: known, distinct, and
// at least min-replicas of them.
func (t *tables) checkChain(chain []proto.NodeID) proto.Kind {
	if len(chain) > MaxChain {
		return proto.Invalid
	}
	for i, node := range chain {
		if node == 0 || uint64(node) >= uint64(t.nodes.length) {
			return proto.Invalid
		}
		for _, other := range chain[:i] {
			if other == node {
				return proto.Invalid
			}
		}
	}
	if len(chain) < int(t.config.MinReplicas) {
		return proto.TooFewReplicas
	}
	return proto.OK
}

// Chunk gives a live chunk.
func (s *State) Chunk(id proto.ChunkID) (Chunk, bool) {
	slot, ok := s.chunk(id)
	if !ok {
		return Chunk{}, false
	}
	return s.chunkInfo(slot), true
}

// ChunkInto is Chunk for those who ask for many: c and its chain are used again.
func (s *State) ChunkInto(id proto.ChunkID, c *Chunk) bool {
	slot, ok := s.chunk(id)
	if ok {
		s.describe(slot, c)
	}
	return ok
}

// Fate says what became of a chunk id.
func (s *State) Fate(id proto.ChunkID) Fate {
	slot := id.Slot()
	if slot == 0 || slot >= s.chunks.length {
		return NeverIssued
	}
	c := s.chunks.get(slot)
	switch generation := id.Generation(); {
	case generation < c.generation:
		return Freed
	case generation > c.generation:
		return NeverIssued
	case c.live() && !c.reference():
		return Live
	default:
		return NeverIssued
	}
}

// EachChunk calls fn for the live chunks in slots >= from, in order, until it answers
// false. A shared chunk comes once.
func (s *State) EachChunk(from uint32, fn func(Chunk) bool) {
	for slot := max(from, 1); slot < s.chunks.length; slot++ {
		if c := s.chunks.get(slot); c.live() && !c.reference() && !fn(s.chunkInfo(slot)) {
			return
		}
	}
}

func (s *State) assignChunks(c *AssignChunks) Result {
	slot, kind := s.regularFile(c.Inode)
	if kind != proto.OK {
		return Result{Kind: kind}
	}
	n := len(c.Chains)
	if n == 0 || n > MaxAssign {
		return Result{Kind: proto.Invalid}
	}
	if last := s.config.LastChunk(); c.First > last || uint64(n)-1 > last-c.First {
		return Result{Kind: proto.FileTooBig}
	}
	for _, chain := range c.Chains {
		if kind := s.checkChain(chain); kind != proto.OK {
			return Result{Kind: kind}
		}
	}
	r := Result{Inode: c.Inode, Chunks: make([]Chunk, 0, n)}
	for i, chain := range c.Chains {
		index := c.First + uint64(i)
		found := s.chunkAt(s.inodes.get(slot).content, index)
		switch {
		case found == 0:
			found = s.newChunk(slot, index, chain)
		case s.chunks.get(found).reference():
			found = s.cloneOf(found, chain)
		}
		r.Chunks = append(r.Chunks, s.chunkInfo(found))
	}
	r.Attr = s.attr(slot)
	return r
}

func (s *State) commit(c *Commit) Result {
	slot, kind := s.regularFile(c.Inode)
	switch {
	case kind != proto.OK:
		return Result{Kind: kind}
	case c.Size > MaxFileSize:
		return Result{Kind: proto.FileTooBig}
	}
	for _, id := range c.Chunks {
		if chunk, ok := s.chunk(id); !ok || !s.holds(slot, chunk) {
			return Result{Kind: proto.NotFound}
		}
	}
	for _, id := range c.Chunks {
		if !s.chunks.get(id.Slot()).committed() {
			s.setCommitted(id.Slot())
		}
	}
	if c.Size > s.size(s.inodes.get(slot)) {
		s.setSize(slot, c.Size)
	}
	if c.Cred.UID != 0 {
		s.dropSetIDs(slot, &c.Cred)
	}
	s.setTimes(slot, s.times(slot).committed(c.Mtime, c.Now))
	return Result{Inode: c.Inode, Attr: s.attr(slot)}
}

func (s *State) applySetChain(c *SetChain) Result {
	slot, ok := s.chunk(c.Chunk)
	if !ok {
		return Result{Kind: proto.NotFound}
	}
	if proto.Version(s.chunks.get(slot).version) != c.From {
		return Result{Kind: proto.WrongVersion, Chunks: []Chunk{s.chunkInfo(slot)}}
	}
	if c.To <= c.From || c.To > math.MaxUint32 { // L3: versions only grow
		return Result{Kind: proto.Invalid}
	}
	if kind := s.checkChain(c.Chain); kind != proto.OK {
		return Result{Kind: kind}
	}
	s.chunks.mut(slot).version = uint32(c.To)
	s.setChain(slot, c.Chain)
	info := s.chunkInfo(slot)
	return Result{Inode: info.Inode, Chunks: []Chunk{info}}
}

func (s *State) reap(c *Reap) Result {
	var r Result
	for _, id := range c.Inodes {
		if slot, ok := s.inode(id); ok && s.nlink(slot) == 0 {
			r.Freed = s.freeInode(slot, r.Freed)
		}
	}
	return r
}

func (s *State) dropAssigned(c *DropAssigned) Result {
	slot, kind := s.regularFile(c.Inode)
	if kind != proto.OK {
		return Result{Kind: kind}
	}
	r := Result{Inode: c.Inode}
	for _, id := range c.Chunks {
		chunk, ok := s.chunk(id)
		if !ok || s.chunks.get(chunk).inode != slot || s.chunks.get(chunk).committed() {
			continue
		}
		index := s.chunks.get(chunk).index()
		if place := s.chunkAt(s.inodes.get(slot).content, index); place == chunk {
			s.detach(slot, index)
		} else {
			s.chunks.mut(place).setClone(0)
		}
		r.Freed = s.freeChunk(chunk, r.Freed)
	}
	return r
}

// regularFile finds a file that can have chunks.
func (t *tables) regularFile(id proto.InodeID) (uint32, proto.Kind) {
	slot, ok := t.inode(id)
	if !ok {
		return 0, proto.Stale
	}
	switch t.inodes.get(slot).kind() {
	case typeFile:
		return slot, proto.OK
	case typeDir:
		return 0, proto.IsDir
	default:
		return 0, proto.Invalid
	}
}
