package state

import "github.com/distrifs/distrifs/proto"

// Inodes that are reserved are orphans, as files of O_TMPFILE are, and go like them when
// the session that reserved them has them open no more: nobody has to remember which
// they are.

func (s *State) reserve(c *Reserve) Result {
	if len(c.Chains) == 0 || len(c.Chains) > MaxAssign {
		return Result{Kind: proto.Invalid}
	}
	for _, chain := range c.Chains {
		if len(chain) == 0 {
			continue
		}
		if kind := s.checkChain(chain); kind != proto.OK {
			return Result{Kind: kind}
		}
	}
	var r Result
	for _, chain := range c.Chains {
		slot := s.newInode(typeFile, 0, 0, c.Now)
		s.inodes.mut(slot).nlink = unnamed
		s.addOrphan(slot)
		r.Inodes = append(r.Inodes, s.inodeID(slot))
		if len(chain) > 0 {
			r.Chunks = append(r.Chunks, s.chunkInfo(s.newChunk(slot, 0, chain)))
		}
	}
	return r
}

func (s *State) makeReserved(c *MakeReserved) Result {
	slot, ok := s.inode(c.Inode)
	switch {
	case !ok || !s.isReserved(slot):
		return Result{Kind: proto.Stale}
	case len(c.Chain) > 0 || c.Mode&typeMask != typeFile && s.inodes.get(slot).content != 0:
		return Result{Kind: proto.Invalid}
	}
	return s.makeOf(&c.Make, slot)
}

// Reserved tells whether an inode is kept for a session that may make a file of it.
func (s *State) Reserved(ino proto.InodeID) bool {
	slot, ok := s.inode(ino)
	return ok && s.isReserved(slot)
}

// isReserved tells whether an inode is as Reserve made it.
func (t *tables) isReserved(slot uint32) bool {
	n := t.inodes.get(slot)
	return n.mode == typeFile && n.nlink == unnamed && n.owner == rootOwner && n.cold == 0 && n.change == 1 && n.size == 0
}

// becomes makes what newInode makes of an inode that is reserved.
func (t *tables) becomes(slot uint32, mode, uid, gid uint32, now Time) {
	t.adopt(slot)
	n := t.inodes.mut(slot)
	t.counts.add(n.kind(), -1)
	*n = inode{generation: n.generation, mode: uint16(mode), owner: n.owner, change: 1, content: n.content}
	t.putTimes(slot, times{atime: now, mtime: now, ctime: now, btime: now})
	t.putOwner(slot, uid, gid)
	t.counts.add(n.kind(), 1)
}
