package state

import (
	"bytes"

	"github.com/distrifs/distrifs/meta/acl"
	"github.com/distrifs/distrifs/proto"
)

// Access control lists are kept as the extended attributes under whose names Linux
// shows them, in the canonical form of package acl, so that a file without one costs
// nothing. The nine permission bits of the mode always agree with the access ACL,
// and a list that says no more than they do is not kept.
const (
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default" // of directories
)

func isACL(name []byte) bool { return string(name) == accessACL || string(name) == defaultACL }

// acl reads one of the lists of an inode; nil: it has none.
func (t *tables) acl(slot uint32, name string) acl.List {
	if t.xattrs(slot) == 0 {
		return nil
	}
	_, found := t.findXattr(slot, []byte(name))
	if found == 0 {
		return nil
	}
	list, _ := acl.Parse(t.arena.blob(nil, xattrValue(t.arena.block(found))))
	return list
}

// checkACL: everybody may read the lists, the owner may change them. A symlink, whose
// mode means nothing, has none.
func (t *tables) checkACL(slot uint32, cred *Cred, mask uint32) proto.Kind {
	switch n := t.inodes.get(slot); {
	case n.kind() == typeLink:
		return proto.NotSupported
	case mask == mayWrite && !t.owns(cred, n):
		return proto.NotPermitted
	}
	return proto.OK
}

// permitsACL is may for a caller who is neither root nor the owner, of an inode of a group.
func permitsACL(list acl.List, gid uint32, cred *Cred, mask uint32) bool {
	who := acl.Subject{UID: cred.UID, In: cred.in, Member: cred.in(gid)}
	return list.Permits(&who, uint16(mask))
}

// setACL is setXattr for a list, after its checks. An empty list takes the old one
// away. An access ACL sets the permission bits.
func (s *State) setACL(c *SetXattr, slot uint32) proto.Kind {
	list, kind := acl.Parse(c.Value)
	isAccess := string(c.Name) == accessACL
	switch {
	case kind != proto.OK:
		return kind
	case !isAccess && !s.inodes.get(slot).isDir():
		return proto.Access
	}
	if isAccess && list != nil {
		n := s.inodes.mut(slot)
		n.mode = n.mode&^modeRWX | uint16(list.Mode())
		if c.Cred.UID != 0 && !c.Cred.in(s.owner(n).gid) {
			n.mode &^= modeSetGID
		}
		if list.Minimal() {
			list = nil
		}
	}
	if list == nil {
		s.dropXattr(slot, c.Name)
	} else {
		s.putXattr(slot, c.Name, list.Encode(nil))
	}
	return proto.OK
}

// chmodACL brings the access ACL in line with permission bits that were set.
func (t *tables) chmodACL(slot uint32) {
	if list := t.acl(slot, accessACL); list != nil {
		list.SetMode(uint32(t.inodes.get(slot).mode))
		t.putXattr(slot, []byte(accessACL), list.Encode(nil))
	}
}

// inheritance is what a new inode gets from the default ACL of its directory.
type inheritance struct {
	access   acl.List // nil: the mode says it all
	defaults acl.List // of a directory
}

// bequeath gives the mode of what is made in a directory: either the default ACL of
// the directory limits what was asked for, or the umask does (acl(5), "object
// creation and default ACLs"). The mode of a symlink is its own.
func (t *tables) bequeath(dir, mode, umask uint32) (uint32, inheritance) {
	if mode&typeMask == typeLink {
		return mode, inheritance{}
	}
	access := t.acl(dir, defaultACL)
	if access == nil {
		return mode &^ (umask & modeRWX), inheritance{}
	}
	var l inheritance
	if mode&typeMask == typeDir {
		l.defaults = t.acl(dir, defaultACL)
	}
	access.Inherit(mode)
	if !access.Minimal() {
		l.access = access
	}
	return mode&^modeRWX | access.Mode(), l
}

// receive gives a new inode what it inherits.
func (t *tables) receive(slot uint32, l inheritance) {
	if l.access != nil {
		t.putXattr(slot, []byte(accessACL), l.access.Encode(nil))
	}
	if l.defaults != nil {
		t.putXattr(slot, []byte(defaultACL), l.defaults.Encode(nil))
	}
}

// isWhatACLsAre says whether a list in a checkpoint is one that this inode can have.
func (t *tables) isWhatACLsAre(slot uint32, name, value []byte) bool {
	n := t.inodes.get(slot)
	list, kind := acl.Parse(value)
	switch {
	case kind != proto.OK || list == nil || !bytes.Equal(list.Encode(nil), value) || n.kind() == typeLink:
		return false
	case string(name) == defaultACL:
		return n.isDir()
	}
	return !list.Minimal() && list.Mode() == uint32(n.mode)&modeRWX
}
