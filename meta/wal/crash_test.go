package wal

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/distrifs/distrifs/internal/disk"
)

// storm is proposers at work on one group, and the list of what they were told.
type storm struct {
	mu    sync.Mutex
	acked []string
}

func (s *storm) snapshot() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.acked)
}

func (s *storm) found(entries []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = slices.Clone(entries)
}

// run has a few proposers propose, now and then take a checkpoint, and close.
func (s *storm) run(g *Group, random *rand.Rand, round int) {
	var group sync.WaitGroup
	for p := range 3 {
		sizes := [12]int{}
		for i := range sizes {
			sizes[i] = random.IntN(900)
		}
		checkpointAt := random.IntN(40)
		group.Go(func() {
			for i, size := range sizes {
				entry := fmt.Sprintf("%d/%d/%d %s", round, p, i, strings.Repeat("x", size))
				if _, err := g.Propose(context.Background(), 1, []byte(entry)); err == nil {
					s.mu.Lock()
					s.acked = append(s.acked, entry)
					s.mu.Unlock()
				}
				if i == checkpointAt {
					_ = g.Checkpoint(context.Background()) // may fail when the disk does
				}
			}
		})
	}
	group.Wait()
	_ = g.Close()
}

var seeds = flag.Uint64("seeds", 400, "crash tests, of four power cuts each")

// G8: power cuts at random moments, three in a row, while proposers and the
// checkpointer work and while recovery does: all that was acknowledged is there, in
// order, exactly once.
func TestCrashesLoseNothingAcknowledged(t *testing.T) {
	for seed := range *seeds {
		crashes(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func crashes(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	m := disk.NewMem()
	var required []string // must be there after the next start
	for round := range 4 {
		// The cut comes before some call, maybe one of recovery itself.
		s := &storm{acked: required}
		clone, requiredThen := cutPower(m, random.Int64N(150), random.Uint64(), s)
		opts := tiny(m)
		opts.CheckpointBytes = 3000
		g, j := start(t, opts)
		found := j.list(t)
		holds(t, found, required)
		s.found(found) // and is durable from now on, acknowledged or not
		s.run(g, random, round)
		m, required = clone(), requiredThen()
		final := j.list(t)
		exactlyOnce(t, final)

		// The log decides what comes when: a start after the cut finds a
		// beginning of what this group has applied in the end.
		copied := tiny(m.CrashClone(0))
		g, j = start(t, copied)
		if list := j.list(t); len(list) > len(final) || !slices.Equal(list, final[:len(list)]) {
			t.Errorf("round %d: recovered %d entries which do not begin the %d", round, len(list), len(final))
		}
		must(t, g.Close())
	}
}

// cutPower clones the disk before one of the next calls to it. The functions give
// the clone, and what was acknowledged before it was made; when there were fewer
// calls, they make it.
func cutPower(m *disk.Mem, calls int64, seed uint64, s *storm) (clone func() *disk.Mem, required func() []string) {
	var count atomic.Int64
	var once sync.Once
	var cloned *disk.Mem
	var acked []string
	cut := func() {
		once.Do(func() {
			acked = s.snapshot() // first: what is acknowledged later may be lost
			cloned = m.CrashClone(seed)
		})
	}
	m.SetHook(func(disk.Op, string) error {
		if count.Add(1) == calls+1 {
			cut()
		}
		return nil
	})
	return func() *disk.Mem { cut(); return cloned }, func() []string { return acked }
}

// holds checks that all entries wanted are there.
func holds(t *testing.T, list, want []string) {
	t.Helper()
	there := map[string]bool{}
	for _, e := range list {
		there[e] = true
	}
	for _, e := range want {
		if !there[e] {
			t.Errorf("%.20q was acknowledged and is lost", e)
		}
	}
}

func exactlyOnce(t *testing.T, list []string) {
	t.Helper()
	seen := map[string]bool{}
	next := map[string]int{}
	for _, e := range list {
		if seen[e] {
			t.Errorf("%.20q was applied twice", e)
		}
		seen[e] = true
		name, _, _ := strings.Cut(e, " ")
		who := name[:strings.LastIndexByte(name, '/')]
		var i int
		fmt.Sscan(name[len(who)+1:], &i)
		if i < next[who] {
			t.Errorf("%s: %d after %d", who, i, next[who]-1)
		}
		next[who] = i + 1
	}
}

// Each single call to the disk fails in turn, once or from then on, while
// starting, proposing, taking a checkpoint and closing. What was acknowledged is
// there after the next start, and after a power cut.
func TestEveryCallFailsInTurn(t *testing.T) {
	ops := []disk.Op{disk.OpOpen, disk.OpMkdir, disk.OpRemove, disk.OpRename, disk.OpReadDir, disk.OpStat,
		disk.OpSyncDir, disk.OpLock, disk.OpRead, disk.OpWrite, disk.OpSync, disk.OpTruncate}
	base := withCheckpoints(t)
	for _, op := range ops {
		fired := 0
		for _, fresh := range []bool{true, false} {
			for after := 0; ; after++ {
				m := disk.NewMem()
				if !fresh {
					m = crash(base)
				}
				if !failing(t, m, disk.Fault{Op: op, After: after, Times: after % 2, Partial: after%3 == 0}) {
					break
				}
				fired++
			}
		}
		if fired == 0 {
			t.Errorf("%s was never called", op)
		}
	}
}

func failing(t *testing.T, m *disk.Mem, fault disk.Fault) (fired bool) {
	t.Helper()
	before := m.Calls(fault.Op)
	remove := m.Inject(fault)
	j := &journal{}
	var acked []string
	var had int
	g, err := Open(tiny(m), j)
	if err == nil {
		had = len(j.list(t))
		for i, e := range numbered(1000, 1080) {
			if _, err := g.Propose(context.Background(), 1, []byte(e)); err == nil {
				acked = append(acked, e)
			}
			if i%30 == 29 {
				_ = g.Checkpoint(context.Background()) // its error is not the point here
			}
		}
		_ = g.Close()
	}
	fired = m.Calls(fault.Op)-before > fault.After
	remove()
	afterwards := func(m *disk.Mem, what string, entries int, required []string) (*Group, []string) {
		g, j := start(t, tiny(m))
		list := j.list(t)
		if holds(t, list, required); len(list) < entries || t.Failed() {
			t.Fatalf("%+v, then %s: %d entries, want %d", fault, what, len(list), entries)
		}
		return g, list
	}
	for seed := range uint64(4) {
		g, _ := afterwards(m.CrashClone(seed), "a power cut", had, acked)
		must(t, g.Close())
	}
	// The next start sees what is in the page cache, even where its sync has
	// failed (L9). Once it serves, all that it found is durable.
	g, found := afterwards(m, "a restart", had, acked)
	propose(t, g, "one more")
	var clones []*disk.Mem
	for seed := range uint64(8) {
		clones = append(clones, m.CrashClone(seed))
	}
	must(t, g.Close())
	for _, clone := range clones {
		g, _ := afterwards(clone, "a restart and a power cut", len(found)+1, append(found, "one more"))
		must(t, g.Close())
	}
	return fired
}
