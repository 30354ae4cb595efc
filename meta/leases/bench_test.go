package leases

import (
	"runtime"
	"testing"
	"time"

	"github.com/distrifs/distrifs/proto"
)

var roomy = Limits{Held: 8 << 20, HeldBySession: 8 << 20}

// BenchmarkGrant grants leases of one session on a million inodes, again and again.
func BenchmarkGrant(b *testing.B) {
	const inodes = 1 << 20
	t := New(roomy, time.Now)
	t.Open(1)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for ino := range proto.InodeID(inodes) {
		t.Grant(1, ino, Shared)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportAllocs()
	ino := proto.InodeID(0)
	for b.Loop() {
		ino = (ino + 7919) % inodes
		t.Grant(1, ino, Shared)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/inodes, "B/lease")
}

// BenchmarkClaim makes and releases the claim of a create in a directory that only its
// session has a lease on.
func BenchmarkClaim(b *testing.B) {
	t := New(roomy, time.Now)
	t.Open(1)
	for ino := range proto.InodeID(1 << 20) {
		t.Grant(1, ino, Shared)
	}
	b.ReportAllocs()
	var c Claim
	for b.Loop() {
		c.Reset()
		c.Session = 1
		c.Add(7, Write)
		if !t.Make(&c) {
			b.Fatal("it waits")
		}
		t.Release(&c)
	}
}
