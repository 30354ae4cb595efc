package client

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
)

func TestLocationsAreBounded(t *testing.T) {
	l := newLocations()
	for ino := range proto.InodeID(100) {
		for index := range uint64(1000) {
			l.put(ino, index, location{chunk: 1, committed: true})
		}
	}
	if l.total > maxLocations {
		t.Errorf("%d locations", l.total)
	}
	if _, ok := l.get(99, 999); !ok {
		t.Error("the newest was forgotten")
	}
	if _, ok := l.get(0, 0); ok {
		t.Error("the oldest was kept")
	}
	for index := range uint64(2 * maxLocations) { // one huge file
		l.put(7, index, location{chunk: 1, committed: true})
	}
	if l.total > maxLocations || len(l.files) != 1 {
		t.Errorf("%d locations of %d files", l.total, len(l.files))
	}
	for ino := range proto.InodeID(2 * maxKnownFiles) {
		l.saw(ino, 1, l.asking())
	}
	if len(l.files) > maxKnownFiles || l.used.Len() != len(l.files) {
		t.Errorf("%d files", len(l.files))
	}
}

func TestHolesAreForgottenSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLocations()
		l.put(1, 0, location{})
		l.put(1, 1, location{chunk: 5}) // assigned, not committed
		l.put(1, 2, location{chunk: 6, committed: true})
		for _, index := range []uint64{0, 1, 2} {
			if _, ok := l.get(1, index); !ok {
				t.Errorf("%d is not there", index)
			}
		}
		time.Sleep(cacheTTL + time.Nanosecond)
		for index, want := range []bool{false, false, true} {
			if _, ok := l.get(1, uint64(index)); ok != want {
				t.Errorf("%d is there: %v", index, ok)
			}
		}
		if loc, ok := l.assigned(1, 1); !ok || loc.chunk != 5 {
			t.Error("a writer lost its chunk")
		}
		if _, ok := l.assigned(1, 0); ok {
			t.Error("a hole to write to")
		}
	})
}

func TestVersionsOnlyGrow(t *testing.T) { // L3
	l := newLocations()
	l.put(1, 0, location{chunk: 5, version: 3, committed: true})
	l.put(1, 0, location{chunk: 5, version: 2})
	if loc, _ := l.get(1, 0); loc.version != 3 {
		t.Errorf("version %d", loc.version)
	}
	l.drop(1, 0, location{chunk: 5, version: 2}) // of an older one
	if _, ok := l.get(1, 0); !ok {
		t.Error("a newer location was dropped")
	}
	l.drop(1, 0, location{chunk: 5, version: 3})
	if _, ok := l.get(1, 0); ok || l.total != 0 {
		t.Error("it was not dropped")
	}
}

func TestForeignChangeDropsLocations(t *testing.T) {
	l := newLocations()
	l.begin(1, 1)
	l.put(1, 0, location{chunk: 5, committed: true})
	l.ownChange(1, 2)
	if _, ok := l.get(1, 0); !ok || !l.saw(1, 2, l.asking()) {
		t.Error("after an own change")
	}
	if l.saw(1, 4, l.asking()) {
		t.Error("a foreign change was not seen")
	}
	if _, ok := l.get(1, 0); ok {
		t.Error("the location of before the change is there")
	}
	if l.saw(1, 3, l.asking()) || !l.saw(1, 4, l.asking()) {
		t.Error("an answer that was overtaken counted")
	}
}

func TestHealthPrefersWhoAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHealth()
		h.random = func() float64 { return 0.5 }
		chain := []pipeline.Hop{{Node: 1, Address: "a"}, {Node: 2, Address: "b"}, {Node: 3, Address: "c"}, {Node: 4}}
		read := func(node proto.NodeID, took time.Duration, ok bool) {
			h.begin(node)
			h.end(node, 4096, took, ok)
		}
		first := func() proto.NodeID {
			order := h.order(chain)
			if len(order) != 3 { // node 4 has no address
				t.Fatalf("%d replicas", len(order))
			}
			return order[0].Node
		}
		read(1, 5*time.Millisecond, true)
		read(2, time.Millisecond, true)
		read(3, 3*time.Millisecond, true)
		if n := first(); n != 2 {
			t.Errorf("node %d is first, 2 is fastest", n)
		}
		h.begin(2)
		h.begin(2)
		h.begin(2)
		if n := first(); n != 3 {
			t.Errorf("node %d is first, 3 has less to do than 2", n)
		}
		read(3, 0, false)
		if order := h.order(chain); order[2].Node != 3 {
			t.Errorf("node 3 failed and is not last: %v", order)
		}
		time.Sleep(penaltyMin + 1)
		if n := first(); n != 3 {
			t.Errorf("node %d is first, 3 has done its penalty", n)
		}
	})
}

func TestHealthSpreadsEquals(t *testing.T) {
	h := newHealth()
	chain := []pipeline.Hop{{Node: 1, Address: "a"}, {Node: 2, Address: "b"}, {Node: 3, Address: "c"}}
	counts := map[proto.NodeID]int{}
	for range 3000 {
		counts[h.order(chain)[0].Node]++
	}
	for node, n := range counts {
		if n < 700 || n > 1300 {
			t.Errorf("node %d was first %d times of 3000", node, n)
		}
	}
}
