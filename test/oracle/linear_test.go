package oracle

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/distrifs/distrifs/test/cluster"
)

func init() { cluster.Register("concurrent calls", concurrentCalls) }

// Calls that several workers on two mounts make at the same moment, on the same few names, on one
// register in a file, and on one log that all append to, are answered as if they had been made
// one after the other, each between its begin and its end. Through the page cache this is so for the bytes
// of a file only when calls do not overlap (regular): the kernel shows what a write brings to readers on
// its own mount before the write has been carried out.
func TestConcurrentCallsAreLinearizable(t *testing.T) { // G3, G4
	c := cluster.Start(t, cluster.Options{ChunkSize: chunkSize, Memory: true})
	a, b := c.Mount(), c.Mount()
	for what := range objects {
		t.Run(what, func(t *testing.T) {
			if out, err := c.Job("concurrent calls", what, a.Path, b.Path, strconv.Itoa(*roundsFlag)).Wait(cluster.JobLimit); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// object is something that calls work on at the same moment.
type object struct {
	model porcupine.Model
	calls int // of a worker in a round
	// check tells whether a history is right; nil: whether the model says so.
	check func(history []porcupine.Operation) bool
	// prepare makes it new; the path is that of a folder.
	prepare func(folder string) error
	// worker opens what it needs in a folder, and gives what makes one call and its answer.
	worker func(folder string, id int, r *rand.Rand) (func() (input, output any), error)
}

var objects = map[string]object{"names": names, "register": register, "cached": cachedRegister, "log": appendLog}

const (
	concurrent = 6               // workers, on the two mounts in turn
	checkTime  = 5 * time.Second // looking for an order takes exponential time, at worst
)

// concurrentCalls runs rounds on new objects, and checks the history of each.
func concurrentCalls(args []string) error {
	o := objects[args[0]]
	rounds, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	for round := range rounds {
		folder := fmt.Sprintf("%s-%d", args[0], round)
		if err := os.Mkdir(filepath.Join(args[1], folder), 0o755); err != nil {
			return err
		}
		if err := o.prepare(filepath.Join(args[1], folder)); err != nil {
			return err
		}
		history, err := o.run([]string{filepath.Join(args[1], folder), filepath.Join(args[2], folder)}, uint64(round))
		if err != nil {
			return err
		}
		if !o.explains(history) {
			return fmt.Errorf("round %d: no order explains\n%s", round, told(o.model, history))
		}
	}
	return nil
}

func (o object) explains(history []porcupine.Operation) bool {
	if o.check != nil {
		return o.check(history)
	}
	return porcupine.CheckOperationsTimeout(o.model, history, checkTime) != porcupine.Illegal
}

// run has all workers make their calls at the same time.
func (o object) run(folders []string, seed uint64) (history []porcupine.Operation, err error) {
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		zero = time.Now()
	)
	for id := range concurrent {
		call, err := o.worker(folders[id%2], id, rand.New(rand.NewPCG(seed, uint64(id))))
		if err != nil {
			return nil, err
		}
		wg.Go(func() {
			for range o.calls {
				begin := time.Since(zero)
				in, out := call()
				end := time.Since(zero)
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: id, Input: in, Output: out, Call: begin.Nanoseconds(), Return: end.Nanoseconds()})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return history, nil
}

// told writes a history, one call a line.
func told(m porcupine.Model, history []porcupine.Operation) string {
	var b strings.Builder
	for _, op := range history {
		fmt.Fprintf(&b, "%9d to %9d ns, worker %d, mount %c: %s\n", op.Call, op.Return, op.ClientId, letters[op.ClientId%2], m.DescribeOperation(op.Input, op.Output))
	}
	return b.String()
}
