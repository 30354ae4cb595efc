package state

import "github.com/distrifs/distrifs/proto"

// chunkRecord is what a checkpoint says of a slot for chunks.
type chunkRecord struct {
	form                uint8
	generation, version uint32
	file                uint32 // slot; of a chunk that is shared none
	target              uint32 // of a reference
	index               uint64
	chain               []proto.NodeID
}

func (l *loader) decodeChunk(r *chunkRecord) {
	r.form, r.generation = l.u8(), l.u32()
	l.check(r.form <= formCommitted || r.form <= formReference && l.format > 1, "unknown form of a chunk")
	l.countSlot("too many chunks")
	if r.form == formFree {
		return
	}
	l.check(r.generation != retired, "generation of a chunk out of range")
	if r.form != formReference {
		r.version = l.u32()
		l.check(r.version > 0, "version of a chunk out of range")
	}
	if r.form != formShared {
		r.file, r.index = l.u32(), l.u64()
		l.checkPlace(r.file, r.index)
	}
	if r.form == formReference {
		r.target = l.u32()
	} else {
		r.chain = r.chain[:0]
		for range l.count(4) {
			r.chain = append(r.chain, proto.NodeID(l.u32()))
		}
		l.check(l.checkChain(r.chain) == proto.OK, "chain of a chunk out of range")
	}
}

// checkPlace checks that a file may have a chunk at an index.
func (l *loader) checkPlace(file uint32, index uint64) {
	if l.bad || !l.liveInode(file) {
		return
	}
	l.check(l.inodes.get(file).kind() == typeFile, "a chunk of what can have none")
	l.check(index <= l.config.LastChunk(), "index of a chunk out of range")
}

func (l *loader) putChunk(r *chunkRecord) string {
	slot := l.chunks.extend()
	c := l.chunks.mut(slot)
	c.generation = r.generation
	if r.form == formFree {
		return ""
	}
	l.chunks.live++
	switch r.form {
	case formShared:
		c.inode, c.version, c.word = chunkShared, r.version, chunkLive|chunkCommitted
		l.setChain(slot, r.chain)
		return ""
	case formReference:
		return l.putReference(slot, r)
	default:
		return l.putOwned(slot, r)
	}
}

const twoChunks = "two chunks at one index"

// putOwned puts a chunk that stands in one place, or the clone of a reference that does.
func (l *loader) putOwned(slot uint32, r *chunkRecord) string {
	at := l.chunkAt(l.inodes.get(r.file).content, r.index)
	isClone := at != 0 && r.form == formAssigned && l.chunks.get(at).reference() && l.chunks.get(at).clone() == 0
	if at != 0 && !isClone {
		return twoChunks
	}
	c := l.chunks.mut(slot)
	c.inode, c.version = r.file, r.version
	c.indexLow, c.word = uint32(r.index), uint16(r.index>>32)|chunkLive
	if r.form == formCommitted {
		c.word |= chunkCommitted
	} else {
		l.counts.assigned++
	}
	l.setChain(slot, r.chain)
	if isClone {
		l.chunks.mut(at).setClone(slot)
	} else {
		l.attach(r.file, slot, r.index)
	}
	return ""
}

// putReference puts a reference. Its clone may have come before it, and then stands in its
// place.
func (l *loader) putReference(slot uint32, r *chunkRecord) string {
	at := l.chunkAt(l.inodes.get(r.file).content, r.index)
	if at != 0 {
		if l.chunks.get(at).committed() {
			return twoChunks
		}
		l.detach(r.file, r.index)
	}
	l.counts.references++
	c := l.chunks.mut(slot)
	c.inode, c.version = r.file, r.target
	c.indexLow, c.word = uint32(r.index), uint16(r.index>>32)|chunkLive|chunkCommitted|chunkReference
	c.setClone(at)
	l.attach(r.file, slot, r.index)
	return ""
}

func (l *loader) afterChunks() {
	l.countReferences()
	l.freeChunks = make([]bool, l.chunks.length)
}

// countReferences looks at every reference once all chunks are there.
func (l *loader) countReferences() {
	for slot := uint32(1); slot < l.chunks.length && l.err == nil; slot++ {
		c := l.chunks.get(slot)
		if !c.reference() {
			continue
		}
		target := c.target()
		l.check(target != 0 && target < l.chunks.length && l.chunks.get(target).shared(), "a reference to a chunk that is not shared")
		if l.err == nil {
			l.chunks.mut(target).inode++
		}
	}
	for slot := uint32(1); slot < l.chunks.length; slot++ {
		c := l.chunks.get(slot)
		l.check(!c.shared() || c.references() > 0, "a shared chunk that stands nowhere")
	}
}

func (l *loader) loadFreeChunk() {
	slot := l.u32()
	ok := slot != 0 && slot < l.chunks.length && !l.chunks.get(slot).live() &&
		l.chunks.get(slot).generation != retired && !l.freeChunks[slot]
	l.check(ok, "a free chunk is not free")
	if l.err == nil {
		l.freeChunks[slot] = true
		l.chunks.appendFree(slot, l.last)
		l.last = slot
	}
}

func (l *loader) afterFreeChunks() {
	for slot := uint32(1); slot < l.chunks.length; slot++ {
		if c := l.chunks.get(slot); !c.live() && c.generation != retired && !l.freeChunks[slot] {
			l.check(false, "a free chunk is not in the free list")
			return
		}
	}
	l.freeChunks = nil
}
