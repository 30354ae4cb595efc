package leases

import (
	"time"

	"github.com/distrifs/distrifs/proto"
)

// account is what one session has in a table.
type account struct {
	id     proto.SessionID
	place  uint32 // in Table.places
	held   int    // leases
	oldest uint32 // lease granted first; linked by newer
	newest uint32
	sent   uint64 // recalls
	debts  map[proto.InodeID]debt
	unsent []proto.InodeID // whose debts have no number yet, or had none
	news   bool            // it is listed in Table.news
}

// debt is an answer that a session owes to a recall.
type debt struct {
	number  uint64 // of the recall; 0: not sent yet
	keep    Mode   // what the session may keep
	since   time.Time
	unnamed bool // it was asked for by Ask: nobody waits for it
}

// Open makes an account for a session: from now on it may be granted leases.
func (t *Table) Open(id proto.SessionID) {
	if t.accounts[id] != nil {
		return
	}
	a := &account{id: id, debts: map[proto.InodeID]debt{}}
	if last := len(t.vacant) - 1; last >= 0 {
		a.place, t.vacant = t.vacant[last], t.vacant[:last]
		t.places[a.place] = a
	} else {
		a.place = uint32(len(t.places))
		t.places = append(t.places, a)
	}
	t.accounts[id] = a
}

// Exclusive lists the inodes that a session has exclusive, in the order of the grants.
func (t *Table) Exclusive(id proto.SessionID) (list []proto.InodeID) {
	a := t.accounts[id]
	if a == nil {
		return nil
	}
	for place := a.oldest; place != 0; {
		l := t.leases.at(place)
		if l.mode() == Exclusive {
			list = append(list, l.inode)
		}
		place = l.newer
	}
	return list
}

// End takes all leases of a session away. Its claims stay until they are released.
func (t *Table) End(id proto.SessionID) {
	a := t.accounts[id]
	if a == nil {
		return
	}
	for a.oldest != 0 {
		ino := t.leases.at(a.oldest).inode
		t.remove(a.oldest)
		t.settle(ino)
	}
	delete(t.accounts, id)
	t.places[a.place] = nil
	t.vacant = append(t.vacant, a.place)
}

// append makes a lease the session's newest.
func (t *Table) append(a *account, place uint32) {
	l := t.leases.at(place)
	l.older, l.newer = a.newest, 0
	if a.newest != 0 {
		t.leases.at(a.newest).newer = place
	} else {
		a.oldest = place
	}
	a.newest = place
}

// unlink takes a lease out of the session's order.
func (t *Table) unlink(a *account, place uint32) {
	l := t.leases.at(place)
	if l.older != 0 {
		t.leases.at(l.older).newer = l.newer
	} else {
		a.oldest = l.newer
	}
	if l.newer != 0 {
		t.leases.at(l.newer).older = l.older
	} else {
		a.newest = l.older
	}
}

// trim asks a session for some of the leases it was granted longest ago. Those that
// were granted again since get another round.
func (t *Table) trim(a *account, count int) {
	for looked := a.held; count > 0 && looked > 0; looked-- {
		place := a.oldest
		l := t.leases.at(place)
		t.unlink(a, place)
		t.append(a, place)
		switch {
		case l.has(bitUsed):
			l.who &^= bitUsed
		case !l.has(bitOwed):
			t.charge(a, l, None)
			count--
		}
	}
}
