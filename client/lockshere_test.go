package client

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

func wholeFile(owner uint64, mode LockMode) Lock {
	return Lock{Owner: owner, Mode: mode, End: LockEnd, Process: uint32(owner)}
}

func mustLock(t testing.TB, f *File, l Lock) {
	t.Helper()
	if _, err := f.SetLock(t.Context(), l, false); err != nil {
		t.Fatal(err)
	}
}

func refuseLock(t testing.TB, f *File, l Lock) {
	t.Helper()
	_, err := f.SetLock(t.Context(), l, false)
	wantKind(t, "lock", err, proto.Conflict)
}

// kept makes a file that a client has exclusive, with a lock on it of owner 1 that the client keeps.
func kept(t testing.TB, cluster *clienttest.Cluster, c *Client) *File {
	t.Helper()
	f := create(t, c, "/f")
	before := cluster.Count("SetLock")
	mustLock(t, f, wholeFile(1, LockExclusive))
	if n := cluster.Locks(f.Inode()); n != 0 || cluster.Count("SetLock") != before+1 {
		t.Fatalf("the master has %d locks after %d calls", n, cluster.Count("SetLock")-before)
	}
	return f
}

// What a client keeps excludes others, who see what was done under it, and the client that had it
// then has the master's word for everything.
func TestKeptLocksExcludeOthers(t *testing.T) {
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	fa := kept(t, cluster, a)
	fb := open(t, b, "/f", unix.O_RDWR)
	refuseLock(t, fb, wholeFile(1, LockShared))
	if cluster.Locks(fa.Inode()) != 1 {
		t.Error("the lock was not handed over")
	}
	other, found, err := fb.TestLock(t.Context(), wholeFile(2, LockShared))
	if !found || err != nil || other.Owner != 0 || other.Mode != LockExclusive {
		t.Errorf("in the way: %+v, %v, %v", other, found, err)
	}
	mustLock(t, fa, wholeFile(1, LockNone))
	mustLock(t, fb, wholeFile(1, LockExclusive))
	refuseLock(t, fa, wholeFile(1, LockShared))
	mustLock(t, fb, wholeFile(1, LockNone))

	mustWrite(t, fa, []byte("before"), 0) // exclusive again
	mustLock(t, fa, wholeFile(1, LockExclusive))
	commits := cluster.Count("Commit")
	mustWrite(t, fa, []byte("under the lock"), 0)
	mustLock(t, fa, wholeFile(1, LockNone))
	if n := cluster.Count("Commit"); n != commits {
		t.Error("a lock that was kept was given up with a commit")
	}
	mustLock(t, fb, wholeFile(1, LockExclusive)) // G3
	if got := contents(t, fb); string(got) != "under the lock" {
		t.Errorf("read %q under the lock", got)
	}
}

// Who looks for locks hears of those that are kept.
func TestKeptLocksAreFound(t *testing.T) {
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	fa := kept(t, cluster, a)
	for _, c := range []struct {
		l    Lock
		want bool
	}{{wholeFile(2, LockShared), true}, {wholeFile(1, LockShared), false}, {wholeFile(1, LockNone), true}, {wholeFile(2, LockNone), false}} {
		if other, found, err := fa.TestLock(t.Context(), c.l); found != c.want || err != nil || found && other != wholeFile(1, LockExclusive) {
			t.Errorf("%+v: %+v, %v, %v", c.l, other, found, err)
		}
	}
	if n := cluster.Count("TestLock"); n != 0 {
		t.Errorf("%d questions to the master", n)
	}
	fb := open(t, b, "/f", unix.O_RDONLY)
	if _, found, err := fb.TestLock(t.Context(), wholeFile(1, LockShared)); !found || err != nil {
		t.Errorf("in the way: %v, %v", found, err)
	}
}

// Two owners of one client that get into each other's way: who does not wait is refused here, who
// waits does so at the master; when all is over the locks are kept again.
func TestOwnersOfOneClient(t *testing.T) {
	cluster := leasing(t)
	c := connect(t, cluster, checked)
	f := kept(t, cluster, c)
	calls := cluster.Count("SetLock")
	refuseLock(t, f, wholeFile(2, LockShared))
	flock := wholeFile(3, LockShared)
	flock.Flock = true
	mustLock(t, f, flock) // which does not see those of fcntl
	flock.Owner = 4
	mustLock(t, f, flock)
	flock.Mode = LockExclusive
	refuseLock(t, f, flock) // and what was to be traded is gone
	flock.Owner = 3
	mustLock(t, f, flock)
	must(t, f.Unlock(t.Context(), 3, true))
	if n := cluster.Count("SetLock"); n != calls {
		t.Fatalf("%d questions to the master", n-calls)
	}
	got := make(chan error)
	go func() {
		_, err := f.SetLock(context.Background(), wholeFile(2, LockExclusive), true)
		got <- err
	}()
	eventually(t, "the wait reaches the master", func() bool { return cluster.Count("SetLock") > calls })
	if cluster.Count("HandLocks") != 1 || cluster.Locks(f.Inode()) != 1 {
		t.Errorf("%d locks were handed over", cluster.Locks(f.Inode()))
	}
	mustLock(t, f, wholeFile(1, LockNone))
	must(t, <-got)
	refuseLock(t, f, wholeFile(1, LockShared))
	mustLock(t, f, wholeFile(2, LockNone))
	mustLock(t, f, wholeFile(2, LockShared))
	if cluster.Locks(f.Inode()) != 0 {
		t.Error("the locks are still the master's")
	}
}

// A wait of another client ends when the lock is given up that was kept when it began.
func TestWaitForAKeptLock(t *testing.T) {
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	fa := kept(t, cluster, a)
	fb := open(t, b, "/f", unix.O_RDWR)
	got := make(chan error)
	go func() {
		_, err := fb.SetLock(context.Background(), wholeFile(1, LockShared), true)
		got <- err
	}()
	eventually(t, "the lock is handed over", func() bool { return cluster.Locks(fa.Inode()) > 0 })
	must(t, fa.Unlock(t.Context(), 1, false))
	must(t, <-got)
}

// A restart of the master makes locks its own that were kept; those of a session that ended are gone,
// and the file says so.
func TestKeptLocksOverTheEndOfMasterAndSession(t *testing.T) {
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	fa := kept(t, cluster, a)
	cluster.Stop()
	cluster.Start()
	eventually(t, "the locks are claimed", func() bool { return cluster.Locks(fa.Inode()) == 1 })
	fb := open(t, b, "/f", unix.O_RDWR)
	refuseLock(t, fb, wholeFile(1, LockShared))
	mustLock(t, fa, wholeFile(1, LockNone))
	mustLock(t, fb, wholeFile(1, LockShared))
	must(t, fb.Unlock(t.Context(), 1, false))
	must(t, fb.Close())

	mustWrite(t, fa, []byte("x"), 0)
	mustLock(t, fa, wholeFile(1, LockExclusive))
	if cluster.Locks(fa.Inode()) != 0 {
		t.Fatal("the lock is not kept")
	}
	must(t, fa.Flush(t.Context()))
	cluster.Expire()
	eventually(t, "the file says that its locks are lost", func() bool { return fa.Flush(t.Context()) != nil })
	refused := cluster.Count("SetLock")
	mustLock(t, fa, wholeFile(2, LockExclusive))
	if cluster.Count("SetLock") == refused {
		t.Error("a lock was given without the master")
	}
}

// A handing over whose answer is lost is repeated, and nobody has the lock between.
func TestHandingOverUnanswered(t *testing.T) {
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	fa := kept(t, cluster, a)
	var lost sync.Map
	cluster.Hook(func(method string, _ any, after bool) error {
		if _, again := lost.LoadOrStore(fmt.Sprint(method, after), true); !again && method == "HandLocks" {
			return proto.Unavailable
		}
		return nil
	})
	fb := open(t, b, "/f", unix.O_RDWR)
	refuseLock(t, fb, wholeFile(1, LockShared))
	cluster.Hook(nil)
	if n := cluster.Count("HandLocks"); n != 2 {
		t.Errorf("handed over %d times, want 2: it was not heard once, and not answered once", n)
	}
	mustLock(t, fa, wholeFile(1, LockNone))
	mustLock(t, fb, wholeFile(1, LockExclusive))
}

// The master's word that a client may keep locks is worth nothing when the lease it was about has gone
// meanwhile, even if it has come again.
func TestKeepingUnderALeaseThatHasGone(t *testing.T) {
	for _, back := range []bool{false, true} {
		cluster := leasing(t)
		c := connect(t, cluster, checked)
		f := create(t, c, "/f")
		var once sync.Once
		cluster.Hook(func(method string, _ any, after bool) error {
			if method == "SetLock" && after {
				once.Do(func() {
					cluster.Recall(f.Inode(), pb.LeaseMode_LEASE_SHARED)
					eventually(t, "the lease is lowered", func() bool { return cluster.Lease(f.Inode()) != pb.LeaseMode_LEASE_EXCLUSIVE })
					if back {
						mustWrite(t, f, []byte("x"), 0)
					}
				})
			}
			return nil
		})
		mustLock(t, f, wholeFile(1, LockExclusive))
		cluster.Hook(nil)
		if n := cluster.Locks(f.Inode()); n != 1 {
			t.Errorf("lease back: %v: the master has %d locks", back, n)
		}
	}
}

// Who keeps very many locks hands them over.
func TestTooManyLocksToKeep(t *testing.T) {
	cluster := leasing(t)
	c := connect(t, cluster, checked)
	f := create(t, c, "/f")
	for n := range uint64(maxKept + 1) {
		mustLock(t, f, Lock{Owner: 1, Mode: LockShared, Start: 2 * n, End: 2 * n})
	}
	if n := cluster.Locks(f.Inode()); n != maxKept+1 {
		t.Errorf("the master has %d locks", n)
	}
	if n := cluster.Count("SetLock"); n != 2 {
		t.Errorf("%d calls", n)
	}
}

// Clients, owners and ranges at random, one call after the other: each ends as it would if all locks were
// in one place, whoever keeps them, also over restarts of the master.
func TestLocksAtRandom(t *testing.T) {
	const clients, owners, size, calls = 3, 2, 6, 1500
	for seed := range uint64(2) {
		cluster := leasing(t)
		r := rand.New(rand.NewPCG(seed, 1))
		var files [clients]*File
		for n := range files {
			c := connect(t, cluster, checked)
			if n == 0 {
				must(t, create(t, c, "/f").Close())
			}
			files[n] = open(t, c, "/f", unix.O_RDWR)
		}
		var model [size]map[[2]int]LockMode
		for n := range model {
			model[n] = map[[2]int]LockMode{}
		}
		for call := range calls {
			n, owner := r.IntN(clients), r.IntN(owners)
			if call%20 == 0 { // nobody has locks, and one has the file exclusive
				for _, f := range files {
					for owner := range uint64(owners) {
						must(t, f.Unlock(t.Context(), owner, false))
					}
				}
				for n := range model {
					clear(model[n])
				}
				mustWrite(t, files[call/20%clients], []byte{byte(call)}, 0)
			}
			if r.IntN(8) > 0 { // the same one for a while
				n = call / 20 % clients
			}
			f, from := files[n], r.Uint64N(size)
			l := Lock{Owner: uint64(owner), Mode: LockMode(r.IntN(3)), Start: from, End: from + r.Uint64N(size-from)}
			free := true
			for _, holders := range model[l.Start : l.End+1] {
				for by, mode := range holders {
					if by != [2]int{n, owner} && l.Mode != LockNone && (mode == LockExclusive || l.Mode == LockExclusive) {
						free = false
					}
				}
			}
			switch r.IntN(12) {
			case 0:
				mustWrite(t, f, []byte{byte(call)}, int64(from))
			case 1:
				if _, err := f.ReadAt(make([]byte, 1), 0); err != nil && err != io.EOF {
					t.Fatal(err)
				}
			case 2:
				if r.IntN(20) == 0 {
					cluster.Stop()
					cluster.Start()
					eventually(t, "all clients come back", cluster.Resumed)
				}
			case 3:
				if l.Mode == LockNone {
					continue
				}
				if _, found, err := f.TestLock(t.Context(), l); found == free || err != nil {
					t.Fatalf("seed %d, call %d: found %v, %v, want %v", seed, call, found, err, !free)
				}
			default:
				_, err := f.SetLock(t.Context(), l, false)
				if (err == nil) != free || err != nil && proto.KindOf(err) != proto.Conflict {
					t.Fatalf("seed %d, call %d: client %d locks %+v: %v, to be had: %v", seed, call, n, l, err, free)
				}
				if !free {
					continue
				}
				for _, holders := range model[l.Start : l.End+1] {
					if delete(holders, [2]int{n, owner}); l.Mode != LockNone {
						holders[[2]int{n, owner}] = l.Mode
					}
				}
			}
		}
		if cluster.Count("HandLocks") < calls/100 || cluster.Count("SetLock") > calls/2 {
			t.Errorf("seed %d: %d of %d calls reached the master, %d handed over: too little is tested", seed, cluster.Count("SetLock"), calls, cluster.Count("HandLocks"))
		}
	}
}

// A number that owners of two clients increment under a lock ends as high as it was incremented often.
func TestCountingUnderKeptLocks(t *testing.T) {
	const clients, owners, times = 2, 2, 40
	cluster := leasing(t)
	var all sync.WaitGroup
	var last *File
	for n := range clients {
		c := connect(t, cluster, checked)
		if n == 0 {
			f := create(t, c, "/f")
			mustWrite(t, f, make([]byte, 8), 0)
			must(t, f.Close())
		}
		last = open(t, c, "/f", unix.O_RDWR)
		for owner := range uint64(owners) {
			f := last
			all.Go(func() {
				for range times {
					if err := increment(f, owner); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	all.Wait()
	mustLock(t, last, wholeFile(9, LockShared))
	if got := binary.LittleEndian.Uint64(contents(t, last)); got != clients*owners*times {
		t.Errorf("the counter is %d after %d increments", got, clients*owners*times)
	}
}

func increment(f *File, owner uint64) error {
	if _, err := f.SetLock(context.Background(), wholeFile(owner, LockExclusive), true); err != nil {
		return err
	}
	p := make([]byte, 8)
	if _, err := f.ReadAt(p, 0); err != nil {
		return err
	}
	binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)+1)
	if _, err := f.WriteAt(p, 0); err != nil {
		return err
	}
	return f.Unlock(context.Background(), owner, false)
}
