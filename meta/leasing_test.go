package meta

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

const (
	keepNone   = pb.LeaseMode_LEASE_NONE
	keepShared = pb.LeaseMode_LEASE_SHARED
)

var withLeases = Config{LeaseTime: 10 * time.Second}

// holder is a client that understands leases.
func (c *cluster) holder() *client { return c.connect(&pb.Hello{Leases: true}) }

// recall waits for the next recall; nil: the stream has ended.
func (one *client) recall() *pb.Recall {
	for event := range one.events {
		if r := event.GetRecall(); r != nil {
			return r
		}
	}
	return nil
}

// unasked fails the test if a recall has come.
func (one *client) unasked() {
	one.c.t.Helper()
	synctest.Wait()
	for {
		select {
		case event := <-one.events:
			if r := event.GetRecall(); r != nil {
				one.c.t.Fatalf("recalled: %v", r)
			}
		default:
			return
		}
	}
}

// answers gives back what was recalled.
func (one *client) answers(r *pb.Recall) {
	one.c.t.Helper()
	one.returns(r.Number, r.Keep, r.Inodes...)
}

func (one *client) returns(number uint64, keep pb.LeaseMode, inodes ...uint64) {
	one.c.t.Helper()
	returned := &pb.Returned{Number: number, Keep: keep, Inodes: inodes}
	if err := one.send(&pb.SessionRequest{Request: &pb.SessionRequest_Returned{Returned: returned}}); err != nil {
		one.c.t.Error(err)
	}
}

func (one *client) mkdir(parent uint64, name string) *pb.AttrReply {
	one.c.t.Helper()
	return must[*pb.AttrReply](one.c.t)(one.api().Mkdir(one.c.t.Context(), &pb.MkdirRequest{Caller: one.changes(), Parent: parent, Name: []byte(name), Mode: 0o777}))
}

func (one *client) lookup(parent uint64, name string) *pb.AttrReply {
	one.c.t.Helper()
	return must[*pb.AttrReply](one.c.t)(one.api().Lookup(one.c.t.Context(), &pb.LookupRequest{Caller: one.asks(), Parent: parent, Name: []byte(name), Absent: true}))
}

func (one *client) acquire(ino uint64, mode pb.LeaseMode) (*pb.AcquireReply, error) {
	return one.api().Acquire(one.c.t.Context(), &pb.AcquireRequest{Caller: one.asks(), Inode: ino, Mode: mode})
}

func (one *client) commit(ino, size uint64) (*pb.AttrReply, error) {
	return one.api().Commit(one.c.t.Context(), &pb.CommitRequest{Caller: one.changes(), Inode: ino, Size: size})
}

// later runs fn, and gives a channel that is closed when it is done.
func later(fn func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	return done
}

// stillWaits fails the test if a call is done already.
func stillWaits(t *testing.T, done <-chan struct{}) {
	t.Helper()
	synctest.Wait()
	select {
	case <-done:
		t.Fatal("it did not wait")
	default:
	}
}

// A change waits until those who rely on what it changes have been asked, and said so.
func TestRecallBeforeConflictingChange(t *testing.T) {
	inCluster(t, 0, withLeases, func(c *cluster) {
		a, b := c.holder(), c.holder()
		defer a.vanish()
		defer b.vanish()
		if a.welcome.LeaseMs != 10000 {
			t.Errorf("lease time %d ms", a.welcome.LeaseMs)
		}
		reply := a.lookup(1, "x")
		if reply.Attr != nil || len(reply.Grants.GetShared()) != 1 || reply.Grants.Shared[0] != 1 || reply.ParentChange == 0 {
			t.Fatalf("looked up %v", reply)
		}
		done := later(func() { b.mkdir(1, "x") })
		r := a.recall()
		if r.Number != 1 || len(r.Inodes) != 1 || r.Inodes[0] != 1 || r.Keep != keepNone {
			t.Fatalf("recalled %v", r)
		}
		stillWaits(t, done)
		if reply := a.lookup(1, "x"); reply.Attr != nil || reply.Grants != nil {
			t.Errorf("looked up under a claim: %v", reply)
		}
		a.answers(r)
		<-done
		if after := a.lookup(1, "x"); after.Attr == nil || after.ParentChange <= reply.ParentChange || after.Grants.GetRecalls() != 1 {
			t.Errorf("looked up %v", after)
		}
		b.unasked()
	})
}

// Who writes back what it wrote under the lease that it owes does not wait for anybody.
func TestHolderWritesBackUnderRecall(t *testing.T) {
	inCluster(t, 3, withLeases, func(c *cluster) {
		a, b := c.holder(), c.holder()
		defer a.vanish()
		defer b.vanish()
		f := a.file("f")
		if f.Grants == nil || len(f.Grants.Exclusive) != 1 || f.Grants.Exclusive[0] != f.Attr.Inode {
			t.Fatalf("granted %v", f.Grants)
		}
		var seen *pb.AttrReply
		done := later(func() { seen = b.lookup(1, "f") })
		r := a.recall()
		if r.Keep != keepShared || r.Inodes[0] != f.Attr.Inode {
			t.Fatalf("recalled %v", r)
		}
		if _, err := a.commit(f.Attr.Inode, 77); err != nil {
			t.Fatal(err)
		}
		stillWaits(t, done)
		a.answers(r)
		<-done
		if seen.Attr.Size != 77 || len(seen.Grants.GetShared()) != 2 {
			t.Errorf("saw %v", seen)
		}
	})
}

// A holder that is not heard of costs the others the lease time.
func TestSilentHolderIsEnded(t *testing.T) {
	inCluster(t, 0, withLeases, func(c *cluster) {
		a, b := c.holder(), c.holder()
		defer a.vanish()
		defer b.vanish()
		a.lookup(1, "x")
		a.mute.Store(true)
		began := time.Now()
		b.mkdir(1, "x")
		if waited := time.Since(began); waited > 12*time.Second || waited < 8*time.Second {
			t.Errorf("it waited %v", waited)
		}
		_, err := a.api().GetAttr(c.t.Context(), &pb.GetAttrRequest{Caller: a.asks(), Inode: 1})
		wantKind(t, err, proto.SessionExpired)
	})
}

// An exclusive lease is given when all others have given theirs back, and nobody gets one
// beside it.
func TestAcquireExclusive(t *testing.T) {
	inCluster(t, 0, withLeases, func(c *cluster) {
		a, b := c.holder(), c.holder()
		defer a.vanish()
		defer b.vanish()
		dir := a.mkdir(1, "x").Attr.Inode
		b.lookup(1, "x")
		var got *pb.AcquireReply
		done := later(func() { got = must[*pb.AcquireReply](c.t)(a.acquire(dir, pb.LeaseMode_LEASE_EXCLUSIVE)) })
		r := b.recall()
		stillWaits(c.t, done)
		b.answers(r)
		<-done
		if len(got.Grants.GetExclusive()) != 1 || got.Attr.Inode != dir {
			t.Fatalf("acquired %v", got)
		}
		done = later(func() { got = must[*pb.AcquireReply](c.t)(b.acquire(dir, pb.LeaseMode_LEASE_SHARED)) })
		r = a.recall()
		stillWaits(c.t, done)
		a.answers(r)
		<-done
		if len(got.Grants.GetShared()) != 1 {
			t.Errorf("acquired %v", got)
		}
		a.unasked()
	})
}
