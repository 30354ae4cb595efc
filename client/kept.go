package client

import (
	"time"

	"github.com/distrifs/distrifs/proto"
)

// Names that the kernel keeps. Under a lease on a directory the kernel goes by what it was told
// of a name for a moment: so the directories on the way to a file, and files that were just listed,
// are not looked up again and again. Before the lease is given back the kernel forgets the names.
//
// It does so name by name, under its lock on the directory: thus after each answer that was read
// under that lock, which are those that it did not know the name before, and listings. An
// answer by which it has a name confirmed may come to it later; so it is told again
// when that has had time enough. And the lock may be held by a call that waits for us:
// then the kernel's time is waited out. In a directory that was recalled it is told no names for a while.

const (
	entryTTL   = 250 * time.Millisecond // how long the kernel may go by a name
	entryDelay = 50 * time.Millisecond  // how long an answer may take to it
	lateNames  = entryTTL + entryDelay
)

// EntryTTL is how long the kernel may go by what a name stands for, 0 for nothing, that was
// answered: 0 if no lease of the directory covers that.
func (c *Client) EntryTTL(dir proto.InodeID, name string, ino proto.InodeID) time.Duration {
	if c.leases.enabled() {
		return c.leases.tellName(dir, name, ino)
	}
	return cacheTTL
}

// tellName notes that the kernel is told of a name.
func (l *leases) tellName(dir proto.InodeID, name string, ino proto.InodeID) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held[dir]
	if h == nil || !l.validFor(h) || l.suspended || h.leaves() || l.restless.has(dir) {
		return 0
	}
	known, sure := l.name(h, name)
	if !sure || known != ino {
		return 0
	}
	now := time.Now()
	ttl := min(entryTTL, l.until.Sub(now))
	if ttl <= 0 || !l.noteTold(h, name, now) {
		return 0
	}
	return ttl
}

// noteTold notes that the kernel may keep a name from now on; l.mu is held.
func (l *leases) noteTold(h *lease, name string, now time.Time) bool {
	_, had := h.names.byName[name]
	if !had && h.names.complete { // it is absent
		l.putName(h, name, 0, h.names.change)
		had = h.names != nil // there is room
	}
	if !had {
		h.blind = now.Add(lateNames)
		return false
	}
	known := h.names.byName[name]
	known.told = l.second(now)
	h.names.byName[name] = known
	h.toldName, l.toldName = now, now
	return true
}

// movedName notes that the kernel may keep a name since it was changed: with what it stands for, what
// the kernel was told moves from one name to another. Where it is not known what a recall would
// have to have forgotten, a recall waits; where none would come any more, the caller has to, until
// that time. l.mu is held.
func (l *leases) movedName(dir proto.InodeID, name string) (until time.Time) {
	now, end := time.Now(), l.toldName.Add(lateNames)
	h := l.held[dir]
	switch {
	case now.After(end):
	case h == nil || h.leaves():
		return end
	case h.names == nil:
		h.blind = end
	default:
		l.noteTold(h, name, now)
	}
	return time.Time{}
}

// movedNames is movedName for a change at the master that is about to be answered.
func (l *leases) movedNames(places ...placeOf) {
	l.mu.Lock()
	var until time.Time
	for _, p := range places {
		if end := l.movedName(p.dir, p.name); end.After(until) {
			until = end
		}
	}
	l.mu.Unlock()
	time.Sleep(time.Until(until))
}

// second counts time coarsely; it is never 0. l.mu is held.
func (l *leases) second(t time.Time) uint32 {
	if l.born.IsZero() {
		l.born = t
	}
	return uint32(t.Sub(l.born)/time.Second) + 1
}

// keepsNames tells whether the kernel may still keep names of a directory; l.mu is held.
func (h *lease) keepsNames(now time.Time) bool {
	return now.Sub(h.toldName) < lateNames || now.Before(h.blind)
}

// toldNames lists the names that the kernel may still keep; l.mu is held.
func (l *leases) toldNames(h *lease, now time.Time) (names []string) {
	if h.names == nil || now.Sub(h.toldName) >= lateNames {
		return nil
	}
	from := l.second(now) - min(l.second(now), 2)
	for name, known := range h.names.byName {
		if known.told > from {
			names = append(names, name)
		}
	}
	return names
}

// forgetNames has the kernel forget the names of a directory that is given back; l.mu is held,
// and let go meanwhile.
func (l *leases) forgetNames(h *lease) {
	if h.names != nil {
		l.restless.add(h.ino)
	}
	now := time.Now()
	if !h.keepsNames(now) {
		return
	}
	names, told, blind, caches := l.toldNames(h, now), h.toldName, h.blind, l.caches
	l.mu.Unlock()
	defer l.mu.Lock()
	dropped := make(chan struct{})
	go func() {
		defer close(dropped)
		caches.DropNames(h.ino, names)
		if left := entryDelay - time.Since(told); left > 0 {
			time.Sleep(left)
			caches.DropNames(h.ino, names)
		}
	}()
	gone := time.NewTimer(time.Until(told.Add(lateNames)))
	defer gone.Stop()
	select {
	case <-dropped:
	case <-gone.C:
	}
	time.Sleep(time.Until(blind))
}
