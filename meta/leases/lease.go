package leases

import "github.com/distrifs/distrifs/proto"

// Mode is what a session may do under a lease. The values are those of the wire.
type Mode uint8

// The modes.
const (
	None      Mode = iota
	Shared         // to rely on what it has read of the inode
	Exclusive      // and to change it without asking
)

// lease is what one session has of one inode: 32 bytes.
type lease struct {
	inode proto.InodeID
	stamp uint64 // recalls that had been sent to the session when its mode was granted
	next  uint32 // another lease on the inode
	older uint32 // lease of the session that was granted before
	newer uint32 // and after
	who   uint32 // place of the account, above the bits
}

// The bits of lease.who.
const (
	modeBits    = 3
	bitUsed     = 1 << 2 // granted again since it was last looked at for giving back
	bitOwed     = 1 << 3 // the session has a debt for it
	accountBits = 4      // where the place of the account begins
)

func (l *lease) mode() Mode        { return Mode(l.who & modeBits) }
func (l *lease) setMode(m Mode)    { l.who = l.who&^modeBits | uint32(m) }
func (l *lease) has(b uint32) bool { return l.who&b != 0 }
func (l *lease) account() uint32   { return l.who >> accountBits }

// slab holds leases by place. Place 0 is none.
type slab struct {
	pages []*[pageLeases]lease
	used  uint32 // places that were ever given out
	free  uint32 // first free place; linked by next
}

const pageLeases = 1 << 12

func (s *slab) at(place uint32) *lease { return &s.pages[place/pageLeases][place%pageLeases] }

// alloc gives a place whose lease is zero.
func (s *slab) alloc() uint32 {
	if place := s.free; place != 0 {
		l := s.at(place)
		s.free, l.next = l.next, 0
		return place
	}
	s.used++
	if int(s.used/pageLeases) == len(s.pages) {
		s.pages = append(s.pages, new([pageLeases]lease))
	}
	return s.used
}

func (s *slab) release(place uint32) {
	*s.at(place) = lease{next: s.free}
	s.free = place
}
