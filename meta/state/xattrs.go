package state

import (
	"bytes"
	"encoding/binary"

	"github.com/distrifs/distrifs/proto"
)

// The extended attributes of an inode are a list, in order of names, of blocks:
//
//	next    4 bytes  block of the next attribute; 0: the last
//	value   4 bytes  its blob
//	length  1 byte   of the name
//	name
const xattrHead = 9

// MaxXattrTotal is the most that the values of an inode may take together, in bytes.
const MaxXattrTotal = 1 << 20

func xattrNext(x []byte) ref    { return binary.LittleEndian.Uint32(x) }
func xattrValue(x []byte) ref   { return binary.LittleEndian.Uint32(x[4:]) }
func xattrName(x []byte) []byte { return x[xattrHead : xattrHead+int(x[8])] }

// xattrs gives the first block of an inode's list.
func (t *tables) xattrs(slot uint32) ref {
	if n := t.inodes.get(slot); n.cold != 0 {
		return t.colds.get(n.cold).xattrs
	}
	return 0
}

// findXattr finds an attribute and the block before it or, if there is none of
// that name, before where it would stand.
func (t *tables) findXattr(slot uint32, name []byte) (before, found ref) {
	for r := t.xattrs(slot); r != 0; {
		x := t.arena.block(r)
		switch order := bytes.Compare(xattrName(x), name); {
		case order == 0:
			return before, r
		case order > 0:
			return before, 0
		}
		before, r = r, xattrNext(x)
	}
	return before, 0
}

// linkXattr makes r follow the block before, or the first.
func (t *tables) linkXattr(slot uint32, before, r ref) {
	if before != 0 {
		binary.LittleEndian.PutUint32(t.arena.mut(before), r)
		return
	}
	t.colds.mut(t.needCold(slot)).xattrs = r
}

// addXattr adds an attribute behind the block that findXattr gave, and gives its own.
func (t *tables) addXattr(slot uint32, before ref, name, value []byte) ref {
	blob := t.arena.newBlob(value)
	next := t.xattrs(slot)
	if before != 0 {
		next = xattrNext(t.arena.block(before))
	}
	r := t.arena.alloc(xattrHead + len(name))
	x := t.arena.mut(r)
	binary.LittleEndian.PutUint32(x, next)
	binary.LittleEndian.PutUint32(x[4:], blob)
	x[8] = byte(len(name))
	copy(x[xattrHead:], name)
	t.linkXattr(slot, before, r)
	return r
}

// putXattr sets an attribute, whether it was there or not.
func (t *tables) putXattr(slot uint32, name, value []byte) {
	before, found := t.findXattr(slot, name)
	if found == 0 {
		t.addXattr(slot, before, name, value)
		return
	}
	x := t.arena.mut(found)
	t.arena.freeBlob(xattrValue(x))
	binary.LittleEndian.PutUint32(x[4:], t.arena.newBlob(value))
}

// dropXattr takes an attribute away; false: there was none.
func (t *tables) dropXattr(slot uint32, name []byte) bool {
	before, found := t.findXattr(slot, name)
	if found == 0 {
		return false
	}
	x := t.arena.block(found)
	next, value := xattrNext(x), xattrValue(x)
	t.linkXattr(slot, before, next)
	t.arena.freeBlob(value)
	t.arena.release(found)
	return true
}

// freeXattrs frees a list.
func (t *tables) freeXattrs(r ref) {
	for r != 0 {
		x := t.arena.block(r)
		next, value := xattrNext(x), xattrValue(x)
		t.arena.freeBlob(value)
		t.arena.release(r)
		r = next
	}
}

// checkXattr says whether the caller may read (mayRead) or change (mayWrite) an
// attribute of this name: xattr(7).
func (t *tables) checkXattr(slot uint32, name []byte, cred *Cred, mask uint32) proto.Kind {
	if len(name) == 0 || len(name) > MaxXattrName {
		return proto.Range
	}
	if bytes.IndexByte(name, 0) >= 0 {
		return proto.Invalid
	}
	namespace, rest, _ := bytes.Cut(name, []byte{'.'})
	switch string(namespace) {
	case "user", "security", "trusted":
		if len(rest) == 0 {
			return emptyName(name)
		}
	}
	switch string(namespace) {
	case "user":
		return t.checkUserXattr(slot, cred, mask)
	case "security":
		if mask == mayWrite && cred.UID != 0 {
			return proto.NotPermitted
		}
	case "trusted":
		if cred.UID != 0 {
			return hidden(mask)
		}
	case "system":
		if !isACL(name) {
			return proto.NotSupported
		}
		return t.checkACL(slot, cred, mask)
	default:
		return proto.NotSupported
	}
	return proto.OK
}

// emptyName is the answer to a namespace alone: with the dot, and without.
func emptyName(name []byte) proto.Kind {
	if bytes.HasSuffix(name, []byte{'.'}) {
		return proto.Invalid
	}
	return proto.NotSupported
}

// hidden is the answer about an attribute that the caller may not know of.
func hidden(mask uint32) proto.Kind {
	if mask == mayWrite {
		return proto.NotPermitted
	}
	return proto.NoAttr
}

// checkUserXattr: files and directories alone have user attributes, under their
// permission bits; those of a sticky directory are its owner's to change.
func (t *tables) checkUserXattr(slot uint32, cred *Cred, mask uint32) proto.Kind {
	n := t.inodes.get(slot)
	switch {
	case n.kind() != typeFile && !n.isDir():
		return hidden(mask)
	case mask == mayWrite && n.isDir() && n.mode&modeSticky != 0 && !t.owns(cred, n):
		return proto.NotPermitted
	case !t.may(slot, cred, mask):
		return proto.Access
	}
	return proto.OK
}

// xattrRoom says whether an attribute of these lengths fits beside the others.
func (t *tables) xattrRoom(slot uint32, except ref, name, value int) bool {
	names, values := name+1, value
	for r := t.xattrs(slot); r != 0; {
		x := t.arena.block(r)
		if r != except {
			names += len(xattrName(x)) + 1
			values += t.arena.blobLen(xattrValue(x))
		}
		r = xattrNext(x)
	}
	return names <= MaxXattrList && values <= MaxXattrTotal
}

func (s *State) setXattr(c *SetXattr) Result {
	slot, ok := s.inode(c.Inode)
	if !ok {
		return Result{Kind: proto.Stale}
	}
	if kind := s.checkXattr(slot, c.Name, &c.Cred, mayWrite); kind != proto.OK {
		return Result{Kind: kind}
	}
	_, found := s.findXattr(slot, c.Name)
	switch {
	case len(c.Value) > MaxXattrValue:
		return Result{Kind: proto.TooBig}
	case c.Create && found != 0:
		return Result{Kind: proto.Exists}
	case c.Replace && found == 0:
		return Result{Kind: proto.NoAttr}
	case !s.xattrRoom(slot, found, len(c.Name), len(c.Value)):
		return Result{Kind: proto.NoSpace}
	}
	if isACL(c.Name) {
		if kind := s.setACL(c, slot); kind != proto.OK {
			return Result{Kind: kind}
		}
	} else {
		s.putXattr(slot, c.Name, c.Value)
	}
	s.changed(slot, c.Now)
	return Result{Inode: c.Inode, Attr: s.attr(slot)}
}

func (s *State) removeXattr(c *RemoveXattr) Result {
	slot, ok := s.inode(c.Inode)
	if !ok {
		return Result{Kind: proto.Stale}
	}
	if kind := s.checkXattr(slot, c.Name, &c.Cred, mayWrite); kind != proto.OK {
		return Result{Kind: kind}
	}
	if !s.dropXattr(slot, c.Name) {
		return Result{Kind: proto.NoAttr}
	}
	s.changed(slot, c.Now)
	return Result{Inode: c.Inode, Attr: s.attr(slot)}
}

// GetXattr gives the value of an extended attribute. Stale, NoAttr, Access,
// NotSupported (namespace), Range (length of the name).
func (s *State) GetXattr(ino proto.InodeID, name []byte, cred Cred) ([]byte, proto.Kind) {
	slot, ok := s.inode(ino)
	if !ok {
		return nil, proto.Stale
	}
	if kind := s.checkXattr(slot, name, &cred, mayRead); kind != proto.OK {
		return nil, kind
	}
	_, found := s.findXattr(slot, name)
	if found == 0 {
		return nil, proto.NoAttr
	}
	return s.arena.blob([]byte{}, xattrValue(s.arena.block(found))), proto.OK
}

// ListXattr gives the names of the extended attributes that cred may know of, sorted.
// Stale.
func (s *State) ListXattr(ino proto.InodeID, cred Cred) ([][]byte, proto.Kind) {
	slot, ok := s.inode(ino)
	if !ok {
		return nil, proto.Stale
	}
	var names [][]byte
	for r := s.xattrs(slot); r != 0; {
		x := s.arena.block(r)
		if name := xattrName(x); cred.UID == 0 || !bytes.HasPrefix(name, []byte("trusted.")) {
			names = append(names, bytes.Clone(name))
		}
		r = xattrNext(x)
	}
	return names, proto.OK
}
