package sim

import (
	"flag"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "only this seed")
	seedsFlag  = flag.Int("seeds", 0, "so many seeds; 0: a hundred, or as many as 30 s are enough for")
	forFlag    = flag.Duration("for", 0, "new seeds for so long, instead of -seeds")
	callsFlag  = flag.Int("calls", 30, "of each worker")
	faultsFlag = flag.String("faults", "break,slow,kill,part,power,blackout", "kinds of faults, with commas between: break, slow, part, kill, power, flip, sick, blackout; or none, or all")
	behindFlag = flag.Bool("behind", false, "clients answer changes of names before they are durable; there are no blackouts then")
	logFlag    = flag.Bool("log", false, "show what the parts log")
)

// G1 to G8: whatever happens, the cluster is one filesystem.
func TestSimulation(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that a seed is likely to replay
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	faults, err := parseFaults(*faultsFlag)
	if err != nil {
		t.Fatal(err)
	}
	first, count, budget := uint64(1), usualSeeds, usualBudget
	switch {
	case *seedsFlag != 0:
		count, budget = *seedsFlag, math.MaxInt64
	case *seedFlag != 0:
		first, count = *seedFlag, 1
	case *forFlag != 0:
		first, count, budget = uint64(time.Now().UnixNano()), math.MaxInt, *forFlag
	}
	began := time.Now()
	done := 0
	for done < count && time.Since(began) < budget && runSeed(t, first+uint64(done), faults) {
		done++
	}
	t.Logf("%d seeds, %.1f a second", done, float64(done)/time.Since(began).Seconds())
}

// What is enough if nobody said how much: seeds, and the real time in which they are begun.
const (
	usualSeeds  = 100
	usualBudget = 30 * time.Second
)

// runSeed runs one seed and checks what happened; false: something is wrong.
func runSeed(t *testing.T, seed uint64, faults []fault) bool {
	log := slog.New(slog.DiscardHandler)
	if *logFlag {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	hung := time.AfterFunc(5*time.Minute, func() { // in real time: somebody waits with a mutex held
		debug.SetTraceback("all")
		panic(seed)
	})
	defer hung.Stop()
	var h *history
	var wrong []string
	synctest.Test(t, func(*testing.T) {
		c := newCluster(seed, log)
		h, c.namesBehind = c.history, *behindFlag
		if err := simulate(c, *callsFlag, faults); err != nil {
			wrong = append(wrong, err.Error())
		}
		for _, err := range c.stop() {
			wrong = append(wrong, err.Error())
		}
	})
	wrong = append(wrong, h.check()...)
	if len(wrong) == 0 {
		return true
	}
	for _, w := range wrong {
		t.Errorf("seed %d: %s", seed, w)
	}
	t.Logf("seed %d was:\n%s", seed, h.timeline())
	return false
}
