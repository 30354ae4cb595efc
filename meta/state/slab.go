package state

import (
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
)

// maxSlots keeps slots below 2^31, so that they can be leaves of a trie.
const maxSlots = nodeBit

// record is what a slab holds: a type without pointers that lends one of its fields
// to the free list while its slot is free.
type record[T any] interface {
	*T
	freeLink() *uint32
}

// slab is a table of records in pages. A freed slot is the next one to be handed
// out; the slab clears nothing, so a record may keep its generation meanwhile.
//
// A page is owned, or shared with snapshots. mut copies a shared page before the
// first write to it. A pointer from get or mut is good until the next mut of the
// same page, so callers take what they write with mut first.
type slab[T any, P record[T]] struct {
	pages  [][]T
	shift  uint8  // a page holds 1<<shift records
	length uint32 // slots handed out ever, and slot 0
	free   uint32 // first free slot; 0: none
	live   uint32 // slots in use
	shares
}

func newSlab[T any, P record[T]](perPageShift uint8) slab[T, P] {
	return slab[T, P]{shift: perPageShift, length: 1, shares: newShares()}
}

func (s *slab[T, P]) get(slot uint32) P {
	return &s.pages[slot>>s.shift][slot&(1<<s.shift-1)]
}

func (s *slab[T, P]) mut(slot uint32) P {
	page := slot >> s.shift
	if s.shared(page) {
		s.pages[page] = slices.Clone(s.pages[page])
		s.own(page)
	}
	return &s.pages[page][slot&(1<<s.shift-1)]
}

// alloc hands out a slot. The record is as it was left, or zero if never used.
func (s *slab[T, P]) alloc() uint32 {
	s.live++
	if slot := s.free; slot != 0 {
		s.free = *s.mut(slot).freeLink()
		return slot
	}
	return s.extend()
}

// extend makes the next slot that was never used.
func (s *slab[T, P]) extend() uint32 {
	slot := s.length
	if slot == maxSlots {
		panic("state: slab is full") // tables.room keeps commands from getting here
	}
	for int(slot>>s.shift) >= len(s.pages) {
		s.pages = append(s.pages, make([]T, 1<<s.shift))
		s.added()
	}
	s.length++
	return slot
}

// release puts a slot on the free list.
func (s *slab[T, P]) release(slot uint32) {
	*s.mut(slot).freeLink() = s.free
	s.free = slot
	s.live--
}

// retire takes a slot out of use for ever.
func (s *slab[T, P]) retire() { s.live-- }

func (s *slab[T, P]) memory() uint64 {
	var r T
	return uint64(len(s.pages)) << s.shift * uint64(unsafe.Sizeof(r))
}

// freeze gives a copy that shares all pages and is read only.
func (s *slab[T, P]) freeze() slab[T, P] {
	frozen := *s
	frozen.pages = slices.Clone(s.pages)
	frozen.shares = s.pin()
	return frozen
}

// thaw ends a frozen copy: its pages may be written to again by who else has them.
func (s *slab[T, P]) thaw() {
	s.pages = nil
	s.unpin()
}

// shares remembers which pages of a table snapshots may still read. Time is counted
// in epochs: pin ends one. A page belongs to the epoch it was made or copied in, and is
// shared while a snapshot of that epoch or a later one lives.
type shares struct {
	epoch  uint32   // the present one; of a frozen copy, the one it pinned
	epochs []uint32 // of each page; nil in a frozen copy
	pins   *pins
}

func newShares() shares { return shares{epoch: 1, pins: &pins{}} }

func (s *shares) shared(page uint32) bool { return s.epochs[page] <= s.pins.newest.Load() }
func (s *shares) own(page uint32)         { s.epochs[page] = s.epoch }
func (s *shares) added()                  { s.epochs = append(s.epochs, s.epoch) }

func (s *shares) pin() shares {
	s.pins.add(s.epoch)
	frozen := shares{epoch: s.epoch, pins: s.pins}
	s.epoch++
	return frozen
}

func (s *shares) unpin() { s.pins.remove(s.epoch) }

// pins are the epochs of the live snapshots of a table. A snapshot is released by
// any goroutine while Apply asks for the newest.
type pins struct {
	newest atomic.Uint32 // 0: none
	mu     sync.Mutex    // protects epochs
	epochs []uint32      // ascending
}

func (p *pins) add(epoch uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epochs = append(p.epochs, epoch)
	p.newest.Store(epoch)
}

func (p *pins) remove(epoch uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epochs = slices.DeleteFunc(p.epochs, func(e uint32) bool { return e == epoch })
	newest := uint32(0)
	if n := len(p.epochs); n > 0 {
		newest = p.epochs[n-1]
	}
	p.newest.Store(newest)
}

// appendFree puts a slot at the end of the free list, behind last (0: the list is
// empty).
func (s *slab[T, P]) appendFree(slot, last uint32) {
	if last == 0 {
		s.free = slot
	} else {
		*s.mut(last).freeLink() = slot
	}
	*s.mut(slot).freeLink() = 0
}
