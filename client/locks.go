package client

import (
	"context"
	"math"

	"github.com/distrifs/distrifs/internal/ranges"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Locks belong to this client's session and live at the master, or here where nobody else
// has any (lockshere.go). At the master, who gives up an exclusive lock has written out the
// file before; who gets a lock forgets what he knew of the file if it has changed: so what
// is done under locks is seen under locks.
//
// Every request is answered at once. Whoever has to wait asks again when the stream
// says that it is his turn, and after the session was resumed. An answer that a Hello
// may have passed by is asked for once more: it may be older than the master.

// LockMode is how much a lock excludes.
type LockMode uint8

// The modes, with the numbers of the wire.
const (
	LockNone      = LockMode(pb.LockMode_LOCK_NONE) // to unlock
	LockShared    = LockMode(pb.LockMode_LOCK_SHARED)
	LockExclusive = LockMode(pb.LockMode_LOCK_EXCLUSIVE)
)

// LockEnd is the last byte of a lock that goes on for ever.
const LockEnd = math.MaxInt64

// Lock is a lock on the bytes Start to End of a file, both included.
type Lock struct {
	Owner      uint64 // a process for fcntl(2), an open file for flock(2)
	Flock      bool   // it is of flock(2), which does not see those of fcntl(2), and is on the whole file
	Mode       LockMode
	Start, End uint64
	Process    uint32 // pid; 0: of another host
}

func (l Lock) by() lockOwner { return lockOwner{l.Owner, l.Flock} }

func (l Lock) span() ranges.Range {
	if l.Flock {
		return ranges.All
	}
	return ranges.Range{Start: l.Start, End: l.End}
}

func (l Lock) wire(ino proto.InodeID) *pb.Lock {
	return &pb.Lock{
		Inode: uint64(ino), Flock: l.Flock, Owner: l.Owner, Mode: pb.LockMode(l.Mode),
		Start: l.span().Start, End: l.span().End, Process: l.Process,
	}
}

// Seen is what a lock tells of its file.
type Seen uint8

// What is seen under a lock.
const (
	SeenChanged Seen = iota // another client may have changed it
	SeenSame                // it is as this client saw it last
	SeenLeased              // nobody else has been there: what the kernel cached is right
)

// SetLock sets a lock of its owner, or takes it off. With wait it blocks until the
// lock is there or ctx ends; a lock whose turn came as ctx ended is given.
//
// Errors: Conflict, only without wait; Deadlock, only with it; NoLocks; Interrupted.
func (f *File) SetLock(ctx context.Context, l Lock, wait bool) (seen Seen, err error) {
	if l.Start > l.End || l.End > LockEnd || l.Mode > LockExclusive {
		return SeenChanged, proto.E(proto.Invalid, "lock", inodeName(f.ino.id), "no such range or mode")
	}
	if done, err := f.ino.c.lockHere(f.ino.id, l, wait); done {
		return SeenLeased, err
	}
	if f.ino.c.locks.gives(f.ino.id, l) {
		// Not even a process that is killed passes a lock on before its data.
		if err := f.ino.flush(context.WithoutCancel(ctx), false); err != nil {
			return SeenChanged, err
		}
	}
	if l.Mode == LockNone {
		return SeenSame, f.ino.unlock(ctx, l)
	}
	var reply *pb.SetLockReply
	if wait {
		reply, err = f.ino.waitForLock(ctx, l)
	} else {
		reply, err = f.ino.askLock(ctx, l, false, 0)
	}
	switch {
	case err != nil:
		return SeenChanged, err
	case reply.Alone:
		return SeenLeased, nil
	}
	return f.ino.locked(reply.Attr), nil
}

// TestLock finds a lock that stands in the way of l; ok is false if none does. With LockNone it finds
// what the owner has locked itself.
func (f *File) TestLock(ctx context.Context, l Lock) (other Lock, ok bool, err error) {
	if other, ok, done := f.ino.c.testLockHere(f.ino.id, l); done {
		return other, ok, nil
	}
	if err := f.ino.c.handLocks(ctx, f.ino.id); err != nil {
		return Lock{}, false, err
	}
	reply, err := ask(ctx, f.ino.c, Cred{}, "test lock", inodeName(f.ino.id), func(ctx context.Context, who *pb.Caller) (*pb.TestLockReply, error) {
		return f.ino.c.master.TestLock(ctx, &pb.TestLockRequest{Caller: who, Lock: l.wire(f.ino.id)})
	})
	if err != nil || !reply.Conflict {
		return Lock{}, false, err
	}
	found := reply.Lock
	other = Lock{Owner: found.GetOwner(), Flock: found.GetFlock(), Mode: LockMode(found.GetMode()), Start: found.GetStart(), End: found.GetEnd(), Process: found.GetProcess()}
	if reply.Foreign {
		other.Owner, other.Process = 0, 0
	}
	return other, true, nil
}

// Unlock takes off all that an owner has locked on the file. It costs nothing if that
// is nothing.
func (f *File) Unlock(ctx context.Context, owner uint64, flock bool) error {
	l := Lock{Owner: owner, Flock: flock, End: LockEnd}
	if !f.ino.c.locks.has(f.ino.id, l.by()) {
		return nil
	}
	_, err := f.SetLock(ctx, l, false)
	return err
}

// unlock does not give up: a master that cannot be told now is told later.
func (i *inode) unlock(ctx context.Context, l Lock) error {
	_, err := i.askLock(context.WithoutCancel(ctx), l, false, 0)
	if transient(proto.KindOf(err)) {
		i.later(func(ctx context.Context) error {
			_, err := i.askLock(ctx, l, false, 0)
			return err
		})
	}
	return err
}

// later calls fn in the background until its error is none that may pass.
func (i *inode) later(fn func(context.Context) error) {
	c := i.c
	c.acquire(i.id)
	c.workers.Go(func() {
		defer c.giveBack(i)
		for c.background.Err() == nil && transient(proto.KindOf(fn(c.background))) {
		}
	})
}

// waitForLock asks, and asks again when it may be there.
func (i *inode) waitForLock(ctx context.Context, l Lock) (*pb.SetLockReply, error) {
	ticket, turn := i.c.locks.wait()
	defer i.c.locks.leave(ticket)
	for {
		reply, err := i.askLock(ctx, l, true, ticket)
		switch {
		case err == nil && !reply.Queued:
			return reply, nil
		case err != nil && !transient(proto.KindOf(err)):
			return nil, err
		case err != nil:
			return i.endWait(ctx, l, ticket, err)
		}
		select {
		case <-turn:
		case <-ctx.Done():
			return i.endWait(ctx, l, ticket, interrupted(ctx, "wait for a lock on "+inodeName(i.id)))
		}
	}
}

// endWait takes a request out of the master's queue, for a reason. If its turn came
// meanwhile, the lock is given instead. A master that does not answer soon is told
// later; a lock that it gave until then stays with its owner until he unlocks or closes.
func (i *inode) endWait(ctx context.Context, l Lock, ticket uint64, reason error) (*pb.SetLockReply, error) {
	soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), interruptGrace)
	defer cancel()
	reply, err := i.askLock(soon, l, false, ticket)
	if err == nil {
		return reply, nil
	}
	if transient(proto.KindOf(err)) {
		i.later(func(ctx context.Context) error {
			_, err := i.askLock(ctx, l, false, ticket)
			return err
		})
	}
	return nil, reason
}

// askLock makes one request and takes in its answer. Requests on one file follow one
// another, so that this client's memory of its locks is the master's. Where that left the
// file's locks to this client the answer says alone, and the request was met, or refused, here.
func (i *inode) askLock(ctx context.Context, l Lock, wait bool, ticket uint64) (*pb.SetLockReply, error) {
	if err := i.locking.acquire(ctx, "lock"); err != nil {
		return nil, err
	}
	defer i.locking.release()
	c := i.c
	if done, err := c.lockHere(i.id, l, wait); done { // by now
		return &pb.SetLockReply{Alone: true}, err
	}
	var offer lockOffer
	if l.Mode != LockNone {
		offer = c.offerLocks(i.id)
	}
	for {
		if err := c.handLocks(ctx, i.id); err != nil {
			return nil, err
		}
		hello := c.sessions.ticket()
		reply, on, err := change(ctx, c, Cred{}, "lock", inodeName(i.id), func(ctx context.Context, who *pb.Caller) (*pb.SetLockReply, error) {
			return c.master.SetLock(ctx, &pb.SetLockRequest{Caller: who, Lock: l.wire(i.id), Wait: wait, Ticket: ticket, Keep: offer.lease != nil})
		})
		if reply.GetAlone() {
			if done, err := c.keepLocks(offer, i.id, l, wait); done {
				return reply, err
			}
			offer = lockOffer{}
			continue
		}
		c.locks.answered(i.id, l, reply.GetQueued(), err)
		if err != nil || !on.expired() && hello == c.sessions.ticket() {
			return reply, err
		}
	}
}

// locked takes in the attributes that came with a lock, and tells whether the file is
// as this client saw it last.
func (i *inode) locked(a *pb.Attr) Seen {
	attr := attrOf(a)
	same := i.c.locations.saw(i.id, attr.Change, i.c.locations.asking())
	i.mu.Lock()
	defer i.mu.Unlock()
	i.absorb(attr, same)
	if !same {
		i.content++
		i.durable = false
		return SeenChanged
	}
	return SeenSame
}
