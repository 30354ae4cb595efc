package state

import "github.com/distrifs/distrifs/proto"

// inodeRecord is what a checkpoint says of a slot for inodes.
type inodeRecord struct {
	form           uint8
	mode           uint16
	generation     uint32
	nlink          uint32
	uid, gid, rdev uint32
	size, change   uint64
	times          times
}

func (l *loader) decodeInode(r *inodeRecord) {
	r.form, r.generation = l.u8(), l.u32()
	l.check(r.form <= formInodeFar, "unknown form of an inode")
	l.countSlot("too many inodes")
	if r.form == formFree {
		return
	}
	r.mode, r.nlink, r.uid, r.gid, r.rdev, r.size = l.u16(), l.u32(), l.u32(), l.u32(), l.u32(), l.u64()
	mtime, btime := l.stamp(), l.stamp()
	r.change = l.u64()
	r.times = l.times(r.form, mtime, btime)
	l.check(r.generation != retired && r.change <= maxChange, "an inode out of range")
	l.checkContent(r, uint32(r.mode)&typeMask)
}

// times reads what a form has besides two stamps, and gives all times. Each form is for
// times that the one before cannot hold.
func (l *loader) times(form uint8, mtime, btime stamp) times {
	w := times{atime: btime.time(), mtime: mtime.time(), ctime: mtime.time(), btime: btime.time()}
	switch form {
	case formInodeTimes:
		atime, ctime := l.stamp(), l.stamp()
		l.check(atime != btime || ctime != mtime, "times written in the wrong form")
		w.atime, w.ctime = atime.time(), ctime.time()
	case formInodeFar:
		w = times{atime: l.time(), mtime: l.time(), ctime: l.time(), btime: l.time()}
		l.check(mtime == 0 && btime == 0 && w.far(), "times written in the wrong form")
	}
	return w
}

// checkContent checks what depends on the type.
func (l *loader) checkContent(r *inodeRecord, kind uint32) {
	isDevice := kind == typeChar || kind == typeBlock
	l.check(r.rdev == 0 || isDevice, "a device number without a device")
	switch kind {
	case typeDir:
		l.check(r.size == 0 && (r.nlink == 0 || r.nlink >= 2) && r.nlink <= maxDirLinks, "a directory out of range")
		return
	case typeFile:
		l.check(r.size <= MaxFileSize, "size of a file out of range")
	case typeLink:
		l.check(r.size >= 1 && r.size <= proto.MaxSymlink, "size of a symlink out of range")
		l.symlinks++
	case typeChar, typeBlock, typeFIFO, typeSocket:
		l.check(r.size == 0, "size of a special file out of range")
	default:
		l.check(false, "unknown type of an inode")
	}
	l.check(r.nlink <= MaxLinks || r.nlink == unnamed && kind == typeFile, "too many names")
}

func (l *loader) putInode(r *inodeRecord) string {
	slot := l.inodes.extend()
	n := l.inodes.mut(slot)
	if r.form == formFree {
		n.generation = r.generation
		return ""
	}
	l.inodes.live++
	*n = inode{generation: r.generation, mode: r.mode}
	l.putTimes(slot, r.times)
	l.putOwner(slot, r.uid, r.gid)
	l.putSize(slot, r.size)
	l.putChange(slot, r.change)
	switch n.kind() {
	case typeDir:
		n.content = l.dirs.alloc()
		*l.dirs.mut(n.content) = directory{nlink: r.nlink}
	default:
		n.nlink, n.content = uint16(r.nlink), r.rdev
		if n.kind() == typeFile {
			l.counts.bytes += r.size
		}
	}
	l.counts.add(n.kind(), 1)
	return ""
}
