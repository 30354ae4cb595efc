package client

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
)

// What calls cost, in counts: requests to master and chunkservers, syncs, bytes fetched,
// allocations. Times depend on the machine; these do not. A change that makes one larger
// has to say why here.

// spent is what has been spent in a cluster so far, by kind.
func spent(cluster *clienttest.Cluster) map[string]int {
	total := cluster.Counts()
	for _, n := range cluster.Nodes {
		for _, op := range []string{"read", "write", "zero", "sync"} {
			total["node "+op] += n.Count(op)
		}
		total["bytes read"] += int(n.Bytes("read"))
		total["bytes written"] += int(n.Bytes("write"))
	}
	for _, anytime := range []string{"Release", "KeepAlive"} { // many in one message, and nobody waits
		delete(total, anytime)
	}
	return total
}

// price runs fn and wants it to cost that and no more.
func price(t *testing.T, cluster *clienttest.Cluster, what string, fn func(), want map[string]int) {
	t.Helper()
	before := spent(cluster)
	fn()
	var got []string
	after := spent(cluster)
	for _, kind := range slices.Sorted(maps.Keys(after)) {
		if n := after[kind] - before[kind]; n > want[kind] {
			got = append(got, fmt.Sprintf("%d %s instead of %d", n, kind, want[kind]))
		}
	}
	if len(got) > 0 {
		t.Errorf("%s costs more: %s", what, strings.Join(got, ", "))
	}
}

func TestCostOfCalls(t *testing.T) {
	const files, small = 50, 4096
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	b.hedges.credit = -1e9 // whether a second replica is asked depends on time
	b.ahead.patience = time.Minute
	ctx := t.Context()
	must(t, a.MkdirAll(ctx, "/d", 0o755))

	price(t, cluster, "create", func() {
		must(t, create(t, a, "/d/empty").Close())
	}, map[string]int{"Create": 1})
	price(t, cluster, "small write", func() {
		for i := range files {
			f := create(t, a, fmt.Sprint("/d/", i))
			mustWrite(t, f, noise(uint64(i), small), 0)
			must(t, f.Close())
		}
	}, map[string]int{"Create": files, "Commit": files, "node write": 3 * files, "bytes written": 3 * files * small})
	f := open(t, a, "/d/0", unix.O_RDWR)
	must(t, f.Sync(ctx)) // of what was written before this open
	price(t, cluster, "write and fsync", func() {
		mustWrite(t, f, noise(0, small), 0)
		must(t, f.Sync(ctx))
	}, map[string]int{"Commit": 1, "node write": 3, "node sync": 3, "bytes written": 3 * small})
	price(t, cluster, "fsync of nothing new", func() { must(t, f.Sync(ctx)) }, nil)
	must(t, f.Close())

	price(t, cluster, "list", func() {
		_, err := b.List(ctx, "/d")
		must(t, err)
	}, map[string]int{"Lookup": 1, "ReadDir": 6}) // a page of the test's master has 10 entries
	price(t, cluster, "stat of what was listed", func() {
		for i := range files {
			_, err := b.Stat(ctx, fmt.Sprint("/d/", i))
			must(t, err)
		}
	}, nil)
	price(t, cluster, "read of a small file", func() {
		for i := range files {
			f, got := open(t, b, fmt.Sprint("/d/", i), unix.O_RDONLY), make([]byte, small)
			if n, err := f.ReadAt(got, 0); n != small || err != nil || !bytes.Equal(got, noise(uint64(i), small)) {
				t.Errorf("read %d bytes, %v, or wrong ones", n, err)
			}
			must(t, f.Close())
		}
	}, map[string]int{"node read": files, "bytes read": files * small})
	cold := connect(t, cluster, checked)
	cold.hedges.credit, cold.ahead.patience = -1e9, time.Minute
	price(t, cluster, "read of a small file that is not known yet", func() {
		for i := range files {
			f := open(t, cold, fmt.Sprint("/d/", i), unix.O_RDONLY)
			if n, err := f.ReadAt(make([]byte, small), 0); n != small || err != nil {
				t.Errorf("read %d bytes, %v", n, err)
			}
			must(t, f.Close())
		}
	}, map[string]int{"Lookup": 8, "ReadDir": 6, "node read": files, "bytes read": files * small})
	price(t, cluster, "unlink", func() {
		for i := range files {
			must(t, a.Remove(ctx, fmt.Sprint("/d/", i)))
		}
	}, map[string]int{"Unlink": files})
}

// The locks of a program that works alone, as a database takes them for each transaction, cost
// one question, whatever is written between.
func TestCostOfLocks(t *testing.T) {
	const times = 20
	cluster := leasing(t)
	c := connect(t, cluster, checked)
	f := create(t, c, "/db")
	transaction := func() {
		lock := func(mode LockMode, start, end uint64) {
			_, err := f.SetLock(t.Context(), Lock{Owner: 1, Mode: mode, Start: start, End: end, Process: 1}, false)
			must(t, err)
		}
		lock(LockShared, 0, 0)
		lock(LockShared, 2, 511)
		lock(LockNone, 0, 0)
		if _, found, err := f.TestLock(t.Context(), Lock{Owner: 1, Mode: LockExclusive, Start: 1, End: 1}); found || err != nil {
			t.Errorf("in the way: %v, %v", found, err)
		}
		lock(LockExclusive, 1, 1)
		lock(LockExclusive, 0, 0)
		lock(LockExclusive, 2, 511)
		mustWrite(t, f, noise(1, 4096), 0)
		lock(LockShared, 2, 511)
		lock(LockNone, 0, 1)
		lock(LockNone, 0, LockEnd)
	}
	price(t, cluster, "the first lock", transaction, map[string]int{"SetLock": 1})
	price(t, cluster, "transactions", func() {
		for range times {
			transaction()
		}
	}, nil)
	price(t, cluster, "close", func() { must(t, f.Close()) }, map[string]int{"Commit": 1, "node write": 3, "bytes written": 3 * 4096})
}

// A file is fetched once; behind the first megabyte in frames of that size, however small
// the reads are.
func TestCostOfASequentialRead(t *testing.T) {
	const size = 6 << 20
	cluster := leasing(t)
	a, b := connect(t, cluster, checked), connect(t, cluster, checked)
	b.hedges.credit = -1e9 // whether a second replica is asked depends on time
	f, content := create(t, a, "/f"), noise(1, size)
	price(t, cluster, "write", func() {
		for at := 0; at < size; at += pieceSize { // smaller ones are gathered, unless they come too slowly
			mustWrite(t, f, content[at:at+pieceSize], int64(at))
		}
		must(t, f.Close())
	}, map[string]int{"AssignChunk": 5, "Commit": 1, "node write": 3 * size / pieceSize, "bytes written": 3 * size})
	f = open(t, b, "/f", unix.O_RDONLY)
	price(t, cluster, "read", func() {
		got := make([]byte, 64<<10)
		for at := 0; at < size; at += len(got) {
			if _, err := f.ReadAt(got, int64(at)); err != nil || !bytes.Equal(got, content[at:at+len(got)]) {
				t.Fatalf("at %d: %v, or wrong bytes", at, err)
			}
		}
	}, map[string]int{"GetChunkLocation": 1, "node read": pieceSize>>16 + size/pieceSize - 1, "bytes read": size + 64<<10})
	must(t, f.Close())
}

// What is answered without a server allocates next to nothing.
func TestAllocationsOfCalls(t *testing.T) {
	l, c, f := lending(t, noise(1, 9000))
	p := make([]byte, 4096)
	for what, call := range map[string]struct {
		most float64
		fn   func()
	}{
		"a read of a borrowed chunk": {4, func() {
			if _, err := f.ReadAt(p, 4096); err != nil {
				t.Fatal(err)
			}
		}},
		"attributes under a lease": {1, func() {
			if _, err := c.GetAttr(t.Context(), f.Inode()); err != nil {
				t.Fatal(err)
			}
		}},
		"a name under a lease": {1, func() {
			if _, err := c.Lookup(t.Context(), root, c.root, "f"); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		if got := testing.AllocsPerRun(200, call.fn); got > call.most {
			t.Errorf("%s allocates %.0f times, at most %.0f were expected", what, got, call.most)
		}
	}
	l.same(f, noise(1, 9000))
}
