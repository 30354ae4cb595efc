package state

import (
	"encoding/binary"
	"slices"
	"sort"
)

// The arena keeps blocks of bytes in pages of 64 KiB. All blocks of a page have one
// size, its class; a page without a block in use changes class. Blocks are named by
// the unit of 8 bytes they begin at.
const (
	pageBytes = 1 << 16
	unitShift = 3
	pageUnits = pageBytes >> unitShift
	// maxBlock is the largest block in bytes; longer contents are chained (blob).
	maxBlock = 4096
	// maxArenaPages keeps a ref below 2^31: the top bit is the trie's.
	maxArenaPages = 1 << 31 / pageUnits
)

// ref names a block of the arena; 0 is none.
type ref = uint32

// classUnits are the sizes of blocks in units: every one up to the largest trie
// node (64 children), then in steps that waste at most a third.
var classUnits = func() []int {
	var sizes []int
	for u := 1; u <= 34; u++ {
		sizes = append(sizes, u)
	}
	return append(sizes, 40, 48, 56, 64, 80, 96, 128, 160, 192, 256, 341, 512)
}()

// classOf gives the class for a number of units.
var classOf = func() (table [maxBlock>>unitShift + 1]uint8) {
	for u := range table {
		table[u] = uint8(sort.SearchInts(classUnits, u))
	}
	return table
}()

// page says how the blocks of a page are used. Pages of a class that have a free block
// form a doubly linked list. Free blocks are linked through their first two bytes.
type page struct {
	next, prev uint32 // page number + 1; 0: none
	live       uint16 // blocks in use
	fresh      uint16 // blocks handed out ever since the page has its class
	free       uint16 // block number + 1 of the first free one; 0: none
	class      uint8
	listed     bool // in its class's list
}

type arena struct {
	pages [][]byte
	meta  []page     // none in a frozen copy
	lists [64]uint32 // page number + 1 of the first page of a class with a free block
	empty []uint32   // pages without a block in use
	shares
}

func newArena() arena { return arena{shares: newShares()} }

// block gives the bytes of a block from its beginning to the end of its page, to read.
func (a *arena) block(r ref) []byte {
	return a.pages[r/pageUnits][r%pageUnits<<unitShift:]
}

// mut is block for writing.
func (a *arena) mut(r ref) []byte {
	p := r / pageUnits
	if a.shared(p) {
		a.pages[p] = slices.Clone(a.pages[p])
		a.own(p)
	}
	return a.pages[p][r%pageUnits<<unitShift:]
}

// fits says whether n bytes belong into the block's class: neither more nor fewer.
func (a *arena) fits(r ref, n int) bool {
	return a.meta[r/pageUnits].class == classOf[(n+1<<unitShift-1)>>unitShift]
}

// alloc gives a block of at least n bytes, 1 <= n <= maxBlock. Its content is whatever
// was there.
func (a *arena) alloc(n int) ref {
	class := classOf[(n+1<<unitShift-1)>>unitShift]
	if a.lists[class] == 0 {
		a.addPage(class)
	}
	number := a.lists[class] - 1
	m := &a.meta[number]
	units := uint32(classUnits[class])
	var block uint32
	if m.free != 0 {
		block = uint32(m.free - 1)
		m.free = binary.LittleEndian.Uint16(a.block(number*pageUnits + block*units))
	} else {
		block = uint32(m.fresh)
		m.fresh++
	}
	m.live++
	if m.free == 0 && int(m.fresh) == blocksOf(class) {
		a.unlist(number)
	}
	return number*pageUnits + block*units
}

func blocksOf(class uint8) int { return pageUnits / classUnits[class] }

// release frees a block.
func (a *arena) release(r ref) {
	number := r / pageUnits
	m := &a.meta[number]
	block := uint16(r % pageUnits / uint32(classUnits[m.class]))
	binary.LittleEndian.PutUint16(a.mut(r), m.free)
	m.free = block + 1
	m.live--
	if !m.listed {
		a.list(number)
	}
	if m.live == 0 {
		a.unlist(number)
		*m = page{}
		a.empty = append(a.empty, number)
	}
}

// addPage gives a class a page with free blocks. The very first block of the arena
// is never handed out: its ref would be 0.
func (a *arena) addPage(class uint8) {
	var number uint32
	if n := len(a.empty); n > 0 {
		number = a.empty[n-1]
		a.empty = a.empty[:n-1]
	} else {
		number = uint32(len(a.pages))
		if number == maxArenaPages {
			panic("state: arena is full") // tables.room keeps commands from getting here
		}
		a.pages = append(a.pages, make([]byte, pageBytes))
		a.meta = append(a.meta, page{})
		a.added()
	}
	a.meta[number] = page{class: class}
	if number == 0 {
		a.meta[0].fresh = 1
	}
	a.list(number)
}

func (a *arena) list(number uint32) {
	m := &a.meta[number]
	head := &a.lists[m.class]
	m.next, m.prev, m.listed = *head, 0, true
	if *head != 0 {
		a.meta[*head-1].prev = number + 1
	}
	*head = number + 1
}

func (a *arena) unlist(number uint32) {
	m := &a.meta[number]
	if m.prev != 0 {
		a.meta[m.prev-1].next = m.next
	} else {
		a.lists[m.class] = m.next
	}
	if m.next != 0 {
		a.meta[m.next-1].prev = m.prev
	}
	m.next, m.prev, m.listed = 0, 0, false
}

func (a *arena) memory() uint64 { return uint64(len(a.pages)) * pageBytes }

// freeze gives a copy that shares all pages and can only be read.
func (a *arena) freeze() arena {
	return arena{pages: slices.Clone(a.pages), shares: a.pin()}
}

// thaw ends a frozen copy.
func (a *arena) thaw() {
	a.pages = nil
	a.unpin()
}

// A blob is content of any length up to 4 GiB in a chain of blocks. The first begins
// with the length (4 bytes), every one goes on with the ref of the next (4 bytes, 0:
// the last), then bytes up to maxBlock.
const (
	blobHead = 8
	blobRest = maxBlock - blobHead
)

// newBlob stores content; the blob of nothing is a block as well.
func (a *arena) newBlob(content []byte) ref {
	first := ref(0)
	last := ref(0)
	for rest := content; ; {
		n := min(len(rest), blobRest)
		r := a.alloc(blobHead + n)
		b := a.mut(r)
		binary.LittleEndian.PutUint32(b, uint32(len(content)))
		binary.LittleEndian.PutUint32(b[4:], 0)
		copy(b[blobHead:], rest[:n])
		if first == 0 {
			first = r
		} else {
			binary.LittleEndian.PutUint32(a.mut(last)[4:], r)
		}
		last = r
		if rest = rest[n:]; len(rest) == 0 {
			return first
		}
	}
}

// blob appends the content to dst.
func (a *arena) blob(dst []byte, r ref) []byte {
	for left := a.blobLen(r); ; {
		b := a.block(r)
		n := min(left, blobRest)
		dst = append(dst, b[blobHead:blobHead+n]...)
		if left -= n; left == 0 {
			return dst
		}
		r = binary.LittleEndian.Uint32(b[4:])
	}
}

func (a *arena) blobLen(r ref) int { return int(binary.LittleEndian.Uint32(a.block(r))) }

// freeBlob frees the chain; 0 is nothing to free.
func (a *arena) freeBlob(r ref) {
	for r != 0 {
		next := binary.LittleEndian.Uint32(a.block(r)[4:])
		a.release(r)
		r = next
	}
}
