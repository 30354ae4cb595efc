package client

import (
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Leases are valid until a while after the last KeepAlive was sent that the master has
// answered (L8). When that has passed everything cached counts as unknown, and the kernel
// has forgotten it by itself, for it is told nothing for longer. A session that goes on
// afterwards has its leases still: while they were not returned nobody could do what they
// exclude. A session that ended, or a master that was started anew, knows nothing of
// them; but for the exclusive ones, which are claimed when the session resumes.

// maxKernelTTL is how long the kernel is told at most that something is right.
const maxKernelTTL = 10 * time.Second

// validFor tells whether what a lease covers may be used now; l.mu is held.
func (l *leases) validFor(h *lease) bool {
	if l.suspended && h.mode != pb.LeaseMode_LEASE_EXCLUSIVE {
		return false
	}
	return time.Now().Before(l.until)
}

// suspend is called before a Hello that resumes a session: the master may have been
// started anew, and lets others go on when it has heard of everybody. It gives the
// inodes to be claimed.
func (l *leases) suspend() (exclusive []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.suspended = true
	l.suspensions++
	l.returned = nil // the master asks again for what it wants
	l.claimed = map[proto.InodeID]bool{}
	for ino, h := range l.held {
		if h.mode == pb.LeaseMode_LEASE_EXCLUSIVE {
			exclusive = append(exclusive, uint64(ino))
			l.claimed[ino] = true
		} else {
			l.untell(h)
		}
	}
	l.pool.each(func(ino proto.InodeID) { exclusive = append(exclusive, uint64(ino)) })
	return exclusive
}

// untold is what the kernel is to forget: attributes of an inode, and names of a directory.
type untold struct {
	ino   proto.InodeID
	names []string
}

// untell has the kernel forget what it was told under a lease soon; l.mu is held. The kernel
// may wait for an inode that it is letting go of, and thereby for reads of it, or for a call that
// changes a directory: so this is for a goroutine that nobody waits for without a limit.
func (l *leases) untell(h *lease) {
	names := l.toldNames(h, time.Now())
	if !h.told && len(names) == 0 {
		return
	}
	h.told = false
	l.untold = append(l.untold, untold{h.ino, names})
	if len(l.untold) == 1 {
		go l.dropUntold()
	}
}

func (l *leases) dropUntold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.untold) > 0 {
		list, caches := l.untold, l.caches
		l.mu.Unlock()
		for _, u := range list {
			caches.DropAttrs(u.ino)
			if len(u.names) > 0 {
				caches.DropNames(u.ino, u.names)
			}
		}
		l.mu.Lock()
		l.untold = l.untold[len(list):]
	}
	l.untold = nil
	l.changed.Broadcast()
}

// untellWait is how long a session that resumes waits for the kernel to forget: longer than
// lateNames, so names it has forgotten by itself then.
const untellWait = time.Second

// awaitUntold waits for that, not for long.
func (l *leases) awaitUntold() {
	late := false
	timer := time.AfterFunc(untellWait, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		late = true
		l.changed.Broadcast()
	})
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.untold) > 0 && !late {
		l.changed.Wait()
	}
}

// welcomed is called when a Hello, sent at that time, was answered. resumed: the session
// is the one there was.
func (l *leases) welcomed(w *pb.Welcome, sent time.Time, resumed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.duration = time.Duration(w.LeaseMs) * time.Millisecond
	if !resumed {
		l.pool = pool{asking: l.pool.asking}
	}
	if w.Epoch != l.epoch || !resumed {
		for ino, h := range l.held {
			if resumed && h.mode == pb.LeaseMode_LEASE_EXCLUSIVE && l.claimed[ino] {
				if h.locks == locksHere { // the Hello had them
					h.locks = locksAtMaster
				}
				continue
			}
			l.untell(h)
			l.lose(h)
		}
		l.startAnew()
	}
	l.session, l.epoch, l.suspended, l.claimed = proto.SessionID(w.Session), w.Epoch, false, nil
	l.renewLocked(sent)
}

// lose ends a lease that the master does not know any more; l.mu is held. A recall of
// it that is being carried out finds it gone.
func (l *leases) lose(h *lease) {
	h.locks = locksAtMaster
	if h.recall != nil {
		h.recall.lost = true
		return
	}
	l.remove(h)
}

// expired is called when the session has ended, and all its leases with it.
func (l *leases) expired() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.held {
		l.untell(h)
		l.lose(h)
	}
	l.until = time.Time{}
	l.returned = nil
	l.pool = pool{asking: l.pool.asking}
	if l.expires != nil {
		l.expires()
	}
	l.startAnew()
	l.changed.Broadcast()
}

// startAnew voids the grants of answers that are on their way from a master, or to a
// session, that is no more; the numbers of recalls begin anew. l.mu is held.
func (l *leases) startAnew() {
	l.clock++
	l.oldest = l.clock
	l.recalls = recallLog{}
}

// renew is called when a KeepAlive, sent at that time, was answered.
func (l *leases) renew(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewLocked(sent)
}

func (l *leases) renewLocked(sent time.Time) {
	if end := sent.Add(l.duration); end.After(l.until) {
		l.until = end
	}
	l.changed.Broadcast()
}

// keepAliveEvery is how often KeepAlives are sent; timeout is the session's.
func (l *leases) keepAliveEvery(timeout time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	every := timeout / 3
	if l.enabledLocked() {
		every = min(every, l.duration/4)
	}
	return max(every, 5*time.Millisecond)
}

// ttl is how long the kernel may keep attributes that were answered: 0 if no lease
// covers them any more.
func (l *leases) ttl(attr *Attr) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := attr.lease
	if h == nil || l.held[attr.Inode] != h || !l.validFor(h) || l.suspended || h.leaves() {
		return 0
	}
	h.told, h.toldAt = true, time.Now()
	return min(max(l.until.Sub(h.toldAt), 0), maxKernelTTL)
}

// covers tells whether an inode is as this client knows it.
func (l *leases) covers(ino proto.InodeID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.usable(ino) != nil
}

// keeps tells whether pages of an inode that are read now may be kept.
func (l *leases) keeps(ino proto.InodeID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.usable(ino)
	return h != nil && !h.leaves()
}

// leaves tells whether the lease is being given back altogether; leases.mu is held.
func (h *lease) leaves() bool { return h.recall != nil && h.recall.keep == pb.LeaseMode_LEASE_NONE }
