package acl

import (
	"encoding/binary"
	"slices"

	"github.com/distrifs/distrifs/proto"
)

// The form in which lists are kept, and which Linux has for the attributes
// system.posix_acl_access and system.posix_acl_default. Integers are little-endian.
//
//	header  u32 version (2)
//	entry   u16 tag, u16 permissions (an or of 4 read, 2 write, 1 execute), u32 id
//
// The id is that of a user or a group in a named entry, and NoID in any other.
const (
	version     = 2
	headerBytes = 4
	entryBytes  = 8
)

// NoID is the id of an entry that names nobody.
const NoID = 1<<32 - 1

// MaxBytes is the most that a list may take: the kernel reads no more than a page.
const MaxBytes = 4096

// Tag is what an entry is about. The numbers are the format's, and their order is
// the order of entries.
type Tag uint16

// The tags.
const (
	UserObj  Tag = 0x01 // the owner
	User     Tag = 0x02 // a named user
	GroupObj Tag = 0x04 // the owning group
	Group    Tag = 0x08 // a named group
	Mask     Tag = 0x10 // the most that the group class may do
	Other    Tag = 0x20 // everybody else
)

// Entry is one line of a list.
type Entry struct {
	Tag  Tag
	Perm uint16 // an or of 4 read, 2 write, 1 execute
	ID   uint32 // of a named user or group; NoID otherwise
}

func (e *Entry) named() bool { return e.Tag == User || e.Tag == Group }

// List is a valid list in canonical form.
type List []Entry

// Parse reads a list. Named entries may come in any order of their ids, and are
// sorted; none at all gives nil. NotSupported: another version. TooBig: longer than
// MaxBytes. Invalid: not a list, or one that acl(5) does not permit.
func Parse(value []byte) (List, proto.Kind) {
	switch {
	case len(value) > MaxBytes:
		return nil, proto.TooBig
	case len(value) < headerBytes || (len(value)-headerBytes)%entryBytes != 0:
		return nil, proto.Invalid
	case binary.LittleEndian.Uint32(value) != version:
		return nil, proto.NotSupported
	}
	var l List
	for b := value[headerBytes:]; len(b) > 0; b = b[entryBytes:] {
		e := Entry{
			Tag:  Tag(binary.LittleEndian.Uint16(b)),
			Perm: binary.LittleEndian.Uint16(b[2:]),
			ID:   binary.LittleEndian.Uint32(b[4:]),
		}
		if n := len(l); n > 0 && e.Tag < l[n-1].Tag {
			return nil, proto.Invalid
		}
		l = append(l, e)
	}
	slices.SortFunc(l, compare)
	if len(l) > 0 && !l.valid() {
		return nil, proto.Invalid
	}
	return l, proto.OK
}

// compare orders entries by tag and id.
func compare(a, b Entry) int {
	switch {
	case a.Tag != b.Tag:
		return int(a.Tag) - int(b.Tag)
	case a.ID < b.ID:
		return -1
	case a.ID > b.ID:
		return 1
	}
	return 0
}

// valid says of a sorted list that it has one entry for the owner, the owning group
// and the others, at most one for each name and for the mask, and the mask if there
// are names.
func (l List) valid() bool {
	var count [Other + 1]int
	for i, e := range l {
		switch e.Tag {
		case UserObj, User, GroupObj, Group, Mask, Other:
		default:
			return false
		}
		if e.Perm > 7 || e.named() == (e.ID == NoID) || i > 0 && compare(l[i-1], e) == 0 {
			return false
		}
		count[e.Tag]++
	}
	return count[UserObj] == 1 && count[GroupObj] == 1 && count[Other] == 1 &&
		(count[Mask] == 1 || count[User]+count[Group] == 0)
}

// Encode appends the list's bytes to dst.
func (l List) Encode(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, version)
	for _, e := range l {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(e.Tag))
		dst = binary.LittleEndian.AppendUint16(dst, e.Perm)
		dst = binary.LittleEndian.AppendUint32(dst, e.ID)
	}
	return dst
}
