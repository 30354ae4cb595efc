package state

import (
	"bytes"

	"github.com/distrifs/distrifs/proto"
)

// location is where a name is, or would be: a directory and what its trie says.
type location struct {
	dir    uint32 // slot
	name   []byte
	entry  ref    // 0: no such name
	cookie uint64 // of the entry, or that it would get; 0: no room for one
	inode  uint32 // slot that the entry names; 0: none
}

// locate finds a name in a directory that the caller may search.
func (t *tables) locate(parent proto.InodeID, name []byte, cred *Cred) (location, proto.Kind) {
	dir, kind := t.dirSlot(parent, cred)
	if kind != proto.OK {
		return location{}, kind
	}
	if kind := checkName(name); kind != proto.OK {
		return location{}, kind
	}
	l := location{dir: dir, name: name}
	if isDot(name) || isDotDot(name) {
		return l, proto.OK
	}
	if l.entry, l.cookie = t.findEntry(dir, name); l.entry != 0 {
		l.inode = entryInode(t.arena.block(l.entry))
	}
	return l, proto.OK
}

// isDots says that the name is "." or "..", which no command makes or takes away.
func (l *location) isDots() bool { return isDot(l.name) || isDotDot(l.name) }

// mayAdd checks that the caller may add a name that is not there.
func (t *tables) mayAdd(l *location, cred *Cred) proto.Kind {
	switch {
	case t.directory(l.dir).nlink == 0: // the directory was removed
		return proto.NotFound
	case !t.may(l.dir, cred, mayWrite|maySearch):
		return proto.Access
	case l.cookie == 0:
		return proto.NoSpace
	}
	return proto.OK
}

// mayTake checks that the caller may take a name that is there away, and that it is,
// or is not, a directory's.
func (t *tables) mayTake(l *location, cred *Cred, wantDir bool) proto.Kind {
	if !t.may(l.dir, cred, mayWrite|maySearch) {
		return proto.Access
	}
	dir, n := t.inodes.get(l.dir), t.inodes.get(l.inode)
	if dir.mode&modeSticky != 0 && !t.owns(cred, n) && cred.UID != t.owner(dir).uid {
		return proto.NotPermitted
	}
	switch {
	case wantDir && !n.isDir():
		return proto.NotDir
	case !wantDir && n.isDir():
		return proto.IsDir
	}
	return proto.OK
}

// checkMake looks at all of a Make that does not depend on its parent.
func (t *tables) checkMake(c *Make, mode uint32) proto.Kind {
	kind := mode & typeMask
	switch kind {
	case typeFile, typeDir, typeFIFO, typeSocket:
	case typeLink:
		switch {
		case len(c.Target) == 0:
			return proto.NotFound
		case len(c.Target) > proto.MaxSymlink:
			return proto.NameTooLong
		case bytes.IndexByte(c.Target, 0) >= 0:
			return proto.Invalid
		}
	case typeChar, typeBlock:
		if c.Cred.UID != 0 {
			return proto.NotPermitted
		}
	default:
		return proto.Invalid
	}
	if len(c.Chain) > 0 {
		if kind != typeFile {
			return proto.Invalid
		}
		return t.checkChain(c.Chain)
	}
	return proto.OK
}

// inherit gives mode and group of what is made in a directory.
func (t *tables) inherit(mode uint32, dir *inode, cred *Cred) (newMode, gid uint32) {
	switch mode & typeMask {
	case typeDir:
		mode &^= modeSetUID | modeSetGID
	case typeLink:
		mode = typeLink | 0o777
	}
	if dir.mode&modeSetGID == 0 {
		return mode, cred.GID
	}
	gid = t.owner(dir).gid
	const setGIDExec = modeSetGID | modeGroupX
	switch {
	case mode&typeMask == typeDir:
		mode |= modeSetGID
	case mode&setGIDExec == setGIDExec && cred.UID != 0 && !cred.in(gid):
		mode &^= modeSetGID
	}
	return mode, gid
}

func (s *State) make(c *Make) Result { return s.makeOf(c, 0) }

// makeOf is make, of an inode that was reserved, if there is one.
func (s *State) makeOf(c *Make, reserved uint32) Result {
	l, kind := s.locate(c.Parent, c.Name, &c.Cred)
	if kind != proto.OK {
		return Result{Kind: kind}
	}
	if l.entry != 0 || l.isDots() {
		return Result{Kind: proto.Exists}
	}
	mode := c.Mode & (typeMask | modePerm)
	if mode&typeMask == 0 {
		mode |= typeFile
	}
	if kind := s.mayAdd(&l, &c.Cred); kind != proto.OK {
		return Result{Kind: kind}
	}
	if kind := s.checkMake(c, mode); kind != proto.OK {
		return Result{Kind: kind}
	}
	isDir := mode&typeMask == typeDir
	if isDir && s.directory(l.dir).nlink >= maxDirLinks {
		return Result{Kind: proto.TooManyLinks}
	}

	now := c.Now
	mode, gid := s.inherit(mode, s.inodes.get(l.dir), &c.Cred)
	mode, inherited := s.bequeath(l.dir, mode, c.Umask)
	slot := reserved
	if slot == 0 {
		slot = s.newInode(mode, c.Cred.UID, gid, now)
	} else {
		s.becomes(slot, mode, c.Cred.UID, gid, now)
	}
	n := s.inodes.mut(slot)
	n.nlink = 1
	switch mode & typeMask {
	case typeDir:
		n.nlink = 0
		n.content = s.newDirectory(l.dir)
		s.mutDirectory(l.dir).nlink++
	case typeLink:
		n.content = s.arena.newBlob(c.Target)
		s.putSize(slot, uint64(len(c.Target)))
	case typeChar, typeBlock:
		n.content = c.Rdev
	}
	s.receive(slot, inherited)
	s.addEntry(l.dir, c.Name, l.cookie, slot)
	s.modified(l.dir, now)
	r := Result{Inode: s.inodeID(slot)}
	if len(c.Chain) > 0 {
		r.Chunks = []Chunk{s.chunkInfo(s.newChunk(slot, 0, c.Chain))}
	}
	r.Attr = s.attr(slot)
	return r
}

// maxDirLinks is the largest nlink of a directory.
const maxDirLinks = 1<<31 - 1

func (t *tables) newDirectory(parent uint32) uint32 {
	slot := t.dirs.alloc()
	*t.dirs.mut(slot) = directory{parent: parent, nlink: 2}
	return slot
}

func (s *State) link(c *Link) Result {
	slot, ok := s.inode(c.Inode)
	if !ok {
		return Result{Kind: proto.Stale}
	}
	l, kind := s.locate(c.Parent, c.Name, &c.Cred)
	if kind != proto.OK {
		return Result{Kind: kind}
	}
	if l.entry != 0 || l.isDots() {
		return Result{Kind: proto.Exists}
	}
	if kind := s.mayAdd(&l, &c.Cred); kind != proto.OK {
		return Result{Kind: kind}
	}
	switch n := s.inodes.get(slot); {
	case n.isDir():
		return Result{Kind: proto.NotPermitted}
	case n.nlink == 0:
		return Result{Kind: proto.NotFound}
	case n.nlink == unnamed:
		s.adopt(slot)
	case n.nlink >= MaxLinks:
		return Result{Kind: proto.TooManyLinks}
	}
	now := c.Now
	s.inodes.mut(slot).nlink++
	s.changed(slot, now)
	s.addEntry(l.dir, c.Name, l.cookie, slot)
	s.modified(l.dir, now)
	return Result{Inode: c.Inode, Attr: s.attr(slot)}
}

func (s *State) unlink(c *Unlink) Result {
	l, kind := s.locate(c.Parent, c.Name, &c.Cred)
	if kind != proto.OK {
		return Result{Kind: kind}
	}
	if l.isDots() {
		return Result{Kind: unlinkDots(l.name, c.Dir)}
	}
	if l.entry == 0 {
		return Result{Kind: proto.NotFound}
	}
	if kind := s.mayTake(&l, &c.Cred, c.Dir); kind != proto.OK {
		return Result{Kind: kind}
	}
	if c.Dir && s.directory(l.inode).entries > 0 {
		return Result{Kind: proto.NotEmpty}
	}
	now := c.Now
	id := s.inodeID(l.inode)
	s.removeEntry(l.dir, l.cookie)
	s.dropName(l.dir, l.inode, now)
	s.modified(l.dir, now)
	return Result{Inode: id, Nlink: s.nlink(l.inode)}
}

// unlinkDots is what unlink and rmdir say to "." and "..".
func unlinkDots(name []byte, rmdir bool) proto.Kind {
	switch {
	case !rmdir:
		return proto.IsDir
	case isDot(name):
		return proto.Invalid
	default:
		return proto.NotEmpty
	}
}

// dropName takes account of a name that an inode lost in a directory. The last one
// makes it an orphan.
func (t *tables) dropName(dir, slot uint32, now Time) {
	n := t.inodes.mut(slot)
	if n.isDir() {
		d := t.mutDirectory(slot)
		d.nlink, d.parent = 0, slot
		t.mutDirectory(dir).nlink--
	} else {
		n.nlink--
	}
	t.changed(slot, now)
	if t.nlink(slot) == 0 {
		t.addOrphan(slot)
	}
}

// orphanKeys are the keys of orphans: their slots.
type orphanKeys struct{}

func (orphanKeys) key(slot uint32) uint64 { return uint64(slot) }

func (t *tables) orphanTrie() trie { return trie{&t.arena, orphanKeys{}} }

func (t *tables) addOrphan(slot uint32) {
	t.orphans = t.orphanTrie().insert(t.orphans, uint64(slot), slot)
	t.counts.orphans++
}

// EachOrphan calls fn for the orphans in order of slots until it answers false.
func (s *State) EachOrphan(fn func(proto.InodeID) bool) {
	s.orphanTrie().walk(s.orphans, func(slot uint32) bool { return fn(s.inodeID(slot)) })
}

// ReadLink gives a symlink's target. Stale, Invalid (no symlink).
func (s *State) ReadLink(ino proto.InodeID) ([]byte, proto.Kind) {
	slot, ok := s.inode(ino)
	if !ok {
		return nil, proto.Stale
	}
	n := s.inodes.get(slot)
	if n.kind() != typeLink {
		return nil, proto.Invalid
	}
	return s.arena.blob(nil, n.content), proto.OK
}
