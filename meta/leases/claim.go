package leases

import "github.com/distrifs/distrifs/proto"

// Want is what a claim on an inode is for.
type Want uint8

// The wants, as they rise.
const (
	Read  Want = iota // look at it: nobody else has it exclusive
	Share             // acquire a shared lease
	Write             // change it: nobody else has a lease
	Own               // acquire an exclusive lease
)

// keep is what other sessions may hold meanwhile.
func (w Want) keep() Mode {
	if w <= Share {
		return Shared
	}
	return None
}

// excludes tells whether claims of two sessions cannot both be granted. Changes go
// together, for the log puts them in order; what ends in a lease does not go with what
// the lease excludes.
func excludes(a, b Want) bool {
	return a == Own || b == Own || a == Share && b == Write || a == Write && b == Share
}

// maxItems is what a rename claims: two directories and what is moved and replaced.
const maxItems = 4

// Claim is a request's right to go on with what leases of other sessions would
// exclude. A zero Claim is ready to be filled by Add.
type Claim struct {
	Session proto.SessionID // 0: nobody's, as of the master itself

	items   [maxItems]item
	count   int
	queued  bool
	unclear int           // items
	granted chan struct{} // closed when it is; nil: it did not have to wait
}

// item is one inode of a claim.
type item struct {
	claim      *Claim
	inode      proto.InodeID
	want       Want
	clear      bool // nothing stands in its way, nor will
	prev, next *item
}

// point is where claims on one inode meet.
type point struct {
	first, last *item           // in order of arrival
	wants       [4]int          // items, by Want
	unclear     int             // items
	sole        proto.SessionID // whose all items are
	mixed       bool            // or have been of several since it was made
	spare       *point
}

// Add puts an inode into a claim that was not made yet, at most 4 in all.
func (c *Claim) Add(ino proto.InodeID, want Want) {
	for i := range c.items[:c.count] {
		if it := &c.items[i]; it.inode == ino {
			it.want = max(it.want, want)
			return
		}
	}
	c.items[c.count] = item{claim: c, inode: ino, want: want}
	c.count++
}

// Queued tells whether the claim was made and not released.
func (c *Claim) Queued() bool { return c.queued }

// Granted is closed when the claim is granted. It is for a claim that had to wait.
func (c *Claim) Granted() <-chan struct{} { return c.granted }

// IsGranted tells whether all that stood in the way is gone.
func (c *Claim) IsGranted() bool { return c.queued && c.unclear == 0 }

// Covers tells whether a claim has an inode among its own, wanted at least so.
func (c *Claim) Covers(ino proto.InodeID, want Want) bool {
	for i := range c.items[:c.count] {
		if it := &c.items[i]; it.inode == ino {
			return it.want >= want
		}
	}
	return false
}

// Reset empties a claim that is not queued.
func (c *Claim) Reset() { *c = Claim{Session: c.Session} }

// Make queues a claim on all its inodes at once, recalls what stands in its way, and
// tells whether it is granted; otherwise Granted says when. The claim must stay where
// it is in memory until Release.
func (t *Table) Make(c *Claim) bool {
	c.queued, c.unclear = true, c.count
	for i := range c.items[:c.count] {
		t.enter(&c.items[i])
	}
	for i := range c.items[:c.count] {
		it := &c.items[i]
		t.try(t.points[it.inode], it)
	}
	if c.unclear == 0 {
		return true
	}
	c.granted = make(chan struct{})
	t.waiting++
	return false
}

// Release ends a claim, granted or not. Releasing twice does no harm.
func (t *Table) Release(c *Claim) {
	if !c.queued {
		return
	}
	c.queued = false
	if c.unclear > 0 {
		t.waiting--
	}
	for i := range c.items[:c.count] {
		t.exit(&c.items[i])
	}
	for i := range c.items[:c.count] {
		t.settle(c.items[i].inode)
	}
}

// IsAwaited tells whether there are claims that wait on an inode of a claim's.
func (t *Table) IsAwaited(c *Claim) bool {
	for i := range c.items[:c.count] {
		if p := t.points[c.items[i].inode]; p != nil && p.unclear > 0 {
			return true
		}
	}
	return false
}

// Acquire turns a granted claim of one inode, wanted as Share or Own, into a lease. It
// gives None if the session has too many leases.
func (t *Table) Acquire(c *Claim) Mode {
	a := t.accounts[c.Session]
	if a == nil {
		return None
	}
	mode := Shared
	if c.items[0].want == Own {
		mode = Exclusive
	}
	more := Limits{t.limits.Held + t.limits.Held/8, t.limits.HeldBySession + t.limits.HeldBySession/8}
	return t.grant(a, c.items[0].inode, mode, more, true)
}

// contested tells whether claims of other sessions forbid a grant.
func (t *Table) contested(id proto.SessionID, ino proto.InodeID, mode Mode) bool {
	p := t.points[ino]
	if p == nil || !p.mixed && p.sole == id {
		return false
	}
	return mode == Exclusive || p.wants[Write]+p.wants[Own] > 0
}

func (t *Table) enter(it *item) {
	p := t.points[it.inode]
	if p == nil {
		if p = t.spare; p != nil {
			t.spare = p.spare
			*p = point{}
		} else {
			p = &point{}
		}
		p.sole = it.claim.Session
		t.points[it.inode] = p
	}
	p.mixed = p.mixed || p.sole != it.claim.Session
	p.insert(it, t.place(p, it))
	p.wants[it.want]++
	p.unclear++
}

// place gives the item that a new one comes behind; nil: it is the first.
//
// Who comes last is the last, but for those who have a lease on the one inode they claim.
// A change of such a one, which may be writing back for those who wait, is first. An
// upgrade is before the other claims of one inode that wait, unless its session has been
// asked for what it has: else it would have its turn again and again. Neither ever comes to wait
// for a claim of several inodes that came later, so no circle of waits is made.
func (t *Table) place(p *point, it *item) *item {
	l := t.find(it.claim.Session, it.inode)
	switch {
	case it.want == Read || it.claim.count > 1 || l == nil:
		return p.last
	case it.want == Write:
		return nil
	case l.has(bitOwed):
		return p.last
	}
	behind := p.last
	for behind != nil && !behind.clear && behind.claim.count == 1 {
		behind = behind.prev
	}
	return behind
}

func (p *point) insert(it, behind *item) {
	if it.prev = behind; behind != nil {
		it.next, behind.next = behind.next, it
	} else {
		it.next, p.first = p.first, it
	}
	if it.next != nil {
		it.next.prev = it
	} else {
		p.last = it
	}
}

func (t *Table) exit(it *item) {
	p := t.points[it.inode]
	if it.prev != nil {
		it.prev.next = it.next
	} else {
		p.first = it.next
	}
	if it.next != nil {
		it.next.prev = it.prev
	} else {
		p.last = it.prev
	}
	it.prev, it.next = nil, nil
	p.wants[it.want]--
	if !it.clear {
		p.unclear--
	}
	if p.first == nil {
		delete(t.points, it.inode)
		p.spare, t.spare = t.spare, p
	}
}

// settle looks which claims may go on now that a lease or claim on an inode is gone.
func (t *Table) settle(ino proto.InodeID) {
	p := t.points[ino]
	if p == nil || p.unclear == 0 {
		return
	}
	for it := p.first; it != nil; it = it.next {
		t.try(p, it)
	}
}

// try clears an item if nothing stands in its way; what of leases does is recalled.
func (t *Table) try(p *point, it *item) {
	if it.clear || t.blocked(p, it) || t.demand(it) {
		return
	}
	it.clear = true
	p.unclear--
	c := it.claim
	if c.unclear--; c.unclear == 0 && c.granted != nil {
		t.waiting--
		close(c.granted)
	}
}

// blocked tells whether a claim of another session is before an item.
func (t *Table) blocked(p *point, it *item) bool {
	switch it.want {
	case Read:
		if p.wants[Own] == 0 {
			return false
		}
	case Write:
		if p.wants[Own]+p.wants[Share] == 0 {
			return false
		}
	}
	if !p.mixed {
		return false
	}
	ahead := true
	for other := p.first; other != nil; other = other.next {
		ahead = ahead && other != it
		if (ahead || other.clear) && other.claim.Session != it.claim.Session && excludes(other.want, it.want) {
			return true
		}
	}
	return false
}

// demand recalls the leases that stand in an item's way, and tells whether there are
// any. A session that owes an answer for the inode gives it before it gets another
// lease: so no answer is ever taken for one about a later lease.
func (t *Table) demand(it *item) (any bool) {
	keep := it.want.keep()
	for place := t.byInode[it.inode]; place != 0; {
		l := t.leases.at(place)
		a := t.places[l.account()]
		if a.id != it.claim.Session {
			if l.mode() > keep {
				t.charge(a, l, keep)
				any = true
			}
		} else if (it.want == Own || it.want == Share) && l.has(bitOwed) {
			any = true
		}
		place = l.next
	}
	return any
}
