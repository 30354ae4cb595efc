package state

import "github.com/distrifs/distrifs/proto"

func (s *State) rename(c *Rename) Result {
	if c.NoReplace && c.Exchange {
		return Result{Kind: proto.Invalid}
	}
	from, kind := s.locate(c.Parent, c.Name, &c.Cred)
	if kind != proto.OK {
		return Result{Kind: kind}
	}
	to, kind := s.locate(c.NewParent, c.NewName, &c.Cred)
	if kind != proto.OK {
		return Result{Kind: kind}
	}
	if from.isDots() || to.isDots() {
		return Result{Kind: proto.Busy}
	}
	if kind := s.checkRename(c, &from, &to); kind != proto.OK {
		return Result{Kind: kind}
	}
	r := Result{Inode: s.inodeID(from.inode)}
	if from.inode == to.inode { // names of one inode: POSIX wants nothing done
		r.Attr = s.attr(from.inode)
		return r
	}
	now := c.Now
	if to.inode != 0 {
		r.Replaced = s.inodeID(to.inode)
	}
	if c.Exchange {
		s.exchange(&from, &to, now)
	} else {
		s.move(&from, &to, now)
	}
	if to.inode != 0 {
		r.Nlink = s.nlink(to.inode)
	}
	s.modified(from.dir, now)
	if to.dir != from.dir {
		s.modified(to.dir, now)
	}
	r.Attr = s.attr(from.inode)
	return r
}

// checkRename makes the checks in the order that Linux makes them in.
func (t *tables) checkRename(c *Rename, from, to *location) proto.Kind {
	switch {
	case from.entry == 0:
		return proto.NotFound
	case c.NoReplace && to.entry != 0:
		return proto.Exists
	case c.Exchange && to.entry == 0:
		return proto.NotFound
	case t.isBelow(to.dir, from.inode):
		return proto.Invalid
	case to.entry != 0 && t.isBelow(from.dir, to.inode):
		if c.Exchange {
			return proto.Invalid
		}
		return proto.NotEmpty
	case from.inode == to.inode:
		return proto.OK
	}
	fromDir := t.inodes.get(from.inode).isDir()
	if kind := t.mayTake(from, &c.Cred, fromDir); kind != proto.OK {
		return kind
	}
	if kind := t.checkTarget(c, to, fromDir); kind != proto.OK {
		return kind
	}
	return t.checkMove(c, from, to, fromDir)
}

// checkTarget looks at the new name, there or not.
func (t *tables) checkTarget(c *Rename, to *location, fromDir bool) proto.Kind {
	if to.entry == 0 {
		return t.mayAdd(to, &c.Cred)
	}
	wantDir := fromDir
	if c.Exchange {
		wantDir = t.inodes.get(to.inode).isDir()
	}
	if kind := t.mayTake(to, &c.Cred, wantDir); kind != proto.OK {
		return kind
	}
	if !c.Exchange && wantDir && t.directory(to.inode).entries > 0 {
		return proto.NotEmpty
	}
	return proto.OK
}

// checkMove looks at what changes when a directory gets another parent.
func (t *tables) checkMove(c *Rename, from, to *location, fromDir bool) proto.Kind {
	if from.dir == to.dir {
		return proto.OK
	}
	toDir := to.entry != 0 && t.inodes.get(to.inode).isDir()
	if fromDir && !t.may(from.inode, &c.Cred, mayWrite) {
		return proto.Access // its ".." changes
	}
	if c.Exchange && toDir && !t.may(to.inode, &c.Cred, mayWrite) {
		return proto.Access
	}
	if fromDir && !toDir && t.directory(to.dir).nlink >= maxDirLinks ||
		c.Exchange && toDir && !fromDir && t.directory(from.dir).nlink >= maxDirLinks {
		return proto.TooManyLinks
	}
	return proto.OK
}

// isBelow says whether a directory is another inode or somewhere below it.
func (t *tables) isBelow(dir, top uint32) bool {
	if !t.inodes.get(top).isDir() {
		return false
	}
	for {
		if dir == top {
			return true
		}
		parent := t.directory(dir).parent
		if parent == dir {
			return false
		}
		dir = parent
	}
}

// move gives from's inode the name to, whose inode, if any, loses it.
func (t *tables) move(from, to *location, now Time) {
	if to.entry != 0 {
		t.pointEntry(to.entry, from.inode)
		t.dropName(to.dir, to.inode, now)
	} else {
		t.addEntry(to.dir, to.name, to.cookie, from.inode)
	}
	t.removeEntry(from.dir, from.cookie)
	t.reparent(from.inode, from.dir, to.dir)
	t.changed(from.inode, now)
}

// exchange swaps the inodes of two names.
func (t *tables) exchange(from, to *location, now Time) {
	t.pointEntry(from.entry, to.inode)
	t.pointEntry(to.entry, from.inode)
	t.reparent(from.inode, from.dir, to.dir)
	t.reparent(to.inode, to.dir, from.dir)
	t.changed(from.inode, now)
	t.changed(to.inode, now)
}

// reparent takes account of a directory's move.
func (t *tables) reparent(slot, from, to uint32) {
	if from == to || !t.inodes.get(slot).isDir() {
		return
	}
	t.mutDirectory(slot).parent = to
	t.mutDirectory(from).nlink--
	t.mutDirectory(to).nlink++
}
