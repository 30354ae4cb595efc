package meta

import (
	"slices"
	"syscall"
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

// A client that does not understand leases gets none, and others are asked for theirs
// because of it all the same.
func TestClientWithoutLeases(t *testing.T) {
	inCluster(t, 3, withLeases, func(c *cluster) {
		old, a := c.connect(&pb.Hello{}), c.holder()
		defer old.vanish()
		defer a.vanish()
		if f := old.file("f"); f.Grants != nil {
			t.Errorf("granted %v", f.Grants)
		}
		if reply := old.lookup(1, "f"); reply.Grants != nil {
			t.Errorf("granted %v", reply.Grants)
		}
		f := a.lookup(1, "f").Attr.Inode
		if got := must[*pb.AcquireReply](c.t)(old.acquire(f, pb.LeaseMode_LEASE_SHARED)); got.Grants != nil || got.Attr.Inode != f {
			t.Errorf("acquired %v", got)
		}
		done := later(func() { must[*pb.AttrReply](c.t)(old.commit(f, 9)) })
		r := a.recall()
		stillWaits(c.t, done)
		a.answers(r)
		<-done
	})
}

// A recall that was not answered comes again, under its number, when the session resumes;
// one that was waiting for a stream comes too.
func TestRecallIsSentAgain(t *testing.T) {
	inCluster(t, 0, withLeases, func(c *cluster) {
		a, b, d := c.holder(), c.holder(), c.holder()
		defer b.vanish()
		defer d.vanish()
		dir := a.mkdir(1, "x").Attr.Inode
		a.lookup(dir, "y")
		done := later(func() { b.mkdir(dir, "y") })
		first := a.recall()
		a.vanish()
		stillWaits(c.t, done)
		other := later(func() { d.mkdir(1, "z") })
		stillWaits(c.t, other)
		a = c.connect(&pb.Hello{Leases: true, Resume: a.welcome.Session})
		defer a.vanish()
		again, second := a.recall(), a.recall()
		if again.Number != first.Number || again.Inodes[0] != dir || second.Number != 2 || second.Inodes[0] != 1 {
			t.Errorf("recalled %v, then %v and %v", first, again, second)
		}
		a.answers(second)
		<-other
		a.answers(again)
		<-done
	})
}

// A holder may answer late as long as it keeps alive, but not for ever.
func TestLateAndMissingAnswers(t *testing.T) {
	inCluster(t, 0, withLeases, func(c *cluster) {
		a, b := c.holder(), c.holder()
		defer a.vanish()
		defer b.vanish()
		a.lookup(1, "x")
		done := later(func() { b.mkdir(1, "x") })
		r := a.recall()
		time.Sleep(50 * time.Second)
		stillWaits(c.t, done)
		a.answers(r)
		<-done
		a.lookup(1, "y")
		began := time.Now()
		b.mkdir(1, "y")
		if waited := time.Since(began); waited < 65*time.Second || waited > 75*time.Second {
			t.Errorf("it waited %v for who never answers", waited)
		}
	})
}

// Whoever ends without a word may have left writes behind: somebody is told of the files.
func TestAbandonedFiles(t *testing.T) {
	inCluster(t, 3, withLeases, func(c *cluster) {
		var left []proto.InodeID
		k := c.master.leases
		k.mu.Lock()
		k.abandoned = func(ino proto.InodeID) {
			left = append(left, ino)
			if !k.mu.TryLock() {
				t.Error("it is told with the table locked: it may wait for who waits for that")
				return
			}
			k.mu.Unlock()
		}
		k.mu.Unlock()
		a, b := c.holder(), c.holder()
		a.file("f")
		var g *pb.CreateReply
		done := later(func() { g = b.file("g") })
		a.answers(a.recall())
		<-done
		if err := a.send(&pb.SessionRequest{Request: &pb.SessionRequest_KeepAlive{KeepAlive: &pb.KeepAlive{Goodbye: true}}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		a.vanish()
		b.vanish()
		time.Sleep(time.Minute)
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(left) != 1 || uint64(left[0]) != g.Attr.Inode {
			t.Errorf("abandoned: %v", left)
		}
		if held := k.table.Stats().Held; held != 0 {
			t.Errorf("%d leases are left", held)
		}
	})
}

// After a start nobody is answered before all have said what they had exclusive. Who has
// it goes on at once.
func TestExclusiveIsClaimedAgain(t *testing.T) {
	inCluster(t, 3, withLeases, func(c *cluster) {
		a, b := c.holder(), c.holder()
		f := a.file("f").Attr.Inode
		a.vanish()
		b.vanish()
		c.crash(1)
		a = c.connect(&pb.Hello{Leases: true, Resume: a.welcome.Session, Exclusive: []uint64{f}})
		defer a.vanish()
		stranger := c.holder()
		defer stranger.vanish()
		var seen *pb.AttrReply
		read := later(func() { seen = stranger.lookup(1, "f") })
		stillWaits(c.t, read)
		must[*pb.AttrReply](c.t)(a.commit(f, 5))
		stillWaits(c.t, read)
		b = c.connect(&pb.Hello{Leases: true, Resume: b.welcome.Session})
		defer b.vanish()
		r := a.recall()
		stillWaits(c.t, read)
		must[*pb.AttrReply](c.t)(a.commit(f, 6))
		a.answers(r)
		if <-read; seen.Attr.Size != 6 {
			t.Errorf("saw %v", seen)
		}
	})
}

// Who does not come back costs the others the lease time. Who comes back later still is
// asked to write back what is another's by now.
func TestWaitAfterStartIsBounded(t *testing.T) {
	inCluster(t, 3, withLeases, func(c *cluster) {
		a := c.holder()
		f := a.file("f").Attr.Inode
		a.vanish()
		c.crash(1)
		b := c.holder()
		defer b.vanish()
		began := time.Now()
		b.lookup(1, "f")
		if waited := time.Since(began); waited != 10*time.Second {
			t.Errorf("it waited %v", waited)
		}
		a = c.connect(&pb.Hello{Leases: true, Resume: a.welcome.Session, Exclusive: []uint64{f}})
		defer a.vanish()
		if r := a.recall(); r.Inodes[0] != f || r.Keep != keepNone {
			t.Errorf("recalled %v", r)
		}
	})
}

// A listing does not wait for files that others have exclusive; it leaves their attributes
// out.
func TestListingLeavesOutExclusiveFiles(t *testing.T) {
	inCluster(t, 3, withLeases, func(c *cluster) {
		a, b := c.holder(), c.holder()
		defer a.vanish()
		defer b.vanish()
		a.file("f")
		dir := b.mkdirBeside(a, "x")
		reply := must[*pb.ReadDirReply](c.t)(b.api().ReadDir(c.t.Context(), &pb.ReadDirRequest{Caller: b.asks(), Inode: 1, Attrs: true}))
		for _, e := range reply.Entries {
			if (e.Attr == nil) != (string(e.Name) == "f") {
				t.Errorf("%s: %v", e.Name, e.Attr)
			}
		}
		if got := reply.Grants.GetShared(); len(got) != 2 || got[1] != dir || reply.Change == 0 {
			t.Errorf("granted %v as of %d", got, reply.Change)
		}
		a.unasked()
	})
}

// Folders are listed with another one, whole, with a lease on each; not those that another session has
// exclusive, nor what there is no room for.
func TestFoldersAreListedWithAnother(t *testing.T) {
	inCluster(t, 3, withLeases, func(c *cluster) {
		a, b := c.holder(), c.holder()
		defer a.vanish()
		defer b.vanish()
		var dirs []uint64
		for _, name := range []string{"first", "others", "empty", "last"} {
			dirs = append(dirs, a.mkdir(1, name).Attr.Inode)
		}
		inner := a.mkdir(dirs[0], "inner").Attr.Inode
		a.mkdir(dirs[3], "one")
		a.mkdir(dirs[3], "two")
		list := func(req *pb.ReadDirRequest) *pb.ReadDirReply {
			req.Caller, req.Inode, req.Also = b.asks(), dirs[2], []uint64{77777, dirs[0], dirs[1], dirs[3]}
			return must[*pb.ReadDirReply](c.t)(b.api().ReadDir(c.t.Context(), req))
		}
		told := func(reply *pb.ReadDirReply, want ...uint64) {
			c.t.Helper()
			var got []uint64
			for _, page := range reply.Also {
				got = append(got, page.Inode)
				if !page.End || page.Change == 0 || page.Parent != 1 || !slices.Contains(reply.Grants.Shared, page.Inode) {
					c.t.Errorf("%v, of leases %v", page, reply.Grants)
				}
			}
			if !slices.Equal(got, want) {
				c.t.Errorf("listed %d, want %d", got, want)
			}
		}
		exclusive := must[*pb.AcquireReply](c.t)(a.acquire(dirs[1], pb.LeaseMode_LEASE_EXCLUSIVE))
		if len(exclusive.Grants.GetExclusive()) != 1 {
			c.t.Fatalf("granted %v", exclusive.Grants)
		}
		told(list(&pb.ReadDirRequest{MaxEntries: 2}), dirs[0])
		reply := list(&pb.ReadDirRequest{Attrs: true})
		told(reply, dirs[0], dirs[3])
		if e := reply.Also[0].Entries; len(e) != 1 || e[0].Inode != inner || e[0].Attr.GetInode() != inner || !slices.Contains(reply.Grants.Shared, inner) {
			c.t.Errorf("entries %v, of leases %v", e, reply.Grants)
		}
		told(list(&pb.ReadDirRequest{Deep: 2}), dirs[0]) // the other was in the way
		reply = list(&pb.ReadDirRequest{Deep: 5})
		var got []uint64
		for _, page := range reply.Also {
			got = append(got, page.Inode)
		}
		if want := []uint64{dirs[0], dirs[3], inner}; len(got) < len(want) || !slices.Equal(got[:len(want)], want) || len(got) > 5 {
			c.t.Errorf("listed %d, want %d and what is in the last", got, want)
		}
		a.unasked()
		for _, req := range []*pb.ReadDirRequest{{Also: make([]uint64, maxAlso+1)}, {Deep: maxAlso + 1}} {
			req.Caller, req.Inode = b.asks(), dirs[2]
			_, err := b.api().ReadDir(c.t.Context(), req)
			wantKind(c.t, err, proto.TooLarge)
		}
	})
}

// mkdirBeside makes a directory in the root, on which the other one has a lease.
func (one *client) mkdirBeside(other *client, name string) (ino uint64) {
	done := later(func() { ino = one.mkdir(1, name).Attr.Inode })
	other.answers(other.recall())
	<-done
	return ino
}

// Opening for writing gives the file to the session if nobody else has to do with it;
// truncating takes what others have.
func TestOpenForWriting(t *testing.T) {
	inCluster(t, 3, withLeases, func(c *cluster) {
		a, b := c.holder(), c.holder()
		defer a.vanish()
		defer b.vanish()
		f := a.file("f").Attr.Inode
		open := func(one *client, flags uint32) *pb.OpenReply {
			return must[*pb.OpenReply](c.t)(one.api().Open(c.t.Context(), &pb.OpenRequest{Caller: one.changes(), Inode: f, Flags: flags}))
		}
		var got *pb.OpenReply
		done := later(func() { got = open(b, syscall.O_WRONLY) })
		a.answers(a.recall())
		<-done
		if len(got.Grants.GetExclusive()) != 0 || len(got.Grants.GetShared()) != 1 {
			t.Errorf("beside another: %v", got.Grants)
		}
		done = later(func() { got = open(b, syscall.O_WRONLY|syscall.O_TRUNC) })
		if r := a.recall(); r.Keep != keepNone {
			t.Errorf("recalled %v", r)
		} else {
			a.answers(r)
		}
		<-done
		for one, count := range map[*client]uint32{a: 1, b: 2} {
			must[*pb.ReleaseReply](c.t)(one.api().Release(c.t.Context(), &pb.ReleaseRequest{Caller: one.changes(), Closed: []*pb.OpenCount{{Inode: f, Count: count}}}))
		}
		if got = open(b, syscall.O_RDWR); len(got.Grants.GetExclusive()) != 1 {
			t.Errorf("alone: %v", got.Grants)
		}
	})
}

// Who waits for a lock stands in nobody's way.
func TestWaitingForLockHoldsNoClaim(t *testing.T) {
	inCluster(t, 0, withLeases, func(c *cluster) {
		a, b := c.holder(), c.holder()
		defer a.vanish()
		defer b.vanish()
		must[*pb.SetLockReply](c.t)(a.lock(exclusive(1), 0))
		if !must[*pb.SetLockReply](c.t)(b.lock(exclusive(2), 1)).Queued {
			t.Fatal("not queued")
		}
		if got := must[*pb.AcquireReply](c.t)(a.acquire(1, pb.LeaseMode_LEASE_EXCLUSIVE)); len(got.Grants.GetExclusive()) != 1 {
			t.Errorf("acquired %v", got)
		}
		unlock := exclusive(1)
		unlock.Mode = pb.LockMode_LOCK_NONE
		must[*pb.SetLockReply](c.t)(a.lock(unlock, 0))
		var got *pb.SetLockReply
		done := later(func() { got = must[*pb.SetLockReply](c.t)(b.lock(exclusive(2), 1)) })
		r := a.recall() // what it wrote before it unlocked is to be seen under the lock
		stillWaits(c.t, done)
		a.answers(r)
		if <-done; got.Queued || got.Attr.GetInode() != 1 {
			t.Errorf("locked: %v", got)
		}
	})
}

// A chunk that is dropped from a file nobody has open was known to who has a lease on it.
func TestDroppedChunkIsRecalled(t *testing.T) {
	inCluster(t, 3, withLeases, func(c *cluster) {
		a := c.holder()
		defer a.vanish()
		f := a.file("f")
		must[*pb.ReleaseReply](c.t)(a.api().Release(c.t.Context(), &pb.ReleaseRequest{Caller: a.changes(), Closed: []*pb.OpenCount{{Inode: f.Attr.Inode, Count: 1}}}))
		r := a.recall()
		if c.status().Chunks.Assigned != 1 || c.status().Claims != 1 {
			t.Errorf("dropped already: %v", c.status())
		}
		a.answers(r)
		synctest.Wait()
		if s := c.status(); s.Chunks.Assigned != 0 || s.Recalls != 1 || s.Claims != 0 {
			t.Errorf("not dropped: %v", s)
		}
	})
}

// Sessions that want a file for themselves in turn get it in turn: the recall for the next
// one does not overtake the answer.
func TestAcquiringInTurn(t *testing.T) {
	inCluster(t, 0, withLeases, func(c *cluster) {
		a, b := c.holder(), c.holder()
		defer a.vanish()
		defer b.vanish()
		dir := a.mkdir(1, "x").Attr.Inode
		hold := c.holder()
		defer hold.vanish()
		a.answers(a.recallAfter(func() { must[*pb.AcquireReply](c.t)(hold.acquire(dir, pb.LeaseMode_LEASE_EXCLUSIVE)) }))
		var order []string
		first := later(func() {
			if must[*pb.AcquireReply](c.t)(a.acquire(dir, pb.LeaseMode_LEASE_EXCLUSIVE)).Grants != nil {
				order = append(order, "a")
			}
		})
		stillWaits(c.t, first)
		second := later(func() {
			if must[*pb.AcquireReply](c.t)(b.acquire(dir, pb.LeaseMode_LEASE_EXCLUSIVE)).Grants != nil {
				order = append(order, "b")
			}
		})
		stillWaits(c.t, second)
		hold.answers(hold.recall())
		<-first
		a.unasked()
		began := time.Now()
		a.answers(a.recall())
		if time.Since(began) != ahead {
			t.Errorf("recalled after %v", time.Since(began))
		}
		if <-second; len(order) != 2 || order[0] != "a" {
			t.Errorf("granted to %v", order)
		}
	})
}

// recallAfter gives the recall that a call of another client causes. The call goes on.
func (one *client) recallAfter(call func()) *pb.Recall {
	later(call)
	return one.recall()
}
