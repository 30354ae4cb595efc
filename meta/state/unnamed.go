package state

import "github.com/distrifs/distrifs/proto"

// Files of O_TMPFILE are orphans from the start: nobody has to remember to remove
// them. What tells them from files that were unlinked is that they may be linked.

// makeUnnamed makes such a file. It costs the directory nothing, whose permissions
// and group count as if a name had been made.
func (s *State) makeUnnamed(c *MakeUnnamed) Result {
	dir, kind := s.dirSlot(c.Parent, &c.Cred)
	switch {
	case kind != proto.OK:
		return Result{Kind: kind}
	case s.directory(dir).nlink == 0:
		return Result{Kind: proto.NotFound}
	case !s.may(dir, &c.Cred, mayWrite|maySearch):
		return Result{Kind: proto.Access}
	}
	if len(c.Chain) > 0 {
		if kind := s.checkChain(c.Chain); kind != proto.OK {
			return Result{Kind: kind}
		}
	}
	mode, gid := s.inherit(typeFile|c.Mode&modePerm, s.inodes.get(dir), &c.Cred)
	mode, inherited := s.bequeath(dir, mode, c.Umask)
	slot := s.newInode(mode, c.Cred.UID, gid, c.Now)
	s.inodes.mut(slot).nlink = unnamed
	s.addOrphan(slot)
	s.receive(slot, inherited)
	r := Result{Inode: s.inodeID(slot)}
	if len(c.Chain) > 0 {
		r.Chunks = []Chunk{s.chunkInfo(s.newChunk(slot, 0, c.Chain))}
	}
	r.Attr = s.attr(slot)
	return r
}

// adopt makes an unnamed file one with 0 names that is about to get its first.
func (t *tables) adopt(slot uint32) {
	t.orphans, _ = t.orphanTrie().remove(t.orphans, uint64(slot))
	t.counts.orphans--
	t.inodes.mut(slot).nlink = 0
}
