package locks

import (
	"slices"

	"github.com/distrifs/distrifs/proto"
)

// blocked tells whether a lock has to wait, behind these waiters.
func (t *Table) blocked(f *file, l Lock, before []*waiter) bool {
	return f.held(l) || !t.holds(l) && wanted(l, before)
}

// enter puts a lock at the end of the queue. Kinds: OK, Deadlock, NoLocks.
func (t *Table) enter(f *file, l Lock, ticket uint64) proto.Kind {
	a := t.account(l.Owner.Session)
	if t.waits >= t.limits.Waits || len(a.waiters) >= t.limits.WaitsOfSession {
		return proto.NoLocks
	}
	if l.Space == Record && t.circle(f, l) {
		return proto.Deadlock
	}
	w := &waiter{l, ticket}
	f.queue = append(f.queue, w)
	a.waiters[ticket] = w
	if l.Space == Record {
		a.waits[l.Owner.ID]++
	}
	t.waits++
	return proto.OK
}

// leave takes a waiter out of the queue.
func (t *Table) leave(f *file, w *waiter) {
	f.queue = slices.DeleteFunc(f.queue, func(other *waiter) bool { return other == w })
	t.unbook(w)
}

// unbook takes a waiter out of its session's account.
func (t *Table) unbook(w *waiter) {
	owner := w.lock.Owner
	a := t.accounts[owner.Session]
	delete(a.waiters, w.ticket)
	if w.lock.Space == Record {
		if a.waits[owner.ID]--; a.waits[owner.ID] == 0 {
			delete(a.waits, owner.ID)
		}
	}
	t.waits--
}

// deal gives the waiters of a file what they can have. What one is given may free
// what another waits for, when a process trades an exclusive lock for a shared one:
// so until nothing changes.
func (t *Table) deal(f *file) {
	for !t.frozen && t.dealOnce(f) {
	}
}

func (t *Table) dealOnce(f *file) (changed bool) {
	left := f.queue[:0]
	for _, w := range f.queue {
		if t.blocked(f, w.lock, left) {
			left = append(left, w)
			continue
		}
		// One who gets nothing for want of room has his turn all the same, and is told
		// so when he asks again.
		_ = t.give(f, w.lock, t.limits)
		t.unbook(w)
		t.turns = append(t.turns, Turn{w.lock.Owner.Session, w.ticket})
		changed = true
	}
	clear(f.queue[len(left):])
	f.queue = left
	return changed
}

// circle tells whether waiting for l would close a circle of owners, each waiting for
// what the next one holds.
func (t *Table) circle(f *file, l Lock) bool {
	seen := map[Owner]bool{}
	ahead := f.blockers(l)
	for len(ahead) > 0 {
		owner := ahead[len(ahead)-1]
		ahead = ahead[:len(ahead)-1]
		if owner == l.Owner {
			return true
		}
		a := t.accounts[owner.Session]
		if seen[owner] || a.waits[owner.ID] == 0 {
			continue
		}
		seen[owner] = true
		for _, w := range a.waiters {
			if w.lock.Owner == owner && w.lock.Space == Record {
				ahead = append(ahead, t.files[w.lock.file()].blockers(w.lock)...)
			}
		}
	}
	return false
}
