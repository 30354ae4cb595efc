package client

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// openedHere gives a file that c made, closed and opened again without a call.
func openedHere(t *testing.T, cluster *clienttest.Cluster, c *Client, name string, content []byte) *File {
	t.Helper()
	f := create(t, c, name)
	mustWrite(t, f, content, 0)
	must(t, f.Close())
	eventually(t, "the open of who made it is released", func() bool { return cluster.Opens(f.Inode()) == 0 })
	costs(t, cluster, "open", func() { f = open(t, c, name, unix.O_RDONLY) }, nil)
	if cluster.Opens(f.Inode()) != 0 {
		t.Fatal("the master heard of an open")
	}
	return f
}

// staysUntilClosed wants a file without a name to be there until it is closed, and gone then.
func staysUntilClosed(t *testing.T, cluster *clienttest.Cluster, f *File, content []byte) {
	t.Helper()
	eventually(t, "the master hears of the open", func() bool { return cluster.Opens(f.Inode()) == 1 })
	if got := contents(t, f); !bytes.Equal(got, content) {
		t.Fatalf("%d bytes, or others than were written", len(got))
	}
	must(t, f.Close())
	eventually(t, "the master hears of the close", func() bool { return cluster.Opens(f.Inode()) == 0 })
	eventually(t, "the file goes", func() bool {
		_, err := f.ino.c.sendGetAttr(t.Context(), f.Inode())
		return proto.KindOf(err) == proto.Stale
	})
}

func TestOpenHereLosesItsNameElsewhere(t *testing.T) {
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	content := noise(1, 10_000)
	f := openedHere(t, cluster, a, "/f", content)
	must(t, b.Remove(t.Context(), "/f"))
	if cluster.Opens(f.Inode()) != 1 {
		t.Error("the lease was given back before the master knew of the open")
	}
	staysUntilClosed(t, cluster, f, content)
}

func TestOpenHereLosesItsNameByItsOwnClient(t *testing.T) {
	cluster := leasing(t)
	a := connect(t, cluster, checked)
	content := noise(2, 10_000)
	f := openedHere(t, cluster, a, "/f", content)
	must(t, a.Remove(t.Context(), "/f"))
	staysUntilClosed(t, cluster, f, content)
}

func TestOpenHereIsReplaced(t *testing.T) {
	for _, own := range []bool{false, true} {
		cluster := leasing(t)
		a, b := connect(t, cluster, checked), connect(t, cluster, checked)
		content := noise(3, 10_000)
		f := openedHere(t, cluster, a, "/f", content)
		must(t, create(t, b, "/other").Close())
		who := b
		if own {
			who = a
		}
		must(t, who.RenamePath(t.Context(), "/other", "/f"))
		staysUntilClosed(t, cluster, f, content)
	}
}

// What is open here is claimed when the session resumes, and what was closed meanwhile is not.
func TestOpensHereAreClaimed(t *testing.T) {
	cluster := leasing(t)
	a := connect(t, cluster, checked)
	content := noise(4, 10_000)
	f := openedHere(t, cluster, a, "/f", content)
	g := openedHere(t, cluster, a, "/g", content)
	a.sessions.again()
	eventually(t, "both are claimed", func() bool { return cluster.Opens(f.Inode()) == 1 && cluster.Opens(g.Inode()) == 1 })
	must(t, g.Close())
	eventually(t, "one is released", func() bool { return cluster.Opens(g.Inode()) == 0 })
	cluster.Stop()
	cluster.Start()
	eventually(t, "the other is claimed of the new master", func() bool { return cluster.Opens(f.Inode()) == 1 })
	must(t, a.Remove(t.Context(), "/f"))
	staysUntilClosed(t, cluster, f, content)
}

// A session that expired takes its opens along; its files are opened again.
func TestOpensHereOfAnExpiredSession(t *testing.T) {
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	content := noise(5, 10_000)
	f := openedHere(t, cluster, a, "/f", content)
	cluster.Expire()
	eventually(t, "it is opened again", func() bool { return cluster.Opens(f.Inode()) == 1 })
	must(t, b.Remove(t.Context(), "/f"))
	staysUntilClosed(t, cluster, f, content)
}

// Who gives leases back of its own accord says what is open.
func TestOpenHereOutlivesItsLease(t *testing.T) {
	cluster := leasing(t)
	a := connect(t, cluster, checked)
	content := noise(6, 10_000)
	f := openedHere(t, cluster, a, "/f", content)
	a.leases.limit = 16
	for i := range 40 {
		must(t, create(t, a, fmt.Sprint("/", i)).Close())
	}
	eventually(t, "the lease is given back", func() bool { return cluster.Lease(f.Inode()) == pb.LeaseMode_LEASE_NONE })
	must(t, a.Remove(t.Context(), "/f"))
	staysUntilClosed(t, cluster, f, content)
}

// Only who surely may is not sent to the master.
func TestMayOpenHere(t *testing.T) {
	owner, member, other := Cred{UID: 7, GID: 1}, Cred{UID: 8, GID: 2, Groups: []uint32{3, 4}}, Cred{UID: 9, GID: 9}
	for _, test := range []struct {
		mode  uint32
		plain bool
		flags uint32
		may   []Cred
	}{
		{0o400, true, 0, []Cred{root, owner}},
		{0o040, true, 0, []Cred{root, member}},
		{0o004, true, 0, []Cred{root, other}},
		{0o444, false, 0, []Cred{root, owner}},
		{0o000, true, 0, []Cred{root}},
		{0o000, true, fmodeExec, nil},
		{0o010, true, fmodeExec, []Cred{root, member}},
	} {
		attr := &Attr{Mode: unix.S_IFREG | test.mode, UID: 7, GID: 4, Plain: test.plain}
		for _, cred := range []Cred{root, owner, member, other} {
			want := false
			for _, may := range test.may {
				want = want || may.UID == cred.UID
			}
			if got := cred.mayRead(attr, test.flags); got != want {
				t.Errorf("mode %o, plain %v, flags %x: user %d may is %v", test.mode, test.plain, test.flags, cred.UID, got)
			}
		}
	}
}

// Whatever happens in whatever order: as long as it was told all in that order, the master
// knows what is open and was told of, and nothing that is not.
func TestOpensHereAreToldInOrder(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		s := &sessions{leases: newLeases(true)}
		open, master := map[proto.InodeID]bool{}, map[proto.InodeID]bool{}
		for range 100 {
			ino := proto.InodeID(1 + rnd.IntN(3))
			switch rnd.IntN(5) {
			case 0, 1:
				s.here.add(ino)
				open[ino] = true
			case 2:
				s.here.close(ino)
				delete(open, ino)
			case 3: // its lease goes
				for _, r := range s.tellOpens([]*pb.Returned{{Inodes: []uint64{uint64(ino)}}}) {
					for _, told := range r.OpenedHere {
						master[proto.InodeID(told)] = true
					}
					for _, told := range r.ClosedHere {
						delete(master, proto.InodeID(told))
					}
				}
				if master[ino] != open[ino] || len(s.here.left) > 0 {
					t.Fatalf("seed %d: the lease went, the file is open: %v, the master knows: %v", seed, open[ino], master[ino])
				}
			case 4:
				clear(master)
				for _, told := range s.here.all() {
					master[proto.InodeID(told)] = true
				}
				if len(master) != len(open) {
					t.Fatalf("seed %d: %v are claimed, %v are open", seed, master, open)
				}
			}
			for told := range master {
				if _, left := s.here.left[told]; !open[told] && !left {
					t.Fatalf("seed %d: the master will never hear that %d is closed", seed, told)
				}
			}
		}
	}
}
