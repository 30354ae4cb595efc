package state

import "github.com/distrifs/distrifs/proto"

// Loading of what sharing.go is about.

// place finds what stands already where a chunk of a file is to be; false: there is no
// such place.
func (l *loader) place(file uint32, index uint64) (at uint32, ok bool) {
	if l.bad || !l.liveInode(file) {
		return 0, false
	}
	n := l.inodes.get(file)
	l.check(n.kind() == typeFile, "a chunk of what can have none")
	l.check(index <= l.config.LastChunk(), "index of a chunk out of range")
	if l.err != nil {
		return 0, false
	}
	return l.chunkAt(n.content, index), true
}

func (l *loader) loadShared(slot uint32) {
	version, chain := l.u32(), take32s[proto.NodeID](&l.take)
	l.check(version > 0 && l.checkChain(chain) == proto.OK, "a shared chunk out of range")
	if l.bad || l.err != nil {
		return
	}
	l.chunks.live++
	c := l.chunks.mut(slot)
	c.inode, c.version, c.word = chunkShared, version, chunkLive|chunkCommitted
	l.setChain(slot, chain)
}

// loadReference reads a reference. Its clone may have come before it, and then stands
// in its place.
func (l *loader) loadReference(slot uint32) {
	file, index, target := l.u32(), l.u64(), l.u32()
	at, ok := l.place(file, index)
	isClone := ok && at != 0 && !l.chunks.get(at).committed()
	l.check(!ok || at == 0 || isClone, "two chunks at one index")
	if !ok || l.err != nil {
		return
	}
	if isClone {
		l.detach(file, index)
	}
	l.chunks.live++
	l.counts.references++
	c := l.chunks.mut(slot)
	c.inode, c.version = file, target
	c.indexLow, c.word = uint32(index), uint16(index>>32)|chunkLive|chunkCommitted|chunkReference
	c.setClone(at)
	l.attach(file, slot, index)
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
