package fusefs

import (
	"sync/atomic"
	"time"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
)

// plainSlots is a power of two: how many inodes a plainTable remembers.
const plainSlots = 1 << 14

// plainTable remembers inodes that had no extended attributes when their own
// attributes were last read. Thus what the kernel asks by itself of every inode, for
// access control lists whenever it checks a permission and for capabilities before
// the first write, costs nothing where there are none.
//
// What is remembered is as old as the attributes that the kernel caches, and never
// older than an extended attribute that was set through this mount. Under leases nothing
// is remembered here: the client knows.
type plainTable struct {
	sets  atomic.Uint64 // of extended attributes through this mount
	slots [plainSlots]atomic.Pointer[plainInode]
}

type plainInode struct {
	ino   proto.InodeID
	until time.Time
}

func (t *plainTable) slot(ino proto.InodeID) *atomic.Pointer[plainInode] {
	return &t.slots[ino.Slot()%plainSlots]
}

// note remembers an inode if it is plain. sets is what sets was before the attributes
// were asked for: one that came between may have been overtaken by the answer.
func (t *plainTable) note(sets uint64, attr *client.Attr, until time.Time) {
	if !attr.Plain {
		return
	}
	slot := t.slot(attr.Inode)
	slot.Store(&plainInode{attr.Inode, until})
	if t.sets.Load() != sets { // after Store: see set
		slot.Store(nil)
	}
}

// set is called when an extended attribute was set, before that is answered.
func (t *plainTable) set(ino proto.InodeID) {
	t.sets.Add(1) // a note that stores after this finds out, one that did before is undone
	t.slot(ino).Store(nil)
}

func (t *plainTable) has(ino proto.InodeID, now time.Time) bool {
	known := t.slot(ino).Load()
	return known != nil && known.ino == ino && now.Before(known.until)
}

// notePlain remembers what the answer to a request says.
func (s *fileSystem) notePlain(ctx *call, attr *client.Attr) {
	s.plain.note(ctx.sets, attr, s.now().Add(s.backend.CacheTTL()))
}
