package client

import (
	"context"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Locks here. A client that has a file exclusive offers, with its first request for a lock
// on it, to keep the file's locks itself. The master agrees if it has none of anybody, and
// from then on knows nothing of them: whoever else asks for them has the lease recalled
// first. Until then nobody outside can see what the locks protect, so a lock that is given up
// leaves the file unwritten, and one that is given leaves what is cached as it is.
//
// The locks are handed over, all at once, before the lease goes, or is lowered, and before
// the master is asked for anything about them: when somebody has to wait, for the master has
// the queues; and when the lease is in doubt. Handing over waits for nothing but the
// master's answer, for which that waits for nobody. After a restart of the master a Hello
// has handed them over: nothing changes here between it and its Welcome.

// maxKept is how many ranges this client may hold, to keep locks of files itself. The master
// takes so many beyond the limits of a session.
const maxKept = 1 << 10

// lockPlace tells who answers for the locks of a file.
type lockPlace uint8

const (
	locksAtMaster lockPlace = iota
	locksHere
	locksLeaving // nothing changes here any more, and whether the master has them is not known
)

// keepsLocks finds the lease under which a client may answer for a file's locks now; l.mu is held.
func (l *leases) keepsLocks(ino proto.InodeID) *lease {
	h := l.usable(ino)
	if h == nil || !h.writes() || h.recall != nil || l.suspended {
		return nil
	}
	return h
}

// lockHere does what a request asks for, if the file's locks are here; done is false if the
// master has to be asked.
func (c *Client) lockHere(ino proto.InodeID, l Lock, wait bool) (done bool, err error) {
	c.leases.mu.Lock()
	defer c.leases.mu.Unlock()
	if h := c.leases.keepsLocks(ino); h == nil || h.locks != locksHere {
		return false, nil
	}
	return c.locks.decide(ino, l, wait)
}

// testLockHere is lockHere for TestLock.
func (c *Client) testLockHere(ino proto.InodeID, l Lock) (other Lock, ok, done bool) {
	c.leases.mu.Lock()
	defer c.leases.mu.Unlock()
	if h := c.leases.keepsLocks(ino); h == nil || h.locks != locksHere {
		return Lock{}, false, false
	}
	other, ok = c.locks.test(ino, l)
	return other, ok, true
}

// lockOffer is an offer to keep the locks of a file, under a lease as it is now; zero: none.
type lockOffer struct {
	lease       *lease
	spell       uint64
	suspensions uint64
}

func (c *Client) offerLocks(ino proto.InodeID) lockOffer {
	l := c.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.keepsLocks(ino)
	if h == nil || !c.locks.mayKeep(ino) {
		return lockOffer{}
	}
	return lockOffer{h, h.spell, l.suspensions}
}

// keepLocks is called when the master has agreed to an offer that a request carried, and does what
// that asks for. Where the lease is not what it was then, done is false.
func (c *Client) keepLocks(offer lockOffer, ino proto.InodeID, l Lock, wait bool) (done bool, err error) {
	c.leases.mu.Lock()
	defer c.leases.mu.Unlock()
	h := c.leases.keepsLocks(ino)
	if h == nil || (lockOffer{h, h.spell, c.leases.suspensions}) != offer {
		return false, nil
	}
	h.locks = locksHere
	return c.locks.decide(ino, l, wait)
}

// handLocks has the master take the locks of a file over that are here.
func (c *Client) handLocks(ctx context.Context, ino proto.InodeID) error {
	c.leases.mu.Lock()
	defer c.leases.mu.Unlock()
	if h := c.leases.held[ino]; h != nil {
		return c.handLocksOf(ctx, h)
	}
	return nil
}

// handLocksOf needs leases.mu, and lets it go meanwhile. What the master refuses for good is lost, as
// what it refuses of a Hello is.
func (c *Client) handLocksOf(ctx context.Context, h *lease) error {
	l := c.leases
	if h.locks == locksAtMaster {
		return nil
	}
	defer context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changed.Broadcast()
	})()
	for h.locks != locksAtMaster {
		list := c.locks.on(h.ino)
		switch {
		case ctx.Err() != nil:
			return interrupted(ctx, "hand over locks")
		case h.handing:
			l.changed.Wait()
		case len(list) == 0:
			h.locks = locksAtMaster
		default:
			h.locks, h.handing = locksLeaving, true
			session := l.session
			l.mu.Unlock()
			err := c.sendLocks(ctx, session, h.ino, list)
			l.mu.Lock()
			h.handing = false
			l.changed.Broadcast()
			if err != nil && transient(proto.KindOf(err)) {
				return err
			}
			h.locks = locksAtMaster
		}
	}
	return nil
}

func (c *Client) sendLocks(ctx context.Context, session proto.SessionID, ino proto.InodeID, list []*pb.Lock) error {
	_, err := ask(ctx, c, Cred{}, "hand over locks on", inodeName(ino), func(ctx context.Context, who *pb.Caller) (*pb.HandLocksReply, error) {
		if who.Session != uint64(session) {
			return &pb.HandLocksReply{}, nil // they have gone with their session
		}
		return c.master.HandLocks(ctx, &pb.HandLocksRequest{Caller: who, Locks: list})
	})
	if err != nil && !transient(proto.KindOf(err)) {
		c.opts.Logger.Error("the master does not take locks over", "inode", uint64(ino), "locks", len(list), "error", err)
	}
	return err
}

// hasLocks tells whether locks of a lease's file are to be handed over.
func (l *leases) hasLocks(h *lease) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return h.locks != locksAtMaster
}

// leaveLocks hands the locks of a file over whose lease is being given back; leases.mu is
// held, and let go meanwhile.
func (c *Client) leaveLocks(h *lease) {
	for !h.recall.lost && c.handLocksOf(c.background, h) != nil && c.background.Err() == nil {
	}
}

// decide answers a request as the master would that has no other locks on the file than
// these; done is false where it has to be asked.
func (h *heldLocks) decide(ino proto.InodeID, l Lock, wait bool) (done bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held >= maxKept {
		return false, nil
	}
	if _, conflict := h.find(ino, l); conflict && l.Mode != LockNone {
		if wait {
			return false, nil
		}
		err = proto.E(proto.Conflict, "lock", inodeName(ino), "")
	}
	h.take(ino, l, false, err)
	return true, err
}

// test finds a lock that stands in the way of another, or what its owner holds.
func (h *heldLocks) test(ino proto.InodeID, l Lock) (other Lock, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.find(ino, l)
}

// find gives the lock that conflicts with l and starts first; without a mode, of those that
// l's owner holds. mu is held.
func (h *heldLocks) find(ino proto.InodeID, l Lock) (other Lock, ok bool) {
	for by, o := range h.files[ino] {
		if by.flock != l.Flock || (by == l.by()) != (l.Mode == LockNone) {
			continue
		}
		for _, e := range o.ranges.Over(l.span()) {
			if l.Mode == LockShared && e.Value == LockShared {
				continue
			}
			if !ok || e.Start < other.Start {
				other, ok = Lock{Owner: by.owner, Flock: by.flock, Mode: e.Value, Start: e.Start, End: e.End, Process: o.process}, true
			}
			break
		}
	}
	return other, ok
}

// mayKeep tells whether this client knows all that the master may have of its locks on a file.
func (h *heldLocks) mayKeep(ino proto.InodeID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.files[ino] {
		if o.unsure {
			return false
		}
	}
	return h.held < maxKept
}
