package leases

import (
	"cmp"
	"slices"
	"time"

	"github.com/distrifs/distrifs/proto"
)

// Recall is a message to a session.
type Recall struct {
	Number uint64
	Inodes []proto.InodeID
	Keep   Mode
}

// maxInodes bounds a Recall.
const maxInodes = 1 << 12

// charge makes a session owe an answer for a lease.
func (t *Table) charge(a *account, l *lease, keep Mode) {
	d, owed := a.debts[l.inode]
	if owed && d.keep <= keep {
		return
	}
	if !owed {
		d.since = t.now()
	}
	a.debts[l.inode] = debt{keep: keep, since: d.since}
	l.who |= bitOwed
	t.tell(a, l.inode)
}

// tell notes that there is a recall to be sent.
func (t *Table) tell(a *account, ino proto.InodeID) {
	a.unsent = append(a.unsent, ino)
	if !a.news {
		a.news = true
		t.news = append(t.news, a.id)
	}
}

// News gives the sessions for which there have been recalls to be sent since the last
// call, until the next one.
func (t *Table) News() []proto.SessionID {
	news := t.news
	t.news = t.news[:0]
	for _, id := range news {
		if a := t.accounts[id]; a != nil {
			a.news = false
		}
	}
	return news
}

// Sent is how many recalls have been sent to a session.
func (t *Table) Sent(id proto.SessionID) uint64 {
	if a := t.accounts[id]; a != nil {
		return a.sent
	}
	return 0
}

// Take gives the recalls that are to be sent to a session and numbers them: whatever
// is granted from now on is not meant by them.
func (t *Table) Take(id proto.SessionID) (recalls []Recall) {
	a := t.accounts[id]
	if a == nil || len(a.unsent) == 0 {
		return nil
	}
	for _, keep := range []Mode{None, Shared} {
		var open *Recall
		for _, ino := range a.unsent {
			d, owed := a.debts[ino]
			if !owed || d.number != 0 || d.keep != keep {
				continue
			}
			if open == nil || len(open.Inodes) == maxInodes {
				a.sent++
				t.recalls++
				recalls = append(recalls, Recall{Number: a.sent, Keep: keep})
				open = &recalls[len(recalls)-1]
			}
			d.number = open.Number
			a.debts[ino] = d
			open.Inodes = append(open.Inodes, ino)
		}
	}
	a.unsent = nil
	return recalls
}

// Unanswered gives the recalls that were sent to a session and not answered, in order
// and under their numbers, less what of them was answered or asked for again.
func (t *Table) Unanswered(id proto.SessionID) (recalls []Recall) {
	a := t.accounts[id]
	if a == nil {
		return nil
	}
	byNumber := map[uint64]*Recall{}
	for ino, d := range a.debts {
		if d.number == 0 {
			continue
		}
		r := byNumber[d.number]
		if r == nil {
			r = &Recall{Number: d.number, Keep: d.keep}
			byNumber[d.number] = r
		}
		r.Inodes = append(r.Inodes, ino)
	}
	for _, r := range byNumber {
		slices.Sort(r.Inodes)
		recalls = append(recalls, *r)
	}
	slices.SortFunc(recalls, func(x, y Recall) int { return cmp.Compare(x.Number, y.Number) })
	return recalls
}

// Return takes a session's answer to a recall. What it gives back of its own accord,
// under the number 0, is recalled from it: an answer that grants it again may be under
// way, and would be relied on.
func (t *Table) Return(id proto.SessionID, number uint64, keep Mode, inodes []proto.InodeID) {
	a := t.accounts[id]
	if a == nil || number > a.sent {
		return
	}
	for _, ino := range inodes {
		l := t.find(id, ino)
		switch {
		case l == nil:
			if d, owed := a.debts[ino]; owed && number == d.number {
				delete(a.debts, ino)
			}
		case number == 0:
			if keep < l.mode() {
				t.charge(a, l, keep)
			}
		case number > l.stamp:
			t.giveBack(a, l, keep)
		}
	}
}

// giveBack lowers a lease to what is kept of it.
func (t *Table) giveBack(a *account, l *lease, keep Mode) {
	ino := l.inode
	if keep == None {
		t.remove(t.placeOf(l))
	} else {
		l.setMode(min(l.mode(), keep))
		if d, owed := a.debts[ino]; owed && l.mode() <= d.keep {
			delete(a.debts, ino)
			l.who &^= bitOwed
		}
	}
	t.settle(ino)
}

// placeOf finds the place of a lease among those of its inode.
func (t *Table) placeOf(l *lease) uint32 {
	place := t.byInode[l.inode]
	for t.leases.at(place) != l {
		place = t.leases.at(place).next
	}
	return place
}

// Owing lists the sessions that owe answers.
func (t *Table) Owing() (list []proto.SessionID) {
	for id, a := range t.accounts {
		if len(a.debts) > 0 {
			list = append(list, id)
		}
	}
	return list
}

// OwesSince tells since when a session has owed its oldest answer; false: it owes none.
func (t *Table) OwesSince(id proto.SessionID) (oldest time.Time, owes bool) {
	a := t.accounts[id]
	if a == nil {
		return oldest, false
	}
	for _, d := range a.debts {
		if !owes || d.since.Before(oldest) {
			oldest, owes = d.since, true
		}
	}
	return oldest, owes
}
