package locks

import (
	"github.com/distrifs/distrifs/internal/ranges"
	"github.com/distrifs/distrifs/proto"
)

// Table holds the locks on all files. It is frozen until Thaw.
type Table struct {
	limits   Limits
	frozen   bool
	files    map[fileKey]*file
	accounts map[proto.SessionID]*account
	held     int // ranges
	waits    int // waiters
	turns    []Turn
}

// New makes an empty table, frozen.
func New(limits Limits) *Table {
	return &Table{limits: limits, frozen: true, files: map[fileKey]*file{}, accounts: map[proto.SessionID]*account{}}
}

// Thaw is called when all that was held before the table was made has been claimed.
func (t *Table) Thaw() {
	if !t.frozen {
		return
	}
	t.frozen = false
	for _, f := range t.files {
		t.deal(f)
	}
}

// Claim gives a lock that was held already, where the table did not know of it: before it was
// made, or by a session that kept the locks of a file itself. There may be an eighth more of
// them than of others. Kinds: OK; Conflict if another owner holds it, NoLocks.
func (t *Table) Claim(l Lock) proto.Kind {
	f := t.file(l.file())
	defer t.tidy(f)
	if f.held(l) {
		return proto.Conflict
	}
	more := t.limits
	more.Held += more.Held / 8
	more.HeldBySession += more.HeldBySession / 8
	return t.give(f, l, more)
}

// Claimed is called when a session that had waiters has claimed locks: a process that
// turns out to hold some may overtake those that it waits behind.
func (t *Table) Claimed(id proto.SessionID) {
	a := t.accounts[id]
	if a == nil {
		return
	}
	touched := map[*file]bool{}
	for _, w := range a.waiters {
		touched[t.files[w.lock.file()]] = true
	}
	for f := range touched {
		t.deal(f)
	}
}

// Knows tells whether the table has, or may have, anything of a file: what is held or
// wanted. A frozen one may.
func (t *Table) Knows(ino proto.InodeID) bool {
	return t.frozen || t.files[fileKey{ino, Record}] != nil || t.files[fileKey{ino, Flock}] != nil
}

// Set gives a lock, or with wait puts it into the queue under a ticket (queued is
// true): the session has its turn later. Asking again under a ticket that waits
// keeps its place; asking without wait ends the wait.
//
// As flock(2) has it, a lock of the space Flock that changes its mode is lost if
// that cannot be done at once.
//
// Kinds: OK; Conflict, only without wait; Deadlock, only with it; NoLocks; Unavailable
// while the table is frozen, only without wait.
func (t *Table) Set(l Lock, wait bool, ticket uint64) (queued bool, kind proto.Kind) {
	f := t.file(l.file())
	defer t.tidy(f)
	if w := t.account(l.Owner.Session).waiters[ticket]; w != nil {
		if w.lock != l {
			return false, proto.Invalid
		}
		if wait {
			return true, proto.OK
		}
		t.leave(f, w)
		t.deal(f)
	}
	has := t.Holds(l)
	switch {
	case t.frozen && !has && !wait:
		return false, proto.Unavailable
	case has || !t.frozen && !t.blocked(f, l, f.queue):
		kind = t.give(f, l, t.limits)
		t.deal(f)
		return false, kind
	}
	if l.Space == Flock && !t.frozen && f.holdings[l.Owner] != nil {
		t.put(f, l.Owner, nil)
		t.deal(f)
	}
	if !wait {
		return false, proto.Conflict
	}
	kind = t.enter(f, l, ticket)
	return kind == proto.OK, kind
}

// Unlock takes whatever an owner holds off a range; the mode of l means nothing. Kinds:
// OK; NoLocks if what is left would be too many ranges.
func (t *Table) Unlock(l Lock) proto.Kind {
	f := t.file(l.file())
	defer t.tidy(f)
	h := f.holdings[l.Owner]
	if h == nil {
		return proto.OK
	}
	left := &holding{h.ranges.Without(l.Range), h.process}
	if left.ranges.Len() > h.ranges.Len() && !t.mayGrow(l.Owner.Session, 1, t.limits) {
		return proto.NoLocks
	}
	t.put(f, l.Owner, left)
	t.deal(f)
	return proto.OK
}

// Test finds a lock that conflicts with l: the one that starts first. With no mode it finds what l's
// owner holds of the range.
func (t *Table) Test(l Lock) (other Lock, conflict bool) {
	f := t.files[l.file()]
	if f == nil {
		return Lock{}, false
	}
	for owner, h := range f.holdings {
		if (owner == l.Owner) != (l.Mode == 0) {
			continue
		}
		if e := h.conflict(l); e != nil && (!conflict || e.Start < other.Range.Start) {
			other = Lock{Inode: l.Inode, Space: l.Space, Owner: owner, Mode: e.Value, Range: e.Range, Process: h.process}
			conflict = true
		}
	}
	return other, conflict
}

// Holds tells whether the owner holds the whole range, at least in that mode.
func (t *Table) Holds(l Lock) bool {
	f := t.files[l.file()]
	if f == nil || f.holdings[l.Owner] == nil {
		return false
	}
	return f.holdings[l.Owner].ranges.Covers(l.Range, func(m Mode) bool { return m >= l.Mode })
}

// EndSession forgets what a session holds and waits for.
func (t *Table) EndSession(id proto.SessionID) {
	a := t.accounts[id]
	if a == nil {
		return
	}
	touched := map[*file]bool{}
	for _, w := range a.waiters {
		f := t.files[w.lock.file()]
		t.leave(f, w)
		touched[f] = true
	}
	for where := range a.holdings {
		f := t.files[where.file]
		t.put(f, Owner{id, where.owner}, nil)
		touched[f] = true
	}
	delete(t.accounts, id)
	for f := range touched {
		t.deal(f)
		t.tidy(f)
	}
}

// TakeTurns gives the turns since the last call.
func (t *Table) TakeTurns() []Turn {
	turns := t.turns
	t.turns = nil
	return turns
}

// Len is how many ranges are held, and how many requests wait.
func (t *Table) Len() (held, waiting int) { return t.held, t.waits }

// file finds or makes the state of a file; tidy lets it go.
func (t *Table) file(key fileKey) *file {
	f := t.files[key]
	if f == nil {
		f = &file{key: key, holdings: map[Owner]*holding{}}
		t.files[key] = f
	}
	return f
}

// tidy forgets a file nobody wants anything of.
func (t *Table) tidy(f *file) {
	if len(f.holdings) == 0 && len(f.queue) == 0 {
		delete(t.files, f.key)
	}
}

// put sets what an owner holds of a file; nil or empty: nothing.
func (t *Table) put(f *file, owner Owner, after *holding) {
	if after != nil && after.ranges.Len() == 0 {
		after = nil
	}
	t.book(f.key, owner, f.holdings[owner], after)
	if after == nil {
		delete(f.holdings, owner)
	} else {
		f.holdings[owner] = after
	}
}

// give makes the owner hold a lock that conflicts with none.
func (t *Table) give(f *file, l Lock, limits Limits) proto.Kind {
	var before ranges.Map[Mode]
	if h := f.holdings[l.Owner]; h != nil {
		before = h.ranges
	}
	after := before.With(l.Range, l.Mode)
	if more := after.Len() - before.Len(); more > 0 && !t.mayGrow(l.Owner.Session, more, limits) {
		return proto.NoLocks
	}
	t.put(f, l.Owner, &holding{after, l.Process})
	return proto.OK
}

func (t *Table) mayGrow(id proto.SessionID, more int, limits Limits) bool {
	return t.held+more <= limits.Held && t.account(id).held+more <= limits.HeldBySession
}
