package state

import "github.com/distrifs/distrifs/proto"

// tables is everything that the state consists of. A frozen copy, which a Snapshot
// has, can be read like the original.
type tables struct {
	config      Config
	applied     uint64 // highest log index applied
	lastSession proto.SessionID
	counts      counts
	rebalancing bool

	inodes   slab[inode, *inode]
	owners   owners
	colds    slab[cold, *cold]
	dirs     slab[directory, *directory]
	chunks   slab[chunk, *chunk]
	maps     slab[fileMap, *fileMap]
	sessions slab[session, *session]
	slots    slab[slotRecord, *slotRecord]
	nodes    slab[node, *node]
	arena    arena

	sessionRoot uint32 // trie of sessions by id
	orphans     uint32 // trie of orphans by slot

	hash   func(seed uint64, name []byte) uint64 // hashName; weaker in tests
	limits limits
}

// limits end the growth of the tables; lower in tests.
type limits struct {
	slots uint32 // of each slab
	pages int    // of the arena
}

// newTables makes empty tables. Pages are about 64 KiB; where records are many, a
// number of them that fills whole pages of the allocator (8 KiB).
func newTables() tables {
	return tables{
		inodes:   newSlab[inode](11), // 40 B: 80 KiB
		owners:   newOwners(),
		colds:    newSlab[cold](11), // 32 B: 64 KiB
		dirs:     newSlab[directory](12),
		chunks:   newSlab[chunk](11), // 24 B: 48 KiB
		maps:     newSlab[fileMap](13),
		sessions: newSlab[session](8),
		slots:    newSlab[slotRecord](12),
		nodes:    newSlab[node](8),
		arena:    newArena(),
		hash:     hashName,
		limits:   limits{slots: maxSlots - spareSlots, pages: maxArenaPages - sparePages},
	}
}

// freeze copies the tables, sharing every page.
func (t *tables) freeze() tables {
	f := *t
	f.inodes, f.owners, f.colds, f.dirs = t.inodes.freeze(), t.owners.freeze(), t.colds.freeze(), t.dirs.freeze()
	f.chunks, f.maps = t.chunks.freeze(), t.maps.freeze()
	f.sessions, f.slots, f.nodes = t.sessions.freeze(), t.slots.freeze(), t.nodes.freeze()
	f.arena = t.arena.freeze()
	return f
}

// thaw ends a frozen copy.
func (t *tables) thaw() {
	t.inodes.thaw()
	t.owners.thaw()
	t.colds.thaw()
	t.dirs.thaw()
	t.chunks.thaw()
	t.maps.thaw()
	t.sessions.thaw()
	t.slots.thaw()
	t.nodes.thaw()
	t.arena.thaw()
}

// spare is more than any one command takes of a slab (slots) or of the arena (pages).
const (
	spareSlots = 2 * MaxAssign
	sparePages = 256
)

// room says whether any command that makes something can be carried out: slots of
// 31 bits, since a trie's leaf may be no more, and pages for refs of 31 bits.
func (t *tables) room() bool {
	most := max(t.inodes.length, t.chunks.length, t.colds.length, t.dirs.length, t.maps.length, t.slots.length)
	return most < t.limits.slots && len(t.arena.pages) < t.limits.pages
}

// counts are kept by Apply, so that Stats need not count.
type counts struct {
	files, dirs, others, orphans, bytes, assigned, references uint64
}

// add counts an inode of a type; n is 1 or -1.
func (c *counts) add(kind uint32, n int) {
	switch kind {
	case typeFile:
		c.files += uint64(n)
	case typeDir:
		c.dirs += uint64(n)
	default:
		c.others += uint64(n)
	}
}
