package client

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
)

// The first replica that is asked hangs for as long as the test wants: the second's answer
// is taken, the first does not count as failed, and what it answers in the end goes nowhere.
func TestSlowReplicaIsRaced(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	f, want := written(t, cluster, 300_000)
	c := f.ino.c
	hung := make(chan struct{})
	var release sync.Once
	defer release.Do(func() { close(hung) })
	var asked atomic.Int32
	var slow atomic.Uint32
	for _, n := range cluster.Nodes {
		n.Hook(func(op string, _ uuid.UUID, _ uint64, _ int) error {
			if op == "read" && asked.Add(1) == 1 {
				slow.Store(uint32(n.ID))
				<-hung
			}
			return nil
		})
	}
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read: %v, right bytes %v", err, bytes.Equal(got, want))
	}
	node := c.health.node(proto.NodeID(slow.Load()))
	if node.failures != 0 || node.cost == 0 {
		t.Errorf("the slow one has %d failures, costs %v", node.failures, node.cost)
	}
	if asked.Load() != 2 {
		t.Errorf("%d replicas were asked", asked.Load())
	}
	clear(got)
	release.Do(func() { close(hung) })
	for range 20 {
		if _, err := f.ReadAt(make([]byte, 10), 0); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, make([]byte, len(got))) {
		t.Error("an answer that was overtaken was written to the reader's memory")
	}
}

// When the first fails after the second was asked, the second's answer counts; and when both
// find damage, the third does, and both are reported.
func TestRaceWhenReplicasFail(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	f, want := written(t, cluster, 5000)
	var asked atomic.Int32
	both := make(chan struct{})
	for _, n := range cluster.Nodes {
		n.Hook(func(op string, _ uuid.UUID, _ uint64, _ int) error {
			if op != "read" {
				return nil
			}
			switch asked.Add(1) {
			case 1:
				<-both
			case 2:
				close(both)
			default:
				return nil
			}
			return proto.E(proto.DataCorrupt, "read", "", "")
		})
	}
	got := make([]byte, 5000)
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Fatal(err)
	}
	eventually(t, "both are reported", func() bool { return len(cluster.Corrupt()) == 2 })
}

// One read in twenty may be asked for twice, and ten more at first.
func TestRacesAreBounded(t *testing.T) {
	h := newHedges()
	taken := 0
	for range 1000 {
		h.earn()
		if h.take() {
			taken++
		}
	}
	if taken < 50 || taken > 60 {
		t.Errorf("%d of 1000", taken)
	}
}

func TestPatienceFollowsTheBestReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHealth()
		chain := []pipeline.Hop{{Node: 1}, {Node: 2}}
		if got := h.patience(chain, 4096); got != patienceUnknown {
			t.Errorf("nobody is known: %v", got)
		}
		sample := func(id proto.NodeID, took time.Duration) {
			for range 100 {
				h.begin(id)
				h.end(id, 0, took, true)
			}
		}
		sample(1, 10*time.Second)
		if got := h.patience(chain, 0); got != patienceMax {
			t.Errorf("all are slow: %v", got)
		}
		sample(2, 100*time.Millisecond)
		if got := h.patience(chain, 0); got < 100*time.Millisecond || got > 150*time.Millisecond {
			t.Errorf("one takes 100ms: %v", got)
		}
		if got := h.patience(chain, costUnit); got < 200*time.Millisecond || got > 300*time.Millisecond {
			t.Errorf("and twice as long for more: %v", got)
		}
		sample(2, time.Microsecond)
		if got := h.patience(chain, 0); got != patienceMin {
			t.Errorf("one is fast: %v", got)
		}
	})
}
