package client

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Changes of names that this client answers itself (behind.go). It may where it has all
// that is changed exclusive and knows it: then it makes the checks that the master would
// make, brings what is cached in line as the master will, and has the change sent. Where
// it is not sure of anything it asks the master, who also finds the right error.

// owned finds an exclusive lease under which all is known of an inode, and nobody else
// works on it; l.mu is held.
func (l *leases) owned(ino proto.InodeID) *lease {
	h := l.usable(ino)
	if h == nil || !h.writes() || h.recall != nil || h.busy > 0 || !h.hasAttr || !h.attr.Plain || l.distrusted.has(ino) {
		return nil
	}
	return h
}

// ownedDir is owned for a directory in which the caller may make and remove names; l.mu is held.
func (l *leases) ownedDir(ino proto.InodeID, cred Cred) *lease {
	if h := l.owned(ino); h != nil && h.attr.isDir() && h.attr.Nlink > 0 && h.attr.Nlink < maxDirLinks && cred.mayChange(&h.attr) {
		return h
	}
	return nil
}

// maxDirLinks of a directory is half of what the master allows.
const maxDirLinks = 1 << 30

// maxLinks of a file is half of what the master allows.
const maxLinks = 1 << 15

// mayChange tells whether the caller may change the names of a directory without ACL.
func (c Cred) mayChange(dir *Attr) bool { return c.UID == 0 || c.bits(dir)&3 == 3 }

// bits are the permissions, rwx, that the mode of an inode without ACL gives the caller, if
// he is not root.
func (c Cred) bits(attr *Attr) uint32 {
	switch {
	case c.UID == attr.UID:
		return attr.Mode >> 6 & 7
	case c.GID == attr.GID || slices.Contains(c.Groups, attr.GID):
		return attr.Mode >> 3 & 7
	}
	return attr.Mode & 7
}

// mayTake tells whether the caller may take names out of a directory: a sticky one is for
// the master to look at.
func (c Cred) mayTake(dir *Attr) bool { return c.UID == 0 || dir.Mode&unix.S_ISVTX == 0 }

// name tells what a name stands for, 0 for nothing, if that is known; leases.mu is held.
func (l *leases) name(h *lease, name string) (ino proto.InodeID, known bool) {
	if h.names == nil || l.leaving[placeOf{h.ino, name}] > 0 {
		return 0, false
	}
	found, had := h.names.byName[name]
	return found.ino, had || h.names.complete
}

func validName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= proto.MaxName && strings.IndexByte(name, '/') < 0 && strings.IndexByte(name, 0) < 0
}

// moment is when a change of these happens: by the master's clock, and not before what
// happened to them last; leases.mu is held.
func (l *leases) moment(of ...*lease) time.Time {
	now := time.Now().Add(l.pool.clock)
	for _, h := range of {
		if h.attr.Ctime.After(now) {
			now = h.attr.Ctime
		}
	}
	return time.Unix(now.Unix(), int64(now.Nanosecond()))
}

// localChange counts a change of an inode that happened now; leases.mu is held.
func (l *leases) localChange(h *lease, now time.Time) {
	l.clock++
	h.since = l.clock
	h.attr.Ctime = now
	h.attr.Change++
}

// localNames counts a change of a directory's names; entries and links are how many more
// there are. leases.mu is held.
func (l *leases) localNames(dir *lease, now time.Time, entries, links int) {
	l.localChange(dir, now)
	dir.attr.Mtime = now
	dir.attr.Size += uint64(entries)
	dir.attr.Nlink += uint32(links)
}

// localMade makes the lease on an inode that was reserved, and now has attributes; leases.mu is held.
func (l *leases) localMade(attr Attr) *lease {
	l.clock++
	h := &lease{ino: attr.Inode, mode: pb.LeaseMode_LEASE_EXCLUSIVE, since: l.clock, granted: l.clock}
	if old := l.held[attr.Inode]; old != nil {
		l.remove(old)
	}
	h.elem = l.used.PushFront(h)
	l.held[attr.Inode] = h
	attr.lease = h
	h.attr, h.hasAttr = attr, true
	return h
}

// mayAnswer tells whether changes are answered here at all; leases.mu is held.
func (c *Client) mayAnswer() bool { return c.leases.reserve != nil && c.behind.hasRoom() }

func newChange(kind pb.ChangeBehind_Kind, cred Cred, now time.Time) *pb.ChangeBehind {
	return &pb.ChangeBehind{
		Kind: kind, CallerUid: cred.UID, CallerGid: cred.GID, CallerGroups: cred.Groups, Umask: cred.Umask,
		Sec: now.Unix(), Nsec: uint32(now.Nanosecond()),
	}
}

// node is something to be made.
type node struct {
	mode   uint32 // with the type
	rdev   uint32
	target string // of a symlink
	file   bool   // with a first chunk
}

// made is what was made here.
type made struct {
	attr  Attr
	first location // chunk of a file
	mark  mark
}

// makeHere makes a name in a directory, if that can be answered here.
func (c *Client) makeHere(cred Cred, parent proto.InodeID, name string, n node) (m made, done bool) {
	l := c.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.mayAnswer() || !validName(name) {
		return made{}, false
	}
	dir := l.ownedDir(parent, cred)
	if dir == nil {
		return made{}, false
	}
	if ino, known := l.name(dir, name); !known || ino != 0 {
		return made{}, false
	}
	mode, gid, sure := n.inherits(cred, &dir.attr)
	if !sure {
		return made{}, false
	}
	var first location
	var ino proto.InodeID
	if n.file {
		r, ok := l.takeFile()
		if !ok {
			return made{}, false
		}
		ino, first = r.ino, r.first
	} else if ino = l.takeOther(); ino == 0 {
		return made{}, false
	}
	now := l.moment(dir)
	attr := Attr{
		Inode: ino, Mode: mode, Nlink: 1, UID: cred.UID, GID: gid, Size: uint64(len(n.target)),
		Atime: now, Mtime: now, Ctime: now, Btime: now, Change: 1, Plain: true,
	}
	links := 0
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		attr.Nlink, links = 2, 1
	case unix.S_IFCHR, unix.S_IFBLK:
		attr.Rdev = n.rdev
	}
	h := l.localMade(attr)
	switch {
	case attr.isDir():
		l.completeNames(h, attr.Change)
	case attr.isSymlink():
		h.target = &n.target
	}
	l.localNames(dir, now, 1, links)
	l.putName(dir, name, ino, dir.attr.Change)
	change := newChange(pb.ChangeBehind_MAKE, cred, now)
	change.Inode, change.Parent, change.Name = uint64(ino), uint64(parent), []byte(name)
	change.Mode, change.Rdev, change.Target = n.mode, n.rdev, []byte(n.target)
	m = made{attr: h.attr, first: first, mark: c.behind.add(change)}
	l.shrink()
	return m, true
}

// inherits gives mode and group of what is made in a directory; sure is false where only
// the master can tell.
func (n *node) inherits(cred Cred, dir *Attr) (mode, gid uint32, sure bool) {
	mode, gid = n.mode, cred.GID
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		mode &^= unix.S_ISUID | unix.S_ISGID
	case unix.S_IFLNK:
		if n.target == "" || len(n.target) > proto.MaxSymlink || strings.IndexByte(n.target, 0) >= 0 {
			return 0, 0, false
		}
		mode = unix.S_IFLNK | 0o777
	case unix.S_IFCHR, unix.S_IFBLK:
		if cred.UID != 0 {
			return 0, 0, false
		}
	case unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK:
	default:
		return 0, 0, false
	}
	if dir.Mode&unix.S_ISGID != 0 {
		gid = dir.GID
		if mode&unix.S_IFMT == unix.S_IFDIR {
			mode |= unix.S_ISGID
		} else if mode&unix.S_ISGID != 0 {
			return 0, 0, false
		}
	}
	if mode&unix.S_IFMT != unix.S_IFLNK {
		mode &^= cred.Umask & 0o777
	}
	return mode, gid, true
}

// linkHere gives a file one more name, if that can be answered here.
func (c *Client) linkHere(cred Cred, ino, parent proto.InodeID, name string) (attr Attr, at mark, done bool) {
	l := c.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.mayAnswer() || !validName(name) {
		return Attr{}, mark{}, false
	}
	dir, h := l.ownedDir(parent, cred), l.owned(ino)
	if dir == nil || h == nil || h.attr.isDir() || h.attr.Nlink == 0 || h.attr.Nlink >= maxLinks {
		return Attr{}, mark{}, false
	}
	if other, known := l.name(dir, name); !known || other != 0 {
		return Attr{}, mark{}, false
	}
	now := l.moment(dir, h)
	l.localChange(h, now)
	h.attr.Nlink++
	l.localNames(dir, now, 1, 0)
	l.putName(dir, name, ino, dir.attr.Change)
	change := newChange(pb.ChangeBehind_LINK, cred, now)
	change.Inode, change.Parent, change.Name = uint64(ino), uint64(parent), []byte(name)
	at = c.behind.add(change)
	return h.attr, at, true
}

// localLoss takes a name from an inode; leases.mu is held.
func (l *leases) localLoss(h *lease, now time.Time) {
	l.localChange(h, now)
	if h.attr.isDir() {
		h.attr.Nlink = 0
	} else {
		h.attr.Nlink--
	}
}

// removeHere takes a name away, if that can be answered here.
func (c *Client) removeHere(cred Cred, parent proto.InodeID, name string, isDir bool) (done bool) {
	l := c.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.mayAnswer() || !validName(name) {
		return false
	}
	dir := l.ownedDir(parent, cred)
	if dir == nil || !cred.mayTake(&dir.attr) {
		return false
	}
	ino, known := l.name(dir, name)
	if !known || ino == 0 {
		return false
	}
	h := l.owned(ino)
	if h == nil || h.attr.isDir() != isDir || isDir && h.attr.Size > 0 || h.attr.Nlink == 0 {
		return false
	}
	now := l.moment(dir, h)
	kind, links := pb.ChangeBehind_UNLINK, 0
	if isDir {
		kind, links = pb.ChangeBehind_RMDIR, -1
	}
	l.localLoss(h, now)
	l.localNames(dir, now, -1, links)
	if l.takesTree() {
		l.wantedAt = time.Now()
	}
	l.putName(dir, name, 0, dir.attr.Change)
	change := newChange(kind, cred, now)
	change.Inode, change.Parent, change.Name = uint64(ino), uint64(parent), []byte(name)
	c.behind.add(change)
	return true
}

// renameHere moves a name, if that can be answered here.
func (c *Client) renameHere(cred Cred, parent proto.InodeID, name string, newParent proto.InodeID, newName string, noReplace bool) (done bool) {
	l := c.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.mayAnswer() || !validName(name) || !validName(newName) || parent == newParent && name == newName {
		return false
	}
	from, to := l.ownedDir(parent, cred), l.ownedDir(newParent, cred)
	if from == nil || to == nil || !cred.mayTake(&from.attr) || !cred.mayTake(&to.attr) {
		return false
	}
	ino, known := l.name(from, name)
	old, oldKnown := l.name(to, newName)
	if !known || !oldKnown || ino == 0 || ino == old || old != 0 && noReplace || old == parent {
		return false
	}
	moved := l.owned(ino)
	if moved == nil || moved.attr.isDir() && from != to || moved.attr.Nlink == 0 {
		return false
	}
	now := l.moment(from, to, moved)
	var replaced *lease
	if old != 0 {
		replaced = l.owned(old)
		if replaced == nil || replaced.attr.isDir() != moved.attr.isDir() || replaced.attr.isDir() && replaced.attr.Size > 0 || replaced.attr.Nlink == 0 {
			return false
		}
		now = l.moment(from, to, moved, replaced)
		l.localLoss(replaced, now)
	}
	l.localChange(moved, now)
	l.localMove(from, to, replaced, now)
	l.putName(from, name, 0, from.attr.Change)
	l.putName(to, newName, ino, to.attr.Change)
	l.movedName(newParent, newName)
	change := newChange(pb.ChangeBehind_RENAME, cred, now)
	change.Inode, change.Parent, change.Name = uint64(ino), uint64(parent), []byte(name)
	change.NewParent, change.NewName, change.Replaced = uint64(newParent), []byte(newName), uint64(old)
	c.behind.add(change)
	return true
}

// localMove counts a move between directories, in which something may be replaced; leases.mu is held.
func (l *leases) localMove(from, to, replaced *lease, now time.Time) {
	entries, links := 1, 0
	if replaced != nil {
		entries = 0
		if replaced.attr.isDir() {
			links = -1
		}
	}
	if from == to {
		l.localNames(from, now, entries-1, links)
		return
	}
	l.localNames(from, now, -1, 0)
	l.localNames(to, now, entries, links)
}
