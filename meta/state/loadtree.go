package state

import "github.com/distrifs/distrifs/proto"

// loadEntry reads the head of a directory, or an entry of the one being read.
func (l *loader) loadEntry() {
	if l.dir.left == 0 {
		l.loadDirectory()
		return
	}
	child, discriminator, name := l.u32(), l.u8(), l.name()
	l.check(checkName(name) == proto.OK && !isDot(name) && !isDotDot(name), "a name out of range")
	if l.bad || !l.liveInode(child) {
		return
	}
	base := l.cookieBase(name)
	cookie := base | uint64(discriminator)
	l.check(cookie > l.dir.cookie, "entries out of order")
	if base>>8 == l.dir.cookie>>8 {
		twin, _ := l.findEntry(l.dir.slot, name)
		l.check(twin == 0, "a name twice in a directory")
	}
	l.check(child != proto.RootInode.Slot(), "an entry for the root")
	l.check(l.nlink(child) > l.names[child] || l.inodes.get(child).isDir(), "an inode with more names than it should have")
	if l.inodes.get(child).isDir() {
		l.check(l.directory(child).parent == 0, "a directory with two names")
		l.mutDirectory(child).parent = l.dir.slot
	}
	if l.err != nil {
		return
	}
	l.names[child]++
	l.addEntry(l.dir.slot, name, cookie, child)
	l.dir.left--
	l.dir.cookie = cookie
}

func (l *loader) loadDirectory() {
	slot, count := l.u32(), l.u32()
	l.inOrder(slot, false)
	if l.bad || !l.liveInode(slot) {
		return
	}
	ok := l.inodes.get(slot).isDir() && l.nlink(slot) > 0 && count > 0
	l.check(ok, "entries in what can have none")
	l.dir = dirGroup{slot: slot, left: count}
}

// afterEntries checks that names and directories fit together: every inode has as many
// names as its nlink says, and every directory that has one hangs below the root.
func (l *loader) afterEntries() {
	l.check(l.dir.left == 0, "a directory is cut short")
	if l.err != nil || l.config == (Config{}) {
		return
	}
	root := proto.RootInode.Slot()
	l.mutDirectory(root).parent = root
	subdirs := make([]uint32, l.inodes.length)
	for slot := uint32(1); slot < l.inodes.length; slot++ {
		if n := l.inodes.get(slot); n.mode != 0 {
			l.checkNames(slot, n)
			if n.isDir() && slot != root {
				subdirs[l.directory(slot).parent]++
			}
		}
	}
	if l.err == nil {
		l.checkTree(subdirs)
	}
	l.names = nil
}

// checkNames checks the names of one inode and makes it an orphan if it has none.
func (l *loader) checkNames(slot uint32, n *inode) {
	nlink := l.nlink(slot)
	switch {
	case slot == proto.RootInode.Slot():
		return
	case nlink == 0:
		l.check(l.names[slot] == 0, "a name of an orphan")
		if n.isDir() {
			l.mutDirectory(slot).parent = slot
		}
		l.addOrphan(slot)
	case n.isDir():
		l.check(l.names[slot] == 1, "a directory without a name")
	default:
		l.check(l.names[slot] == nlink, "an inode with fewer names than it should have")
	}
}

// checkTree checks the link counts of directories, and that each leads to the root.
func (l *loader) checkTree(subdirs []uint32) {
	root := proto.RootInode.Slot()
	good := make([]bool, l.inodes.length)
	good[root] = true
	var path []uint32
	for slot := uint32(1); slot < l.inodes.length; slot++ {
		if !l.inodes.get(slot).isDir() || l.nlink(slot) == 0 {
			continue
		}
		l.check(l.nlink(slot) == 2+subdirs[slot], "link count of a directory")
		path = path[:0]
		for at := slot; !good[at]; at = l.directory(at).parent {
			if len(path) > int(l.dirs.length) {
				l.check(false, "directories in a circle")
				return
			}
			path = append(path, at)
		}
		for _, at := range path {
			good[at] = true
		}
	}
}

func (l *loader) loadChunk() {
	form, generation := l.u8(), l.u32()
	l.check(form <= formCommitted || form <= formReference && l.format > 1, "unknown form of a chunk")
	l.check(l.chunks.length < l.limits.slots, "too many chunks")
	if l.bad || l.err != nil {
		return
	}
	slot := l.chunks.extend()
	l.chunks.mut(slot).generation = generation
	if form == formFree {
		return
	}
	l.check(generation != retired, "generation of a chunk out of range")
	switch form {
	case formShared:
		l.loadShared(slot)
	case formReference:
		l.loadReference(slot)
	default:
		l.loadOwned(slot, form)
	}
}

// loadOwned reads a chunk that stands in one place.
func (l *loader) loadOwned(slot uint32, form uint8) {
	version, file, index, chain := l.u32(), l.u32(), l.u64(), take32s[proto.NodeID](&l.take)
	l.check(version > 0, "version of a chunk out of range")
	l.check(l.checkChain(chain) == proto.OK, "chain of a chunk out of range")
	at, ok := l.place(file, index)
	isClone := ok && at != 0 && form == formAssigned && l.chunks.get(at).reference() && l.chunks.get(at).clone() == 0
	l.check(!ok || at == 0 || isClone, "two chunks at one index")
	if !ok || l.err != nil {
		return
	}
	l.chunks.live++
	c := l.chunks.mut(slot)
	c.inode, c.version = file, version
	c.indexLow, c.word = uint32(index), uint16(index>>32)|chunkLive
	if form == formCommitted {
		c.word |= chunkCommitted
	} else {
		l.counts.assigned++
	}
	l.setChain(slot, chain)
	if isClone {
		l.chunks.mut(at).setClone(slot)
	} else {
		l.attach(file, slot, index)
	}
}

func (l *loader) afterChunks() {
	l.countReferences()
	l.freeChunks = make([]bool, l.chunks.length)
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

// loadSession reads a session, or a slot of the one being read.
func (l *loader) loadSession() {
	g := &l.answers
	if g.left > 0 {
		l.loadSlot()
		return
	}
	id, client, count := l.u64(), l.view(), l.u32()
	l.check(id > g.id && id <= uint64(l.lastSession) && len(client) <= MaxAddress && count <= MaxSlots, "a session out of range")
	l.check(l.sessions.live < MaxSessions, "too many sessions")
	if l.bad || l.err != nil {
		return
	}
	*g = slotGroup{session: l.addSession(proto.SessionID(id), client), left: count, number: -1, id: id}
}

func (l *loader) loadSlot() {
	g := &l.answers
	number, sequence, answer := l.u32(), l.u64(), l.view()
	_, ok := decodeResult(answer)
	l.check(ok && int64(number) > g.number && number < MaxSlots && sequence > 0, "a slot out of range")
	l.check(l.slots.length < l.limits.slots, "too many slots")
	if l.bad || l.err != nil {
		return
	}
	l.setSlot(g.session, number, sequence, answer)
	g.number = int64(number)
	g.left--
}

func (l *loader) afterSessions() {
	l.check(l.answers.left == 0, "a session is cut short")
}
