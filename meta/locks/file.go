package locks

import (
	"github.com/distrifs/distrifs/internal/ranges"
	"github.com/distrifs/distrifs/proto"
)

// fileKey is one space of one file.
type fileKey struct {
	inode proto.InodeID
	space Space
}

func (l Lock) file() fileKey { return fileKey{l.Inode, l.Space} }

// file is what is held and wanted in one space of one file.
type file struct {
	key      fileKey
	holdings map[Owner]*holding // none is empty
	queue    []*waiter          // in order of arrival
}

// holding is what one owner holds of a file.
type holding struct {
	ranges  ranges.Map[Mode]
	process uint32 // that locked last
}

// waiter is a request in a queue.
type waiter struct {
	lock   Lock
	ticket uint64
}

// blockers lists the owners that hold what conflicts with a lock.
func (f *file) blockers(l Lock) (owners []Owner) {
	for owner, h := range f.holdings {
		if owner != l.Owner && h.conflict(l) != nil {
			owners = append(owners, owner)
		}
	}
	return owners
}

// held tells whether a lock conflicts with one that is held.
func (f *file) held(l Lock) bool {
	for owner, h := range f.holdings {
		if owner != l.Owner && h.conflict(l) != nil {
			return true
		}
	}
	return false
}

// conflict gives the first range held that conflicts with a lock of another owner; the first at all
// for one without a mode.
func (h *holding) conflict(l Lock) *ranges.Entry[Mode] {
	over := h.ranges.Over(l.Range)
	for i := range over {
		if l.Mode == 0 || over[i].Value.conflicts(l.Mode) {
			return &over[i]
		}
	}
	return nil
}

// wanted tells whether a lock conflicts with what one of these waiters wants.
func wanted(l Lock, waiters []*waiter) bool {
	for _, w := range waiters {
		if w.lock.Owner != l.Owner && w.lock.Range.Overlaps(l.Range) && w.lock.Mode.conflicts(l.Mode) {
			return true
		}
	}
	return false
}
