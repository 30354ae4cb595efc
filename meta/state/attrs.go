package state

import "github.com/distrifs/distrifs/proto"

// Attr gives the attributes of an inode; Stale if it is gone.
func (s *State) Attr(ino proto.InodeID) (Attr, proto.Kind) {
	slot, ok := s.inode(ino)
	if !ok {
		return Attr{}, proto.Stale
	}
	return s.attr(slot), proto.OK
}

// Access checks permissions; mask is an or of 4 (read), 2 (write), 1 (execute or
// search). Stale, Access.
func (s *State) Access(ino proto.InodeID, cred Cred, mask uint32) proto.Kind {
	slot, ok := s.inode(ino)
	switch {
	case !ok:
		return proto.Stale
	case !s.may(slot, &cred, mask&7):
		return proto.Access
	}
	return proto.OK
}

func (s *State) setAttr(c *SetAttr) Result {
	slot, ok := s.inode(c.Inode)
	if !ok {
		return Result{Kind: proto.Stale}
	}
	for _, check := range []func(*SetAttr, uint32) proto.Kind{s.checkMode, s.checkOwner, s.checkSize, s.checkDrop, s.checkTimes} {
		if kind := check(c, slot); kind != proto.OK {
			return Result{Kind: kind}
		}
	}
	r := Result{Inode: c.Inode}
	if c.Set&^SetOpened != 0 {
		s.setMode(c, slot)
		s.setOwner(c, slot)
		if c.Set&SetSize != 0 {
			r.Freed = s.truncate(slot, c.Size)
		}
		s.dropPrivileges(c, slot)
		s.setAttrTimes(c, slot)
	}
	r.Attr = s.attr(slot)
	return r
}

func (t *tables) checkMode(c *SetAttr, slot uint32) proto.Kind {
	n := t.inodes.get(slot)
	switch {
	case c.Set&^(attrMaskEnd-1) != 0:
		return proto.Invalid
	case c.Set&SetMode == 0:
		return proto.OK
	case n.kind() == typeLink:
		return proto.NotSupported
	case !t.owns(&c.Cred, n):
		return proto.NotPermitted
	}
	return proto.OK
}

// checkOwner: root may give a file to anybody; the owner may name himself again, and
// a group of his.
func (t *tables) checkOwner(c *SetAttr, slot uint32) proto.Kind {
	owner := t.owner(t.inodes.get(slot))
	if c.Cred.UID == 0 {
		return proto.OK
	}
	if c.Set&SetUID != 0 && (c.Cred.UID != owner.uid || c.UID != owner.uid) {
		return proto.NotPermitted
	}
	if c.Set&SetGID != 0 && (c.Cred.UID != owner.uid || c.GID != owner.gid && !c.Cred.in(c.GID)) {
		return proto.NotPermitted
	}
	return proto.OK
}

func (t *tables) checkSize(c *SetAttr, slot uint32) proto.Kind {
	if c.Set&SetSize == 0 {
		return proto.OK
	}
	n := t.inodes.get(slot)
	switch {
	case n.isDir():
		return proto.IsDir
	case n.kind() != typeFile:
		return proto.Invalid
	case c.Set&SetOpened == 0 && !t.may(slot, &c.Cred, mayWrite):
		return proto.Access
	case c.Size > MaxFileSize:
		return proto.FileTooBig
	}
	return proto.OK
}

// checkDrop: who may write to a file takes its privileges away by doing so.
func (t *tables) checkDrop(c *SetAttr, slot uint32) proto.Kind {
	switch {
	case c.Set&(DropSetIDs|DropCapability) == 0:
		return proto.OK
	case t.inodes.get(slot).kind() != typeFile:
		return proto.Invalid
	case c.Set&SetOpened == 0 && !t.may(slot, &c.Cred, mayWrite):
		return proto.Access
	}
	return proto.OK
}

// checkTimes: who may write a file may also touch it, that is, set both times to now;
// anything else is for the owner. A size that changes sets mtime by itself.
func (t *tables) checkTimes(c *SetAttr, slot uint32) proto.Kind {
	const explicit, both = SetAtime | SetMtime, SetAtimeNow | SetMtimeNow
	if c.Set&(explicit|both) == 0 || t.owns(&c.Cred, t.inodes.get(slot)) {
		return proto.OK
	}
	switch {
	case c.Set&explicit != 0:
		return proto.NotPermitted
	case c.Set&SetSize != 0:
		return proto.OK
	case c.Set&both != both:
		return proto.NotPermitted
	case !t.may(slot, &c.Cred, mayWrite):
		return proto.Access
	}
	return proto.OK
}

func (t *tables) setMode(c *SetAttr, slot uint32) {
	if c.Set&SetMode == 0 {
		return
	}
	n := t.inodes.mut(slot)
	n.mode = n.mode&typeMask | uint16(c.Mode)&modePerm
	if c.Cred.UID != 0 && !c.Cred.in(t.owner(n).gid) {
		n.mode &^= modeSetGID
	}
	t.chmodACL(slot)
}

// setOwner changes owner and group. Whoever does it, a file (not a directory) is no
// longer set-user-id, nor set-group-id if its group may execute it, and has no
// capabilities any more.
func (t *tables) setOwner(c *SetAttr, slot uint32) {
	if c.Set&(SetUID|SetGID) == 0 {
		return
	}
	n := t.inodes.mut(slot)
	if !n.isDir() {
		t.clearSetIDs(n, &c.Cred)
		t.dropXattr(slot, capabilityName)
	}
	owner := t.owner(n)
	if c.Set&SetUID != 0 {
		owner.uid = c.UID
	}
	if c.Set&SetGID != 0 {
		owner.gid = c.GID
	}
	t.putOwner(slot, owner.uid, owner.gid)
}

// capabilityName is the attribute that holds the capabilities of an executable.
var capabilityName = []byte("security.capability")

// dropPrivileges takes privileges from a file whose content is changed: the set-id
// bits if it is somebody other than root who does it, the capabilities in any case.
func (t *tables) dropPrivileges(c *SetAttr, slot uint32) {
	if c.Set&(SetSize|DropCapability) != 0 {
		t.dropXattr(slot, capabilityName)
	}
	if c.Set&DropSetIDs != 0 || c.Set&SetSize != 0 && c.Cred.UID != 0 {
		t.dropSetIDs(slot, &c.Cred)
	}
}

func (t *tables) dropSetIDs(slot uint32, cred *Cred) {
	if t.inodes.get(slot).mode&(modeSetUID|modeSetGID) != 0 {
		t.clearSetIDs(t.inodes.mut(slot), cred)
	}
}

// clearSetIDs leaves set-group-id without group execution (a mark of mandatory
// locking) to members of the group.
func (t *tables) clearSetIDs(n *inode, cred *Cred) {
	n.mode &^= modeSetUID
	if n.mode&modeGroupX != 0 || cred.UID != 0 && !cred.in(t.owner(n).gid) {
		n.mode &^= modeSetGID
	}
}

// setSize sets the size alone.
func (t *tables) setSize(slot uint32, size uint64) {
	t.counts.bytes += size - t.size(t.inodes.get(slot))
	t.putSize(slot, size)
}

// truncate sets the size and frees the chunks wholly beyond it.
func (t *tables) truncate(slot uint32, size uint64) []Chunk {
	t.setSize(slot, size)
	beyond := size / t.config.ChunkSize
	if size%t.config.ChunkSize != 0 {
		beyond++
	}
	return t.truncateChunks(slot, beyond, nil)
}

// setAttrTimes marks ctime, mtime if the size was set, and what was asked for.
func (t *tables) setAttrTimes(c *SetAttr, slot uint32) {
	now := c.Now
	w := t.times(slot)
	w.ctime = now
	switch {
	case c.Set&SetMtime != 0:
		w.mtime = c.Mtime
	case c.Set&(SetMtimeNow|SetSize) != 0:
		w.mtime = now
	}
	switch {
	case c.Set&SetAtime != 0:
		w.atime = c.Atime
	case c.Set&SetAtimeNow != 0:
		w.atime = now
	}
	t.setTimes(slot, w)
}
