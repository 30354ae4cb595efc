package clienttest

import (
	"context"

	"github.com/distrifs/distrifs/internal/ranges"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Locks of the master. There are no queues: when something was unlocked all who wait on the
// file are told that it is their turn, and ask again. Everything is guarded by Cluster.mu.

// fileLocks is what is held and wanted of a file.
type fileLocks struct {
	held    map[lockOwner]*ownedLocks
	waiting map[waiter]bool
}

type waiter struct {
	session *session
	ticket  uint64
}

type lockOwner struct {
	session *session
	owner   uint64
	flock   bool
}

type ownedLocks struct {
	ranges  ranges.Map[pb.LockMode]
	process uint32
}

// Locks tells how many ranges of a file the master knows to be locked.
func (c *Cluster) Locks(ino proto.InodeID) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.locks[uint64(ino)]; f != nil {
		for _, o := range f.held {
			n += o.ranges.Len()
		}
	}
	return n
}

// locksAway tells whether a file's locks may be with who has it exclusive.
func (c *Cluster) locksAway(ino uint64) bool { return c.locks[ino] == nil }

// Resumed tells whether all sessions of before a restart have come back.
func (c *Cluster) Resumed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.unclaimed()
}

// unclaimed tells whether there are sessions whose locks of before a restart are not known.
func (c *Cluster) unclaimed() bool {
	for _, s := range c.sessions {
		if s.silent {
			return true
		}
	}
	return false
}

func (c *Cluster) locksOf(ino uint64) *fileLocks {
	f := c.locks[ino]
	if f == nil {
		f = &fileLocks{map[lockOwner]*ownedLocks{}, map[waiter]bool{}}
		c.locks[ino] = f
	}
	return f
}

// tidyLocks tells who waits that there was a change, and forgets a file nobody wants anything of.
func (c *Cluster) tidyLocks(ino uint64) {
	f := c.locks[ino]
	for owner, o := range f.held {
		if o.ranges.Len() == 0 {
			delete(f.held, owner)
		}
	}
	for w := range f.waiting {
		w.session.events <- &pb.SessionEvent{Event: &pb.SessionEvent_LockTurn{LockTurn: &pb.LockTurn{Ticket: w.ticket}}}
	}
	if len(f.held)+len(f.waiting) == 0 {
		delete(c.locks, ino)
	}
}

// inTheWayOf finds a lock that conflicts with another; with no mode, one of its owner.
func (f *fileLocks) inTheWayOf(s *session, l *pb.Lock) (found *pb.Lock, foreign bool) {
	for by, o := range f.held {
		own := by == lockOwner{s, l.Owner, l.Flock}
		if by.flock != l.Flock || own != (l.Mode == pb.LockMode_LOCK_NONE) {
			continue
		}
		for _, e := range o.ranges.Over(ranges.Range{Start: l.Start, End: l.End}) {
			if e.Value == pb.LockMode_LOCK_EXCLUSIVE || l.Mode != pb.LockMode_LOCK_SHARED {
				return &pb.Lock{Inode: l.Inode, Flock: by.flock, Owner: by.owner, Mode: e.Value, Start: e.Start, End: e.End, Process: o.process}, by.session != s
			}
		}
	}
	return nil, false
}

func (f *fileLocks) put(s *session, l *pb.Lock) {
	by := lockOwner{s, l.Owner, l.Flock}
	if f.held[by] == nil {
		f.held[by] = &ownedLocks{}
	}
	o, r := f.held[by], ranges.Range{Start: l.Start, End: l.End}
	if o.process = l.Process; l.Mode == pb.LockMode_LOCK_NONE {
		o.ranges = o.ranges.Without(r)
	} else {
		o.ranges = o.ranges.With(r, l.Mode)
	}
}

// SetLock implements pb.MasterServer.
func (c *Cluster) SetLock(ctx context.Context, r *pb.SetLockRequest) (*pb.SetLockReply, error) {
	i, err := c.inode(r.Lock.Inode)
	if err != nil {
		return nil, err
	}
	s, l := sessionOf(ctx), r.Lock
	if c.unclaimed() {
		return nil, proto.Unavailable
	}
	if h := c.leases[l.Inode][s]; r.Keep && c.locksAway(l.Inode) && h != nil && h.mode == pb.LeaseMode_LEASE_EXCLUSIVE {
		return &pb.SetLockReply{Alone: true}, nil
	}
	f := c.locksOf(l.Inode)
	delete(f.waiting, waiter{s, r.Ticket})
	other, _ := f.inTheWayOf(s, l)
	conflict := other != nil && l.Mode != pb.LockMode_LOCK_NONE
	if !conflict {
		f.put(s, l)
	} else if l.Flock { // what was to be traded is gone
		f.put(s, &pb.Lock{Flock: true, Owner: l.Owner, Start: l.Start, End: l.End})
	}
	c.tidyLocks(l.Inode)
	switch {
	case !conflict:
		return &pb.SetLockReply{Attr: i.copyAttr()}, nil
	case !r.Wait:
		return nil, proto.Conflict
	}
	f.waiting[waiter{s, r.Ticket}] = true
	return &pb.SetLockReply{Queued: true}, nil
}

// TestLock implements pb.MasterServer.
func (c *Cluster) TestLock(ctx context.Context, r *pb.TestLockRequest) (*pb.TestLockReply, error) {
	if c.unclaimed() {
		return nil, proto.Unavailable
	}
	if c.locksAway(r.Lock.Inode) {
		return &pb.TestLockReply{}, nil
	}
	other, foreign := c.locks[r.Lock.Inode].inTheWayOf(sessionOf(ctx), r.Lock)
	return &pb.TestLockReply{Conflict: other != nil, Lock: other, Foreign: foreign}, nil
}

// HandLocks implements pb.MasterServer.
func (c *Cluster) HandLocks(ctx context.Context, r *pb.HandLocksRequest) (*pb.HandLocksReply, error) {
	if c.unclaimed() {
		return nil, proto.Unavailable
	}
	return &pb.HandLocksReply{}, c.claimLocks(sessionOf(ctx), r.Locks)
}

func (c *Cluster) claimLocks(s *session, list []*pb.Lock) error {
	for _, l := range list {
		f := c.locksOf(l.Inode)
		if other, _ := f.inTheWayOf(s, l); other != nil {
			return proto.Conflict
		}
		f.put(s, l)
	}
	return nil
}

// forgetLocks drops what a session has locked.
func (c *Cluster) forgetLocks(s *session) {
	for ino, f := range c.locks {
		for by := range f.held {
			if by.session == s {
				delete(f.held, by)
			}
		}
		for w := range f.waiting {
			if w.session == s {
				delete(f.waiting, w)
			}
		}
		c.tidyLocks(ino)
	}
}
