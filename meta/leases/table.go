package leases

import (
	"time"

	"github.com/distrifs/distrifs/proto"
)

// Limits bound the leases that are granted with answers. What is asked for by itself is
// given up to an eighth more.
type Limits struct {
	Held          int // by all sessions together
	HeldBySession int
}

// Table knows who holds which lease, who claims what, and who owes what.
type Table struct {
	limits   Limits
	now      func() time.Time
	leases   slab
	held     int
	byInode  map[proto.InodeID]uint32 // place of a lease; the others are linked by next
	points   map[proto.InodeID]*point
	spare    *point // points to be used again, linked
	accounts map[proto.SessionID]*account
	places   []*account // by lease.account
	vacant   []uint32   // places
	news     []proto.SessionID
	waiting  int      // claims that are not granted
	recalls  uint64   // sent so far
	pressed  *account // was asked last for leases because there were too many; nil: nobody was
}

// New makes an empty table.
func New(limits Limits, now func() time.Time) *Table {
	return &Table{
		limits: limits, now: now,
		byInode: map[proto.InodeID]uint32{}, points: map[proto.InodeID]*point{}, accounts: map[proto.SessionID]*account{},
	}
}

// Stats are for operators.
type Stats struct {
	Held    int    // leases
	Waiting int    // claims
	Recalls uint64 // sent so far
}

// Stats counts.
func (t *Table) Stats() Stats { return Stats{t.held, t.waiting, t.recalls} }

// find gives the session's lease on an inode; nil: none.
func (t *Table) find(id proto.SessionID, ino proto.InodeID) *lease {
	for place := t.byInode[ino]; place != 0; {
		l := t.leases.at(place)
		if t.places[l.account()].id == id {
			return l
		}
		place = l.next
	}
	return nil
}

// Holds tells in which mode a session has a lease, recalled or not.
func (t *Table) Holds(id proto.SessionID, ino proto.InodeID) Mode {
	if l := t.find(id, ino); l != nil {
		return l.mode()
	}
	return None
}

// Free tells whether no other session has a lease on an inode beyond the mode.
func (t *Table) Free(id proto.SessionID, ino proto.InodeID, beyond Mode) bool {
	for place := t.byInode[ino]; place != 0; {
		l := t.leases.at(place)
		if l.mode() > beyond && t.places[l.account()].id != id {
			return false
		}
		if beyond == Shared && l.mode() == Shared {
			return true // then all are
		}
		place = l.next
	}
	return true
}

// Grant gives a session a lease that comes with an answer, if nobody has to wait for
// that, and tells what it may rely on from now on: up to the mode that was asked for,
// or what it had already.
func (t *Table) Grant(id proto.SessionID, ino proto.InodeID, mode Mode) Mode {
	a := t.accounts[id]
	if a == nil {
		return None
	}
	return t.grant(a, ino, mode, t.limits, false)
}

// grant needs claimed if the session's own claim on the inode has been granted, and
// holds others back.
func (t *Table) grant(a *account, ino proto.InodeID, mode Mode, limits Limits, claimed bool) Mode {
	l := t.find(a.id, ino)
	if l == nil && len(a.debts) > 0 {
		if _, owed := a.debts[ino]; owed {
			return None
		}
	}
	if l != nil {
		if l.has(bitOwed) {
			return None
		}
		l.who |= bitUsed
		if l.mode() >= mode {
			return l.mode()
		}
	}
	if !claimed && mode == Exclusive && (t.contested(a.id, ino, Exclusive) || !t.Free(a.id, ino, None)) {
		if l != nil {
			return l.mode()
		}
		mode = Shared
	}
	if l != nil {
		l.setMode(mode)
		l.stamp = a.sent
		return mode
	}
	if !claimed && (t.contested(a.id, ino, mode) || !t.Free(a.id, ino, Shared)) {
		return None
	}
	if !t.room(a, limits) {
		return None
	}
	t.insert(a, ino, mode)
	return mode
}

// room tells whether one more lease may be granted, and asks for some back if not.
func (t *Table) room(a *account, limits Limits) bool {
	if a.held >= limits.HeldBySession {
		if len(a.debts) == 0 {
			t.trim(a, share(a.held))
		}
		return false
	}
	if t.held >= limits.Held {
		if t.pressed != nil && t.accounts[t.pressed.id] == t.pressed && len(t.pressed.debts) > 0 {
			return false // some are being given back
		}
		most := a
		for _, other := range t.accounts {
			if other.held > most.held {
				most = other
			}
		}
		if t.pressed = most; len(most.debts) == 0 {
			t.trim(most, share(most.held))
		}
		return false
	}
	return true
}

// share is how many of its leases a session is asked for at once.
func share(held int) int { return held/16 + 1 }

func (t *Table) insert(a *account, ino proto.InodeID, mode Mode) {
	place := t.leases.alloc()
	*t.leases.at(place) = lease{inode: ino, stamp: a.sent, next: t.byInode[ino], who: a.place<<accountBits | uint32(mode)}
	t.byInode[ino] = place
	t.append(a, place)
	a.held++
	t.held++
}

// remove needs a settle of the inode behind it.
func (t *Table) remove(place uint32) {
	l := t.leases.at(place)
	a, ino := t.places[l.account()], l.inode
	if first := t.byInode[ino]; first != place {
		before := t.leases.at(first)
		for before.next != place {
			before = t.leases.at(before.next)
		}
		before.next = l.next
	} else if l.next != 0 {
		t.byInode[ino] = l.next
	} else {
		delete(t.byInode, ino)
	}
	if l.has(bitOwed) {
		delete(a.debts, ino)
	}
	t.unlink(a, place)
	t.leases.release(place)
	a.held--
	t.held--
}

// Restore gives an exclusive lease that a session held before the table was made. If
// others have a lease on the inode by now, it is recalled instead.
func (t *Table) Restore(id proto.SessionID, ino proto.InodeID) bool {
	a := t.accounts[id]
	if a == nil || t.find(id, ino) != nil {
		return a != nil
	}
	if t.Free(id, ino, None) && !t.contested(id, ino, Exclusive) && t.held < t.limits.Held && a.held < t.limits.HeldBySession {
		t.insert(a, ino, Exclusive)
		return true
	}
	a.debts[ino] = debt{keep: None, since: t.now()}
	t.tell(a, ino)
	return false
}

// Forget drops the leases on an inode that is no more.
func (t *Table) Forget(ino proto.InodeID) {
	for place := t.byInode[ino]; place != 0; place = t.byInode[ino] {
		t.remove(place)
	}
	t.settle(ino)
}
