package state

import (
	"math"

	"github.com/distrifs/distrifs/proto"
)

// The bits of a mode, as in stat(2).
const (
	typeMask   = 0o170000
	typeFIFO   = 0o010000
	typeChar   = 0o020000
	typeDir    = 0o040000
	typeBlock  = 0o060000
	typeFile   = 0o100000
	typeLink   = 0o120000
	typeSocket = 0o140000

	modeSetUID = 0o4000
	modeSetGID = 0o2000
	modeSticky = 0o1000
	modeGroupX = 0o0010
	modeRWX    = 0o0777
	modePerm   = 0o7777
)

// inode is the record of an inode, 40 bytes. Of the numbers that are seldom large it has
// the low bits; the others are in its cold record. A free slot has mode 0 and keeps the
// generation that its next inode will have.
type inode struct {
	generation uint32
	mode       uint16
	nlink      uint16 // names, or unnamed; of a directory see there
	owner      uint16 // low bits of the number of user and group
	change     uint16 // low bits
	content    uint32 // by type: file map, directory, target's blob, rdev
	cold       uint32 // what few inodes have; 0: none
	size       uint32 // bytes, low bits
	btime      stamp  // also atime, unless that is cold
	mtime      stamp  // also ctime, unless that is cold
}

func (n *inode) freeLink() *uint32 { return &n.content }
func (n *inode) kind() uint32      { return uint32(n.mode) & typeMask }
func (n *inode) isDir() bool       { return n.kind() == typeDir }

// unnamed stands in inode.nlink for 0 names of an orphan that may get one still.
const unnamed = math.MaxUint16

// retired is the generation of slots, of inodes and of chunks, that are never used again.
const retired = math.MaxUint32

// directory is what a directory has in addition.
type directory struct {
	parent  uint32 // slot; itself for the root and for a removed directory
	nlink   uint32 // 2 and one for each subdirectory; 0: removed
	entries uint32
	root    uint32 // of the trie of entries
}

func (d *directory) freeLink() *uint32 { return &d.parent }

// inode finds the slot of an id; false: there is no such inode (any more).
func (t *tables) inode(id proto.InodeID) (uint32, bool) {
	slot := id.Slot()
	if slot == 0 || slot >= t.inodes.length {
		return 0, false
	}
	n := t.inodes.get(slot)
	return slot, n.mode != 0 && n.generation == id.Generation()
}

func (t *tables) inodeID(slot uint32) proto.InodeID {
	return proto.InodeID(proto.MakeID(slot, t.inodes.get(slot).generation))
}

// newInode makes an inode without a name whose times are all now.
func (t *tables) newInode(mode, uid, gid uint32, now Time) uint32 {
	slot := t.inodes.alloc()
	n := t.inodes.mut(slot)
	*n = inode{generation: n.generation, mode: uint16(mode), change: 1}
	t.putTimes(slot, times{atime: now, mtime: now, ctime: now, btime: now})
	t.putOwner(slot, uid, gid)
	t.counts.add(n.kind(), 1)
	return slot
}

// freeInode frees an orphan and all it has, and appends its chunks to freed.
func (t *tables) freeInode(slot uint32, freed []Chunk) []Chunk {
	t.orphans, _ = t.orphanTrie().remove(t.orphans, uint64(slot))
	n := t.inodes.mut(slot)
	switch n.kind() {
	case typeFile:
		freed = t.truncateChunks(slot, 0, freed)
		t.counts.bytes -= t.size(n)
	case typeDir:
		t.dirs.release(n.content)
	case typeLink:
		t.arena.freeBlob(n.content)
	}
	t.owners.drop(t.ownerNumber(n))
	if n.cold != 0 {
		c := t.colds.get(n.cold)
		t.freeXattrs(c.xattrs)
		t.freeFar(c.atime)
		t.colds.release(n.cold)
	}
	t.counts.orphans--
	t.counts.add(n.kind(), -1)
	n.mode, n.cold = 0, 0
	if n.generation++; n.generation == retired {
		t.inodes.retire()
	} else {
		t.inodes.release(slot)
	}
	return freed
}

// directory gives the directory part of a directory's inode, to read.
func (t *tables) directory(slot uint32) *directory {
	return t.dirs.get(t.inodes.get(slot).content)
}

func (t *tables) mutDirectory(slot uint32) *directory {
	return t.dirs.mut(t.inodes.get(slot).content)
}

func (t *tables) nlink(slot uint32) uint32 {
	n := t.inodes.get(slot)
	if n.isDir() {
		return t.dirs.get(n.content).nlink
	}
	if n.nlink == unnamed {
		return 0
	}
	return uint32(n.nlink)
}

// Changes of an inode are counted in 48 bits, 16 of them in its own record: a million a
// second for nine years.
const (
	changeLowBits = 16
	maxChange     = 1<<48 - 1
)

func (t *tables) change(slot uint32) uint64 {
	n := t.inodes.get(slot)
	change := uint64(n.change)
	if n.cold != 0 {
		change |= uint64(t.colds.get(n.cold).changeHigh) << changeLowBits
	}
	return change
}

func (t *tables) putChange(slot uint32, change uint64) {
	n := t.inodes.mut(slot)
	n.change = uint16(change)
	if high := uint32(change >> changeLowBits); high != 0 || n.cold != 0 {
		t.colds.mut(t.needCold(slot)).changeHigh = high
	}
}

// size is in bytes. A file of 4 GiB has so many chunks that its cold record is nothing.
func (t *tables) size(n *inode) uint64 {
	size := uint64(n.size)
	if n.cold != 0 {
		size |= uint64(t.colds.get(n.cold).sizeHigh) << 32
	}
	return size
}

func (t *tables) putSize(slot uint32, size uint64) {
	n := t.inodes.mut(slot)
	n.size = uint32(size)
	if high := uint32(size >> 32); high != 0 || n.cold != 0 {
		t.colds.mut(t.needCold(slot)).sizeHigh = high
	}
}

// attr gives the attributes of a live inode.
func (t *tables) attr(slot uint32) Attr {
	n := t.inodes.get(slot)
	w, owner := t.times(slot), t.owner(n)
	a := Attr{
		Inode: t.inodeID(slot), Mode: uint32(n.mode), Nlink: t.nlink(slot), UID: owner.uid, GID: owner.gid,
		Size:  t.size(n),
		Atime: w.atime, Mtime: w.mtime, Ctime: w.ctime, Btime: w.btime,
		Change: t.change(slot), Plain: t.xattrs(slot) == 0,
	}
	switch n.kind() {
	case typeFile:
		a.Blocks = t.fileBlocks(n)
	case typeDir:
		a.Size = uint64(t.directory(slot).entries)
	case typeChar, typeBlock:
		a.Rdev = n.content
	}
	return a
}

// Permissions, as in access(2).
const (
	mayRead   = 4
	mayWrite  = 2
	mayExec   = 1
	maySearch = mayExec
)

// may checks the permission bits, or the access ACL. Root may do everything but
// execute a file that nobody may execute.
func (t *tables) may(slot uint32, cred *Cred, mask uint32) bool {
	n := t.inodes.get(slot)
	mode := uint32(n.mode)
	if cred.UID == 0 {
		return mask&mayExec == 0 || n.isDir() || mode&0o111 != 0
	}
	owner := t.owner(n)
	if cred.UID == owner.uid {
		return mode>>6&mask == mask
	}
	list := t.acl(slot, accessACL)
	switch {
	case list != nil:
		return permitsACL(list, owner.gid, cred, mask)
	case cred.in(owner.gid):
		mode >>= 3
	}
	return mode&mask == mask
}

// in says whether the caller belongs to a group.
func (c *Cred) in(gid uint32) bool {
	if c.GID == gid {
		return true
	}
	for _, g := range c.Groups {
		if g == gid {
			return true
		}
	}
	return false
}
