package wal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

func TestProposeAppliesInOrder(t *testing.T) {
	m := disk.NewMem()
	g, j := start(t, tiny(m))
	for i, e := range numbered(0, 100) {
		got, err := g.Propose(context.Background(), 1, []byte(e))
		if err != nil || got != i+1 {
			t.Fatalf("proposal %d: %v, %v", i, got, err)
		}
	}
	s := g.Status()
	if s.FirstIndex != 1 || s.LastIndex != 100 || s.AppliedIndex != 100 || s.Term != 1 || s.Batches != 100 || s.Segments < 3 || s.LogBytes < 10000 {
		t.Errorf("status %+v", s)
	}
	must(t, g.Close())
	equal(t, j.list(t), numbered(0, 100))
	g, j = start(t, tiny(m))
	equal(t, j.list(t), numbered(0, 100))
	must(t, g.Close())
}

func TestManyProposers(t *testing.T) {
	const proposers, each = 20, 50
	m := disk.NewMem()
	g, j := start(t, tiny(m))
	var group sync.WaitGroup
	for p := range proposers {
		group.Go(func() {
			for i := range each {
				propose(t, g, fmt.Sprintf("%d/%d", p, i))
			}
		})
	}
	group.Wait()
	must(t, g.Close())
	next := map[string]int{}
	for _, e := range j.list(t) {
		who, what, _ := strings.Cut(e, "/")
		if what != fmt.Sprint(next[who]) {
			t.Fatalf("proposer %s: %s, want %d", who, what, next[who])
		}
		next[who]++
	}
	if len(j.list(t)) != proposers*each {
		t.Errorf("%d entries", len(j.list(t)))
	}
}

// blockSync makes the syncs of the log wait, until released.
func blockSync(m *disk.Mem) (release func()) {
	gate := make(chan struct{})
	m.SetHook(func(op disk.Op, name string) error {
		if op == disk.OpSync && strings.HasSuffix(name, ".log") {
			<-gate
		}
		return nil
	})
	return func() { m.SetHook(nil); close(gate) }
}

func TestProposalsShareASync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disk.NewMem()
		opts := tiny(m)
		opts.SegmentSize = 1 << 20
		g, j := start(t, opts)
		defer g.Close()
		propose(t, g, "opens the file")
		syncs := m.Calls(disk.OpSync)
		release := blockSync(m)
		for i := range 101 { // the first has a batch for itself: nobody waits for company
			go propose(t, g, fmt.Sprint(i))
			synctest.Wait()
		}
		if n := len(j.list(t)); n != 1 { // L7
			t.Errorf("%d proposals were applied before they were synced", n-1)
		}
		release()
		synctest.Wait()
		if n := m.Calls(disk.OpSync) - syncs; n != 2 {
			t.Errorf("101 proposals took %d syncs, want 2", n)
		}
		for i, e := range j.list(t)[1:] {
			if e != fmt.Sprint(i) {
				t.Fatalf("entry %d is %q", i, e)
			}
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disk.NewMem()
		opts := tiny(m)
		opts.QueueBytes = 2 << 20
		g, j := start(t, opts)
		release := blockSync(m)
		var answered atomic.Int32
		for range 10 {
			go func() {
				if _, err := g.Propose(context.Background(), 1, make([]byte, MaxData/2)); err != nil {
					t.Error(err)
				}
				answered.Add(1)
			}()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := g.Propose(ctx, 1, make([]byte, MaxData/2))
		if !errors.Is(err, proto.Timeout) || !strings.Contains(err.Error(), "nothing was logged") {
			t.Errorf("propose with a full queue: %v", err)
		}
		release()
		synctest.Wait()
		if answered.Load() != 10 || len(j.list(t)) != 10 {
			t.Errorf("%d answers, %d applied", answered.Load(), len(j.list(t)))
		}
		must(t, g.Close())
	})
}

func TestProposeGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disk.NewMem()
		g, j := start(t, tiny(m))
		release := blockSync(m)
		ctx, cancel := context.WithCancel(context.Background())
		go func() { synctest.Wait(); cancel() }()
		if _, err := g.Propose(ctx, 1, []byte("abandoned")); !errors.Is(err, proto.Interrupted) || !errors.Is(err, context.Canceled) {
			t.Errorf("propose: %v", err)
		}
		release()
		propose(t, g, "next")
		must(t, g.Close())
		equal(t, j.list(t), []string{"abandoned", "next"})
	})
}

func TestProposeRefusesWhatNoRecordHolds(t *testing.T) {
	g, _ := start(t, tiny(disk.NewMem()))
	defer g.Close()
	if _, err := g.Propose(context.Background(), 0, nil); !errors.Is(err, proto.Invalid) {
		t.Errorf("op 0: %v", err)
	}
	if _, err := g.Propose(context.Background(), 1, make([]byte, MaxData+1)); !errors.Is(err, proto.TooLarge) {
		t.Errorf("too much data: %v", err)
	}
	propose(t, g, strings.Repeat("x", MaxData), "")
}

// L9: after a failed write or sync nothing is retried and believed.
func TestFailureIsForGood(t *testing.T) {
	for _, op := range []disk.Op{disk.OpWrite, disk.OpSync} {
		m := disk.NewMem()
		g, j := start(t, tiny(m))
		propose(t, g, "good")
		m.Inject(disk.Fault{Op: op, Path: "*.log", Times: 1})
		_, err := g.Propose(context.Background(), 1, []byte("failing"))
		if !errors.Is(err, proto.Unavailable) || !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v", op, err)
		}
		<-g.Failed()
		writes := m.Calls(disk.OpWrite)
		for range 3 {
			if _, again := g.Propose(context.Background(), 1, []byte("later")); !errors.Is(again, proto.Unavailable) {
				t.Errorf("after a failed %s: %v", op, again)
			}
		}
		if err := g.Close(); !errors.Is(err, syscall.EIO) {
			t.Errorf("close: %v", err)
		}
		if n := m.Calls(disk.OpWrite) - writes; n != 0 {
			t.Errorf("%d writes after a failed %s", n, op)
		}
		equal(t, j.list(t), []string{"good"})
		g, _ = start(t, tiny(m))
		must(t, g.Close())
	}
}

// The error of a background preparation must not swallow that of a batch, and is
// the log's own.
func TestFailedPreparationFailsTheGroup(t *testing.T) {
	m := disk.NewMem()
	opts := tiny(m)
	opts.SegmentSize = 16 << 20
	g, _ := start(t, opts)
	m.Inject(disk.Fault{Op: disk.OpOpen, Path: "*.log"}) // preparations have a descriptor of their own
	var err error
	for i := 0; err == nil && i < 20; i++ {
		_, err = g.Propose(context.Background(), 1, make([]byte, MaxData/2))
	}
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("propose: %v", err)
	}
	g.Close()
}

func TestClosedGroup(t *testing.T) {
	g, _ := start(t, tiny(disk.NewMem()))
	must(t, g.Close())
	must(t, g.Close())
	if _, err := g.Propose(context.Background(), 1, nil); !errors.Is(err, proto.Unavailable) {
		t.Errorf("propose: %v", err)
	}
	if err := g.Checkpoint(context.Background()); !errors.Is(err, proto.Unavailable) {
		t.Errorf("checkpoint: %v", err)
	}
}

func TestFolderIsLocked(t *testing.T) { // L15
	m := disk.NewMem()
	g, _ := start(t, tiny(m))
	refused(t, tiny(m), proto.InUse, "/meta/lock", "held by process")
	must(t, g.Close())
	g, _ = start(t, tiny(m))
	must(t, g.Close())
}

func TestCheckpointsAreTakenByLogBytes(t *testing.T) {
	m := disk.NewMem()
	opts := tiny(m)
	opts.CheckpointBytes = 10_000
	g, _ := start(t, opts)
	for i := 0; g.Status().CheckpointIndex == 0; i++ {
		if s := g.Status(); i > 100_000 {
			t.Fatalf("no checkpoint: %+v", s)
		}
		propose(t, g, numbered(i, i+1)...)
	}
	must(t, g.Close())
}

func TestCheckpointsAreTakenByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disk.NewMem()
		opts := tiny(m)
		opts.CheckpointEvery = time.Hour
		g, _ := start(t, opts)
		time.Sleep(90 * time.Minute)
		if got := checkpointFiles(t, m); len(got) != 0 {
			t.Errorf("a checkpoint of nothing: %v", got)
		}
		propose(t, g, "change")
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := checkpointFiles(t, m); len(got) != 1 || g.Status().CheckpointIndex != 1 || g.Status().LogBytes != 0 {
			t.Errorf("checkpoints %v, status %+v", got, g.Status())
		}
		must(t, g.Close())
	})
}

// bulky has snapshots of many bytes.
type bulky struct {
	journal
	size int
}

func (b *bulky) Snapshot() (Snapshot, error) { return bulkySnapshot(b.size), nil }

type bulkySnapshot int

func (s bulkySnapshot) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(make([]byte, int(s)))
	return int64(n), err
}
func (s bulkySnapshot) Release() {}

func TestCheckpointRateIsBounded(t *testing.T) { // L16
	synctest.Test(t, func(t *testing.T) {
		opts := tiny(disk.NewMem())
		opts.CheckpointRate = 1 << 20
		g, err := Open(opts, &bulky{size: 10 << 20})
		must(t, err)
		propose(t, g, "change")
		began := time.Now()
		must(t, g.Checkpoint(context.Background()))
		if took := time.Since(began); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("10 MiB at 1 MiB/s took %v", took)
		}
		propose(t, g, "change")
		began = time.Now()
		must(t, g.Close()) // nobody is served any more: no reason to wait
		if took := time.Since(began); took > time.Second {
			t.Errorf("closing took %v", took)
		}
	})
}

// A checkpoint does not hold up proposals, and its content is of one moment.
func TestProposalsGoOnDuringACheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disk.NewMem()
		g, j := start(t, tiny(m))
		propose(t, g, numbered(0, 10)...)
		gate := make(chan struct{})
		m.SetHook(func(op disk.Op, name string) error {
			if op == disk.OpSync && strings.Contains(name, "checkpoint-") {
				<-gate
			}
			return nil
		})
		done := make(chan error, 1)
		go func() { done <- g.Checkpoint(context.Background()) }()
		synctest.Wait()
		propose(t, g, numbered(10, 50)...)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := g.Checkpoint(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second checkpoint at the same time: %v", err)
		}
		close(gate)
		must(t, <-done)
		if s := g.Status(); s.CheckpointIndex != 10 || s.AppliedIndex != 50 || s.LogBytes < 4000 {
			t.Errorf("status %+v", s)
		}
		clone := crash(m)
		must(t, g.Close())
		equal(t, j.list(t), numbered(0, 50))
		g, j = start(t, tiny(clone))
		equal(t, j.list(t), numbered(0, 50))
		must(t, g.Close())
	})
}

func TestSuperfluousFilesAreRemoved(t *testing.T) {
	m := disk.NewMem()
	g, _ := start(t, tiny(m))
	for round := range 5 {
		propose(t, g, numbered(100*round, 100*round+100)...)
		must(t, g.Checkpoint(context.Background()))
		must(t, g.Checkpoint(context.Background())) // nothing new: nothing done
		want := []string{checkpointName(uint64(100 * round)), checkpointName(uint64(100*round + 100))}
		if round == 0 {
			want = want[1:]
		}
		if got := checkpointFiles(t, m); !slices.Equal(got, want) {
			t.Fatalf("round %d: %v", round, got)
		}
		first, _ := parseName(segmentFiles(t, m)[0], "master-", ".log")
		if older := uint64(100 * round); first > older+1 || older > 100 && first+50 < older {
			t.Errorf("round %d: the log begins with record %d", round, first)
		}
		if s := g.Status(); s.FirstIndex != first || s.Segments != len(segmentFiles(t, m)) {
			t.Errorf("status %+v", s)
		}
	}
	must(t, g.Close())
}

func TestFailedCheckpointHarmsNothing(t *testing.T) {
	for _, op := range []disk.Op{disk.OpOpen, disk.OpWrite, disk.OpSync, disk.OpRename} {
		m := disk.NewMem()
		g, _ := start(t, tiny(m))
		propose(t, g, numbered(0, 5)...)
		remove := m.Inject(disk.Fault{Op: op, Path: "checkpoint-*"})
		if err := g.Checkpoint(context.Background()); !errors.Is(err, syscall.EIO) || g.Status().CheckpointError == nil {
			t.Errorf("%s: %v", op, err)
		}
		propose(t, g, numbered(5, 10)...)
		remove()
		if got := checkpointFiles(t, m); len(got) != 0 {
			t.Errorf("%s left %v", op, got)
		}
		must(t, g.Checkpoint(context.Background()))
		if s := g.Status(); s.CheckpointError != nil || s.CheckpointIndex != 10 {
			t.Errorf("status %+v", s)
		}
		must(t, g.Close())
	}
}
