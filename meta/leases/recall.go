package leases

import (
	"cmp"
	"slices"
	"time"

	"github.com/distrifs/distrifs/proto"
)

// Recall is a message to a session.
type Recall struct {
	Number  uint64
	Inodes  []proto.InodeID
	Keep    Mode
	Unnamed bool // see Table.Ask
}

// maxInodes bounds a Recall.
const maxInodes = 1 << 12

// charge makes a session owe an answer for a lease.
func (t *Table) charge(a *account, l *lease, keep Mode) {
	d, owed := a.debts[l.inode]
	if owed && d.keep <= keep {
		if d.unnamed { // from now on somebody waits
			d.unnamed, d.since = false, t.now()
			a.debts[l.inode] = d
		}
		return
	}
	if !owed {
		d.since = t.now()
	}
	a.debts[l.inode] = debt{keep: keep, since: d.since}
	l.who |= bitOwed
	t.tell(a, l.inode)
}

// Ask recalls the leases on inodes that have no name, and gives those that somebody has a
// lease on, or owes an answer for, which may have the inode open. Nobody waits for the
// answers: who owes no other is not among the Owing.
func (t *Table) Ask(inodes []proto.InodeID) (leased []proto.InodeID) {
	var debtors []*account
	for _, a := range t.accounts {
		if len(a.debts) > 0 {
			debtors = append(debtors, a)
		}
	}
	owed := func(a *account, ino proto.InodeID) bool {
		_, owes := a.debts[ino]
		return owes
	}
	for _, ino := range inodes {
		if t.byInode[ino] != 0 || slices.ContainsFunc(debtors, func(a *account) bool { return owed(a, ino) }) {
			leased = append(leased, ino)
		}
		for place := t.byInode[ino]; place != 0; {
			l := t.leases.at(place)
			if a := t.places[l.account()]; !owed(a, ino) {
				a.debts[ino] = debt{keep: None, since: t.now(), unnamed: true}
				l.who |= bitOwed
				t.tell(a, ino)
			}
			place = l.next
		}
	}
	return leased
}

// AskOthers recalls what other sessions have of an inode beyond keep, before anybody waits for it.
func (t *Table) AskOthers(id proto.SessionID, ino proto.InodeID, keep Mode) {
	for place := t.byInode[ino]; place != 0; {
		l := t.leases.at(place)
		if a := t.places[l.account()]; a.id != id && l.mode() > keep {
			t.charge(a, l, keep)
		}
		place = l.next
	}
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
	for _, kind := range []debt{{keep: None}, {keep: Shared}, {keep: None, unnamed: true}} {
		var open *Recall
		for _, ino := range a.unsent {
			d, owed := a.debts[ino]
			if !owed || d.number != 0 || d.keep != kind.keep || d.unnamed != kind.unnamed {
				continue
			}
			if open == nil || len(open.Inodes) == maxInodes {
				a.sent++
				t.recalls++
				recalls = append(recalls, Recall{Number: a.sent, Keep: d.keep, Unnamed: d.unnamed})
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
			r = &Recall{Number: d.number, Keep: d.keep, Unnamed: d.unnamed}
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

// Owing lists the sessions that owe answers which others wait for.
func (t *Table) Owing() (list []proto.SessionID) {
	for id, a := range t.accounts {
		for _, d := range a.debts {
			if !d.unnamed {
				list = append(list, id)
				break
			}
		}
	}
	return list
}

// OwesSince tells since when a session has owed the oldest answer that others wait for;
// false: it owes none.
func (t *Table) OwesSince(id proto.SessionID) (oldest time.Time, owes bool) {
	a := t.accounts[id]
	if a == nil {
		return oldest, false
	}
	for _, d := range a.debts {
		if !d.unnamed && (!owes || d.since.Before(oldest)) {
			oldest, owes = d.since, true
		}
	}
	return oldest, owes
}
