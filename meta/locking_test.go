package meta

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// exclusive is a lock on all of the root: locks do not ask what they are on.
func exclusive(owner uint64) *pb.Lock {
	return &pb.Lock{Inode: 1, Owner: owner, Mode: pb.LockMode_LOCK_EXCLUSIVE, End: math.MaxInt64, Process: uint32(owner)}
}

// lock asks for a lock; with a ticket it waits.
func (one *client) lock(l *pb.Lock, ticket uint64) (*pb.SetLockReply, error) {
	return one.api().SetLock(one.c.t.Context(), &pb.SetLockRequest{Caller: one.changes(), Lock: l, Wait: ticket != 0, Ticket: ticket})
}

// wantLock asks for a lock that has to be given, or queued.
func (one *client) wantLock(l *pb.Lock, ticket uint64, queued bool) {
	one.c.t.Helper()
	if reply := must[*pb.SetLockReply](one.c.t)(one.lock(l, ticket)); reply.Queued != queued {
		one.c.t.Errorf("queued: %v, want %v", reply.Queued, queued)
	}
}

// wantTurn checks what the stream has said: a turn, or 0 for nothing.
func (one *client) wantTurn(ticket uint64) {
	one.c.t.Helper()
	synctest.Wait()
	select {
	case event := <-one.events:
		if got := event.GetLockTurn().GetTicket(); got != ticket {
			one.c.t.Errorf("turn of ticket %d, want %d", got, ticket)
		}
	default:
		if ticket != 0 {
			one.c.t.Errorf("no turn, want that of ticket %d", ticket)
		}
	}
}

func TestTurnsComeWithTheStream(t *testing.T) {
	inCluster(t, 0, Config{}, func(c *cluster) {
		a, b := c.connect(&pb.Hello{}), c.connect(&pb.Hello{})
		defer a.vanish()
		defer b.vanish()
		a.wantLock(exclusive(1), 0, false)
		_, err := b.lock(exclusive(1), 0)
		wantKind(t, err, proto.Conflict)
		b.wantLock(exclusive(1), 7, true)
		test := must[*pb.TestLockReply](c.t)(b.api().TestLock(c.t.Context(), &pb.TestLockRequest{Caller: b.asks(), Lock: exclusive(2)}))
		if !test.Conflict || !test.Foreign || test.Lock.Mode != pb.LockMode_LOCK_EXCLUSIVE {
			t.Errorf("in the way: %v", test)
		}
		b.wantTurn(0)
		unlock := exclusive(1)
		unlock.Mode = pb.LockMode_LOCK_NONE
		a.wantLock(unlock, 0, false)
		b.wantTurn(7)
		b.wantLock(exclusive(1), 7, false)
		_, err = a.lock(exclusive(1), 0)
		wantKind(t, err, proto.Conflict)
	})
}

func TestMalformedLocks(t *testing.T) {
	inCluster(t, 0, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		for _, l := range []*pb.Lock{
			nil,
			{Inode: 1, Mode: pb.LockMode_LOCK_SHARED, Start: 2, End: 1},
			{Inode: 1, Mode: pb.LockMode_LOCK_SHARED, End: math.MaxInt64 + 1},
			{Inode: 1, Mode: 3},
			{Inode: 1, Mode: -1},
		} {
			_, err := one.lock(l, 0)
			wantKind(t, err, proto.Invalid)
		}
		_, err := one.api().SetLock(c.t.Context(), &pb.SetLockRequest{Caller: one.changes(), Lock: exclusive(1), Wait: true})
		wantKind(t, err, proto.Invalid) // a wait without a ticket
		gone := exclusive(1)
		gone.Inode = 77
		_, err = one.lock(gone, 0)
		wantKind(t, err, proto.Stale)
	})
}

// A session that dies gives its locks to those who wait.
func TestLocksEndWithTheSession(t *testing.T) {
	inCluster(t, 0, Config{}, func(c *cluster) {
		a, b := c.connect(&pb.Hello{}), c.connect(&pb.Hello{})
		defer b.vanish()
		a.wantLock(exclusive(1), 0, false)
		b.wantLock(exclusive(1), 1, true)
		a.vanish()
		time.Sleep(29 * time.Second)
		b.wantTurn(0)
		time.Sleep(3 * time.Second)
		b.wantTurn(1)
	})
}

// A break of the stream changes nothing: the master knows what is held, whatever the
// client says, and a turn that the stream missed is found by asking again.
func TestLocksSurviveABrokenStream(t *testing.T) {
	inCluster(t, 0, Config{}, func(c *cluster) {
		a, b := c.connect(&pb.Hello{}), c.connect(&pb.Hello{})
		a.wantLock(exclusive(1), 0, false)
		b.wantLock(exclusive(1), 1, true)
		a.vanish()
		b.vanish()
		a2 := c.connect(&pb.Hello{Resume: a.welcome.Session}) // claims nothing
		defer a2.vanish()
		a2.sequence = a.sequence
		other := c.connect(&pb.Hello{})
		defer other.vanish()
		_, err := other.lock(exclusive(1), 0)
		wantKind(t, err, proto.Conflict)
		unlock := exclusive(1)
		unlock.Mode = pb.LockMode_LOCK_NONE
		a2.wantLock(unlock, 0, false)
		b2 := c.connect(&pb.Hello{Resume: b.welcome.Session})
		defer b2.vanish()
		b2.sequence = b.sequence
		b2.wantTurn(0)
		b2.wantLock(exclusive(1), 1, false)
	})
}

// After a restart of the master what was held is held, and nothing that could be
// another's is given until all have come back or have expired.
func TestLocksAreClaimedAfterRestart(t *testing.T) {
	inCluster(t, 0, Config{}, func(c *cluster) {
		a, b, lost := c.connect(&pb.Hello{}), c.connect(&pb.Hello{}), c.connect(&pb.Hello{})
		held, other := exclusive(1), exclusive(1)
		other.Flock = true
		a.wantLock(held, 0, false)
		for _, one := range []*client{a, b, lost} {
			one.vanish()
		}
		c.crash(1)
		b2 := c.connect(&pb.Hello{Resume: b.welcome.Session})
		defer b2.vanish()
		b2.sequence = b.sequence
		_, err := b2.lock(held, 0)
		wantKind(t, err, proto.Unavailable)
		_, err = b2.api().TestLock(c.t.Context(), &pb.TestLockRequest{Caller: b2.asks(), Lock: held})
		wantKind(t, err, proto.Unavailable)
		b2.wantLock(held, 1, true)
		b2.wantLock(other, 2, true)
		a2 := c.connect(&pb.Hello{Resume: a.welcome.Session, Locks: []*pb.Lock{held}})
		defer a2.vanish()
		a2.sequence = a.sequence
		a2.wantLock(held, 0, false) // what it has it may ask for
		b2.wantTurn(0)              // one session is still missing
		time.Sleep(32 * time.Second)
		b2.wantTurn(2)
		b2.wantTurn(0)
		_, err = b2.lock(held, 0)
		wantKind(t, err, proto.Conflict)
		unlock := exclusive(1)
		unlock.Mode = pb.LockMode_LOCK_NONE
		a2.wantLock(unlock, 0, false)
		b2.wantLock(held, 0, false)
	})
}

// What a client claims after a restart of the master may be on its way when it unlocks:
// the lock does not come back behind that.
func TestAClaimDoesNotOvertakeAnUnlock(t *testing.T) { // G7
	inCluster(t, 0, Config{}, func(c *cluster) {
		a, b := c.connect(&pb.Hello{}), c.connect(&pb.Hello{})
		held, unlock := exclusive(1), exclusive(1)
		unlock.Mode = pb.LockMode_LOCK_NONE
		a.wantLock(held, 0, false)
		a.vanish()
		b.vanish()
		c.crash(1)
		b2 := c.connect(&pb.Hello{Resume: b.welcome.Session})
		defer b2.vanish()
		b2.sequence = b.sequence
		_, err := a.lock(unlock, 0)
		wantKind(t, err, proto.Unavailable)
		a2 := c.connect(&pb.Hello{Resume: a.welcome.Session, Locks: []*pb.Lock{held}})
		defer a2.vanish()
		a2.sequence = a.sequence
		a2.wantLock(unlock, 0, false)
		b2.wantLock(held, 0, false)
	})
}

// keepLock asks for a lock and offers to keep it.
func (one *client) keepLock(l *pb.Lock) (*pb.SetLockReply, error) {
	return one.api().SetLock(one.c.t.Context(), &pb.SetLockRequest{Caller: one.changes(), Lock: l, Keep: true})
}

// The locks of a file that nobody has locks on are left to who has it exclusive, and offers that. Whoever
// else asks for them waits until they are handed over, or the session has ended.
func TestLocksAreLeftToTheHolder(t *testing.T) {
	inCluster(t, 3, withLeases, func(c *cluster) {
		a, b := c.holder(), c.holder()
		defer b.vanish()
		held := exclusive(1)
		if reply := must[*pb.SetLockReply](c.t)(a.keepLock(held)); reply.Alone {
			t.Fatal("locks of a file that is nobody's were left to a client")
		}
		held.Inode = a.file("f").Attr.Inode
		if reply := must[*pb.SetLockReply](c.t)(a.keepLock(held)); !reply.Alone || reply.Attr != nil {
			t.Fatalf("answered %v", reply)
		}
		if c.master.locks.table.Knows(proto.InodeID(held.Inode)) {
			t.Fatal("the master has what it left to the client")
		}

		// It is handed over before the lease is lowered, and not forgotten then.
		wanted := exclusive(2)
		wanted.Inode = held.Inode
		var err error
		done := later(func() { _, err = b.lock(wanted, 0) })
		r := a.recall()
		if r.Keep != keepShared {
			t.Fatalf("recalled %v", r)
		}
		stillWaits(t, done)
		must[*pb.HandLocksReply](c.t)(a.api().HandLocks(c.t.Context(), &pb.HandLocksRequest{Caller: a.asks(), Locks: []*pb.Lock{held}}))
		stillWaits(t, done)
		a.answers(r)
		<-done
		wantKind(t, err, proto.Conflict)

		// What the master has, it keeps, and nobody is asked for a lease.
		done = later(func() { must[*pb.AcquireReply](c.t)(a.acquire(held.Inode, pb.LeaseMode_LEASE_EXCLUSIVE)) })
		b.answers(b.recall())
		<-done
		if reply := must[*pb.SetLockReply](c.t)(a.keepLock(held)); reply.Alone {
			t.Fatal("locks that the master knows were left to a client")
		}
		_, err = b.lock(wanted, 0)
		wantKind(t, err, proto.Conflict)
		a.unasked()
		unlock := exclusive(1)
		unlock.Inode, unlock.Mode = held.Inode, pb.LockMode_LOCK_NONE
		a.wantLock(unlock, 0, false)
		if reply := must[*pb.SetLockReply](c.t)(a.keepLock(held)); !reply.Alone {
			t.Fatal("nobody has locks, and they are not left to the holder")
		}

		// Who tests for locks waits likewise; a session that ends takes what it kept along.
		var test *pb.TestLockReply
		done = later(func() {
			test = must[*pb.TestLockReply](c.t)(b.api().TestLock(c.t.Context(), &pb.TestLockRequest{Caller: b.asks(), Lock: wanted}))
		})
		a.recall()
		stillWaits(t, done)
		a.vanish()
		<-done
		if test.Conflict {
			t.Errorf("in the way: %v", test)
		}
		b.wantLock(wanted, 0, false)
	})
}

// While what was held before a start of the master is not known, no locks are left to anybody.
func TestLocksAreNotLeftToTheHolderBeforeAllAreKnown(t *testing.T) {
	inCluster(t, 3, withLeases, func(c *cluster) {
		a, b := c.holder(), c.holder()
		f := a.file("f").Attr.Inode
		a.vanish()
		b.vanish()
		c.crash(1)
		a2 := c.connect(&pb.Hello{Resume: a.welcome.Session, Leases: true, Exclusive: []uint64{f}})
		defer a2.vanish()
		a2.sequence = a.sequence
		l := exclusive(1)
		l.Inode = f
		_, err := a2.keepLock(l)
		wantKind(t, err, proto.Unavailable)
		b2 := c.connect(&pb.Hello{Resume: b.welcome.Session, Leases: true})
		defer b2.vanish()
		if reply := must[*pb.SetLockReply](c.t)(a2.keepLock(l)); !reply.Alone {
			t.Errorf("answered %v", reply)
		}
	})
}
