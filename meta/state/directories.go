package state

import (
	"bytes"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/distrifs/distrifs/proto"
)

// A directory entry is a block of the arena:
//
//	inode          4 bytes  slot
//	discriminator  1 byte   low 8 bits of the cookie
//	type           1 byte   of the inode: mode >> 12
//	length         1 byte   of the name
//	name
//
// Its cookie is the hash of the name << 8 | discriminator, which is the lowest that no
// entry with the same hash has when the entry is made.
const entryHead = 7

func entryInode(e []byte) uint32 { return binary.LittleEndian.Uint32(e) }
func entryName(e []byte) []byte  { return e[entryHead : entryHead+int(e[6])] }

// hashName is the seeded hash behind the cookies; the upper 55 bits are used.
func hashName(seed uint64, name []byte) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(seed)
	_, _ = d.Write(name)
	return d.Sum64()
}

// cookieBase is the smallest cookie that a name may have. It is at least 256, so that
// no cookie is one of 0 (the start), 1 (".") and 2 ("..").
func (t *tables) cookieBase(name []byte) uint64 {
	return max(t.hash(t.config.Seed, name)>>9, 1) << 8
}

// entryKeys are the keys of entries in a directory's trie: their cookies.
type entryKeys tables

func (k *entryKeys) key(entry uint32) uint64 {
	e := k.arena.block(entry)
	return (*tables)(k).cookieBase(entryName(e)) | uint64(e[4])
}

func (t *tables) entryTrie() trie { return trie{&t.arena, (*entryKeys)(t)} }

// findEntry looks a name up. Without such an entry, cookie is the one it would get;
// 0: there are 256 names with the same hash.
func (t *tables) findEntry(dir uint32, name []byte) (entry ref, cookie uint64) {
	tr, root := t.entryTrie(), t.directory(dir).root
	base := t.cookieBase(name)
	vacant := base
	for at := base; ; {
		found, key := tr.ceil(root, at)
		if found == 0 || key>>8 != base>>8 {
			break
		}
		if bytes.Equal(entryName(t.arena.block(found)), name) {
			return found, key
		}
		if key == vacant {
			vacant++
		}
		at = key + 1
	}
	if vacant>>8 != base>>8 {
		vacant = 0
	}
	return 0, vacant
}

// addEntry adds a name under the cookie that findEntry gave.
func (t *tables) addEntry(dir uint32, name []byte, cookie uint64, inode uint32) {
	t.addTypedEntry(dir, name, cookie, inode, t.inodes.get(inode).mode)
}

// addTypedEntry is addEntry for who knows the inode's mode: to look for it takes longer.
func (t *tables) addTypedEntry(dir uint32, name []byte, cookie uint64, inode uint32, mode uint16) {
	entry := t.arena.alloc(entryHead + len(name))
	e := t.arena.mut(entry)
	e[4], e[6] = byte(cookie), byte(len(name))
	copy(e[entryHead:], name)
	putEntryInode(e, inode, mode)
	d := t.mutDirectory(dir)
	d.root = t.entryTrie().insert(d.root, cookie, entry)
	d.entries++
}

// pointEntry makes an entry name another inode.
func (t *tables) pointEntry(entry ref, inode uint32) {
	putEntryInode(t.arena.mut(entry), inode, t.inodes.get(inode).mode)
}

func putEntryInode(e []byte, inode uint32, mode uint16) {
	binary.LittleEndian.PutUint32(e, inode)
	e[5] = byte(mode >> 12)
}

func (t *tables) removeEntry(dir uint32, cookie uint64) {
	d := t.mutDirectory(dir)
	root, entry := t.entryTrie().remove(d.root, cookie)
	d.root = root
	d.entries--
	t.arena.release(entry)
}

// dirSlot finds a directory that the caller may search. Stale, NotDir, Access.
func (t *tables) dirSlot(id proto.InodeID, cred *Cred) (uint32, proto.Kind) {
	slot, ok := t.inode(id)
	switch {
	case !ok:
		return 0, proto.Stale
	case !t.inodes.get(slot).isDir():
		return 0, proto.NotDir
	case !t.may(slot, cred, maySearch):
		return 0, proto.Access
	}
	return slot, proto.OK
}

// checkName says whether a name can be an entry's: NameTooLong, NotFound (empty),
// Invalid ('/' or NUL).
func checkName(name []byte) proto.Kind {
	switch {
	case len(name) > proto.MaxName:
		return proto.NameTooLong
	case len(name) == 0:
		return proto.NotFound
	case bytes.IndexByte(name, '/') >= 0 || bytes.IndexByte(name, 0) >= 0:
		return proto.Invalid
	}
	return proto.OK
}

func isDot(name []byte) bool    { return string(name) == "." }
func isDotDot(name []byte) bool { return string(name) == ".." }

// Lookup finds a name in a directory; "." and ".." are the directory and its parent.
// Stale, NotDir, Access (no search permission), NameTooLong, NotFound.
func (s *State) Lookup(parent proto.InodeID, name []byte, cred Cred) (Attr, proto.Kind) {
	dir, kind := s.dirSlot(parent, &cred)
	if kind != proto.OK {
		return Attr{}, kind
	}
	if kind := checkName(name); kind != proto.OK {
		return Attr{}, kind
	}
	switch {
	case isDot(name):
		return s.attr(dir), proto.OK
	case isDotDot(name):
		return s.attr(s.directory(dir).parent), proto.OK
	}
	entry, _ := s.findEntry(dir, name)
	if entry == 0 {
		return Attr{}, proto.NotFound
	}
	return s.attr(entryInode(s.arena.block(entry))), proto.OK
}

// Parent is the inode of "..": the root's is the root, a removed directory's is itself.
// Stale, NotDir.
func (s *State) Parent(ino proto.InodeID) (proto.InodeID, proto.Kind) {
	dir, kind := s.dirSlot(ino, &Cred{})
	if kind != proto.OK {
		return 0, kind
	}
	return s.inodeID(s.directory(dir).parent), proto.OK
}

// ReadDir calls fn for the entries behind a cookie (0: all) in the order of cookies
// until it answers false. Stale, NotDir. The entry of the cookie need not exist (L17).
func (s *State) ReadDir(ino proto.InodeID, cookie uint64, fn func(DirEntry) bool) proto.Kind {
	dir, kind := s.dirSlot(ino, &Cred{})
	if kind != proto.OK {
		return kind
	}
	tr, root := s.entryTrie(), s.directory(dir).root
	for cookie < 1<<63-1 {
		entry, key := tr.ceil(root, cookie+1)
		if entry == 0 {
			break
		}
		e := s.arena.block(entry)
		if !fn(DirEntry{Name: entryName(e), Inode: s.inodeID(entryInode(e)), Type: uint32(e[5]) << 12, Cookie: key}) {
			break
		}
		cookie = key
	}
	return proto.OK
}
