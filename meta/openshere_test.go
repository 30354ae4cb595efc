package meta

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// unlink takes the only name of a file away.
func (one *client) unlink(name string) {
	one.c.t.Helper()
	must[*pb.UnlinkReply](one.c.t)(one.api().Unlink(one.c.t.Context(), &pb.UnlinkRequest{Caller: one.changes(), Parent: 1, Name: []byte(name)}))
}

// tells sends an answer to a recall, with what is open.
func (one *client) tells(r *pb.Returned) {
	one.c.t.Helper()
	if err := one.send(&pb.SessionRequest{Request: &pb.SessionRequest_Returned{Returned: r}}); err != nil {
		one.c.t.Error(err)
	}
}

// isThere tells whether an inode is, after the reaper had its time.
func (one *client) isThere(ino uint64) bool {
	time.Sleep(10 * time.Second)
	_, err := one.api().GetAttr(one.c.t.Context(), &pb.GetAttrRequest{Caller: &pb.Caller{}, Inode: ino})
	return proto.KindOf(proto.FromStatus(err)) != proto.Stale
}

// knownFile makes a file that nobody has open, which one has a lease on.
func (one *client) knownFile(name string) (ino uint64) {
	one.c.t.Helper()
	return must[*pb.AttrReply](one.c.t)(one.api().Mknod(one.c.t.Context(), &pb.MknodRequest{Caller: one.changes(), Parent: 1, Name: []byte(name), Mode: 0o100644})).Attr.Inode
}

// A file without a name that somebody has a lease on is asked for, and stays while it is said
// to be open.
func TestLeasesHideOpens(t *testing.T) {
	inCluster(t, 0, withLeases, func(c *cluster) {
		a := c.holder()
		defer a.vanish()
		open, closed := a.knownFile("open"), a.knownFile("closed")
		a.unlink("open")
		a.unlink("closed")
		r := a.recall()
		if !r.Unnamed || r.Keep != keepNone || len(r.Inodes) != 2 {
			t.Fatalf("asked %v", r)
		}
		if !a.isThere(open) || !a.isThere(closed) {
			t.Fatal("it was reaped before the answer")
		}
		if _, owes := c.master.leases.table.OwesSince(proto.SessionID(a.welcome.Session)); owes {
			t.Error("a session is held to answer what nobody waits for")
		}
		a.tells(&pb.Returned{Number: r.Number, Inodes: r.Inodes, OpenedHere: []uint64{open}})
		if !a.isThere(open) || a.isThere(closed) {
			t.Fatal("what is open has gone, or the other one is there")
		}
		if s := c.status().Sessions; s[0].OpenFiles != 1 {
			t.Errorf("%d files are open", s[0].OpenFiles)
		}
		a.tells(&pb.Returned{ClosedHere: []uint64{open}})
		if a.isThere(open) {
			t.Error("it is there, though nobody has it open")
		}
	})
}

// Who looks at it again and again does not keep what has no name.
func TestLookingAtAnOrphanDoesNotKeepIt(t *testing.T) {
	inCluster(t, 0, withLeases, func(c *cluster) {
		a := c.holder()
		defer a.vanish()
		ino := a.knownFile("f")
		a.unlink("f")
		for range 100 {
			_, err := a.api().GetAttr(c.t.Context(), &pb.GetAttrRequest{Caller: a.asks(), Inode: ino})
			if proto.KindOf(proto.FromStatus(err)) == proto.Stale {
				return
			}
			time.Sleep(100 * time.Millisecond)
			for len(a.events) > 0 {
				if r := (<-a.events).GetRecall(); r != nil {
					a.answers(r)
				}
			}
		}
		c.t.Error("it is there for ever")
	})
}

// Another's removal waits for the lease, which says what is open.
func TestUnlinkedElsewhereWhileOpenHere(t *testing.T) {
	inCluster(t, 0, withLeases, func(c *cluster) {
		a, b := c.holder(), c.holder()
		defer a.vanish()
		defer b.vanish()
		ino := a.knownFile("f")
		done := later(func() { b.unlink("f") })
		for _, keep := range []bool{true, false} { // the directory and the file, in one recall or two
			r := a.recall()
			if r.Unnamed {
				t.Errorf("asked %v", r)
			}
			a.tells(&pb.Returned{Number: r.Number, Inodes: r.Inodes, OpenedHere: []uint64{ino}})
			if keep && len(r.Inodes) == 2 {
				break
			}
		}
		<-done
		if !a.isThere(ino) {
			t.Error("it was reaped")
		}
		a.tells(&pb.Returned{ClosedHere: []uint64{ino}})
		if a.isThere(ino) {
			t.Error("it is there, though nobody has it open")
		}
	})
}

// Opens here are the session's: claimed with Hello, in this master and in one that was
// started anew, and gone with the session.
func TestOpensHereAreTheSessions(t *testing.T) {
	inCluster(t, 0, withLeases, func(c *cluster) {
		a := c.holder()
		ino, other := a.knownFile("f"), a.knownFile("other")
		a.tells(&pb.Returned{OpenedHere: []uint64{other}})
		synctest.Wait()
		a.vanish()
		resume := &pb.Hello{Leases: true, Resume: a.welcome.Session, OpenedHere: []uint64{ino, ino}}
		again := c.connect(resume)
		if s := c.status().Sessions; s[0].OpenFiles != 1 {
			t.Fatalf("%d files are open", s[0].OpenFiles)
		}
		a.unlink("f")
		again.vanish()
		c.crash(1)
		time.Sleep(20 * time.Second)
		again = c.connect(resume)
		if !again.isThere(ino) {
			t.Fatal("a master that was started anew has reaped it")
		}
		again.vanish()
		time.Sleep(time.Minute)
		b := c.holder()
		defer b.vanish()
		if b.isThere(ino) {
			t.Error("it is there, though its session is gone")
		}
	})
}

// What a stream says after the Hello of the next one is out of date.
func TestLateWordsOfOpensHere(t *testing.T) {
	s := newSessions(time.Now, time.Minute, nil)
	one := s.add(1, "test")
	old := s.attach(one)
	s.openedHere(one, old, &pb.Returned{OpenedHere: []uint64{7}})
	s.claim(one, nil, []proto.InodeID{8})
	s.openedHere(one, old, &pb.Returned{OpenedHere: []uint64{9}, ClosedHere: []uint64{8}})
	f := s.attach(one)
	s.openedHere(one, old, &pb.Returned{OpenedHere: []uint64{9}, ClosedHere: []uint64{8}})
	if s.isOpen(7) || !s.isOpen(8) || s.isOpen(9) {
		t.Error("what the earlier stream said counts")
	}
	if !s.isOpenOnlyBy(one, 8) || !s.has(one, 8) || s.isOpenOnlyBy(s.add(2, "other"), 8) {
		t.Error("it is not the session's")
	}
	s.openedHere(one, f, &pb.Returned{OpenedHere: []uint64{8, 10}})
	s.openedHere(one, f, &pb.Returned{ClosedHere: []uint64{8, 8, 11}})
	if s.isOpen(8) || !s.isOpen(10) {
		t.Error("what the stream says does not count once")
	}
	s.end(one, 0, 0)
	if len(s.opens) != 0 {
		t.Errorf("after the end of the session %v are open", s.opens)
	}
}
