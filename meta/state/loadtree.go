package state

import (
	"bytes"
	"slices"

	"github.com/distrifs/distrifs/proto"
)

// entryRecord is what a checkpoint says of an entry.
type entryRecord struct {
	dir, child uint32 // slots; child 0: this is but the head of a directory
	cookie     uint64
	name       []byte // in the block
	mode       uint16 // of child
}

func (r *entryRecord) isDir() bool { return uint32(r.mode)&typeMask == typeDir }

// decodeEntry reads the head of a directory, or an entry of the one being read.
func (l *loader) decodeEntry(r *entryRecord) {
	*r = entryRecord{}
	if l.dir.left == 0 {
		l.loadDirectory()
		return
	}
	child, discriminator, name := l.u32(), l.u8(), l.name()
	l.check(checkName(name) == proto.OK && !isDot(name) && !isDotDot(name), "a name out of range")
	l.check(child != 0 && child < l.inodes.length, noSuchInode)
	l.check(child != proto.RootInode.Slot(), "an entry for the root")
	if l.bad || l.err != nil {
		return
	}
	base := l.cookieBase(name)
	*r = entryRecord{dir: l.dir.slot, child: child, cookie: base | uint64(discriminator), name: name}
	l.check(r.cookie > l.dir.cookie, "entries out of order")
	l.checkTwins(base, name)
	l.dir.left--
	l.dir.cookie = r.cookie
}

// checkChildren looks at the inodes that entries name. They lie anywhere in memory: fetched
// in a row, a processor waits for many of them at once.
func (l *loader) checkChildren(entries []entryRecord) {
	for some := range slices.Chunk(entries, 256) {
		for i := range some {
			r := &some[i]
			r.mode = l.inodes.get(r.child).mode
			l.names[r.child]++
		}
		for i := range some {
			if r := &some[i]; r.child != 0 {
				l.check(r.mode != 0, noSuchInode)
				l.check(!r.isDir() || l.names[r.child] == 1, "a directory with two names")
				l.check(r.isDir() || l.names[r.child] <= l.nlink(r.child), "an inode with more names than it should have")
			}
		}
	}
}

// checkTwins checks that no name comes twice in a directory: those that might are neighbours.
func (l *loader) checkTwins(base uint64, name []byte) {
	d := &l.dir
	if base>>8 != d.cookie>>8 {
		d.twins = d.twins[:0]
	}
	for rest := d.twins; len(rest) > 0; rest = rest[1+rest[0]:] {
		l.check(!bytes.Equal(rest[1:1+rest[0]], name), "a name twice in a directory")
	}
	d.twins = append(append(d.twins, uint8(len(name))), name...)
}

func (l *loader) putEntry(r *entryRecord) string {
	if r.child == 0 {
		return ""
	}
	if r.isDir() {
		l.mutDirectory(r.child).parent = r.dir
	}
	l.addTypedEntry(r.dir, r.name, r.cookie, r.child, r.mode)
	return ""
}

func (l *loader) loadDirectory() {
	slot, count := l.u32(), l.u32()
	l.inOrder(slot, false)
	if l.bad || !l.liveInode(slot) {
		return
	}
	ok := l.inodes.get(slot).isDir() && l.nlink(slot) > 0 && count > 0
	l.check(ok, "entries in what can have none")
	l.dir = dirGroup{slot: slot, left: count, twins: l.dir.twins[:0]}
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
