package sim

import (
	"flag"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "only this seed; with -seeds the first of them")
	seedsFlag  = flag.Int("seeds", 0, "so many seeds; 0: two thousand, or as many as a minute is enough for")
	forFlag    = flag.Duration("for", 0, "new seeds for so long, unless -seeds says how many")
	coresFlag  = flag.Int("cores", runtime.NumCPU(), "so many processes share the seeds; a profile shows what one of one core does")
	callsFlag  = flag.Int("calls", 30, "of each worker")
	faultsFlag = flag.String("faults", "break,slow,kill,part,power,blackout", "kinds of faults, with commas between: break, slow, part, kill, power, flip, sick, blackout; or none, or all")
	behindFlag = flag.Bool("behind", false, "clients answer changes of names before they are durable; there are no blackouts then")
	logFlag    = flag.Bool("log", false, "show what the parts log")
)

// What is enough if nobody said how much: seeds, and the real time in which they are begun.
const (
	usualSeeds  = 2000
	usualBudget = time.Minute
)

// G1 to G8: whatever happens, the cluster is one filesystem.
func TestSimulation(t *testing.T) {
	all := work{first: 1, count: usualSeeds, budget: usualBudget}
	switch {
	case *seedsFlag != 0:
		all = work{first: max(1, *seedFlag), count: *seedsFlag, budget: *forFlag}
	case *seedFlag != 0:
		all = work{first: *seedFlag, count: 1}
	case *forFlag != 0:
		all = work{first: uint64(time.Now().UnixNano()), count: math.MaxInt, budget: *forFlag}
	}
	began := time.Now()
	done := 0
	if cores := min(*coresFlag, all.count); cores > 1 {
		done = all.inProcesses(t, cores)
	} else {
		done = all.run(t)
	}
	t.Logf("%d seeds, %.1f a second", done, float64(done)/time.Since(began).Seconds())
}

// work is seeds to run.
type work struct {
	first  uint64
	count  int
	budget time.Duration // in which they are begun; 0: no limit
}

// run runs the seeds until one fails, and tells how many did not.
func (w work) run(t *testing.T) (done int) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that a seed is likely to replay
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	faults, err := parseFaults(*faultsFlag)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for done < w.count && (w.budget == 0 || time.Since(began) < w.budget) && runSeed(t, w.first+uint64(done), faults) {
		done++
	}
	return done
}

// inProcesses has processes run the seeds, until one fails in each.
func (w work) inProcesses(t *testing.T, count int) (done int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range count {
		from, to := w.count/count*i, w.count/count*(i+1)
		if i == count-1 {
			to = w.count
		}
		all.Go(func() {
			output, err := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestSimulation$", "-test.v", "-test.timeout", "0", "-cores", "1",
				"-seed", fmt.Sprint(w.first+uint64(from)), "-seeds", fmt.Sprint(to-from), "-for", w.budget.String(),
				"-calls", fmt.Sprint(*callsFlag), "-faults", *faultsFlag, fmt.Sprintf("-behind=%v", *behindFlag), fmt.Sprintf("-log=%v", *logFlag)).CombinedOutput()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("%v:\n%s", err, output)
			}
			if found := seedsDone.FindSubmatch(output); found != nil {
				n, _ := strconv.Atoi(string(found[1]))
				done += n
			}
		})
	}
	all.Wait()
	return done
}

var seedsDone = regexp.MustCompile(`(\d+) seeds, `)

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
