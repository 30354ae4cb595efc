package bench

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/distrifs/distrifs/test/cluster"
)

var (
	stallFiles  = flag.Int("stall.files", 0, "so many files are there when the master is killed")
	stallRounds = flag.Int("stall.rounds", 3, "how often a chunkserver is killed, or stopped: each in turn; and the master killed")
)

func init() { cluster.Register("stalls", stallsJob) }

const (
	stallCalm    = 3 * time.Second // before a fault
	stallAfter   = 4 * time.Second // after it
	stallKilled  = time.Second     // in which a death is felt
	stallPause   = 6 * time.Second // of a process that is stopped
	stallExtent  = 128 << 20       // bytes of the file that is written over and over
	stallDropped = time.Millisecond
)

// timedCall is a call of a writer.
type timedCall struct {
	Began time.Time
	Took  time.Duration
}

// stallsJob writes a file from its beginning to its end, again and again, until a file
// appears; then it prints its calls that took longer than stallDropped. Its arguments: the
// file, the size of a write, whether each is synced, and the file that ends it.
func stallsJob(args []string) error {
	f, err := os.Create(args[0])
	if err != nil {
		return err
	}
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	piece, calls := make([]byte, size), []timedCall{}
	for at := int64(0); ; at = (at + int64(size)) % stallExtent {
		if _, err := os.Lstat(args[3]); err == nil {
			break
		}
		began := time.Now()
		if _, err := f.WriteAt(piece, at); err != nil {
			return err
		}
		if args[2] == "true" {
			if err := f.Sync(); err != nil {
				return err
			}
		}
		if took := time.Since(began); took > stallDropped {
			calls = append(calls, timedCall{began, took})
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(calls)
}

// longest of the calls that ended in a span.
func longest(calls []timedCall, from, to time.Time) (most time.Duration) {
	for _, c := range calls {
		if end := c.Began.Add(c.Took); end.After(from) && !end.After(to) {
			most = max(most, c.Took)
		}
	}
	return most
}

// writer has a name and writes in its own way.
type writer struct {
	name  string
	size  int
	synch bool
}

var writers = []writer{{"sequential_1M", 1 << 20, false}, {"fsync_4k", 4096, true}}

// stalls are a writer's longest calls in one round: of those that ended within a span before
// something happened, within such a span behind it, and later.
type stalls struct{ calm, struck, later time.Duration }

// measureStall runs a writer and has something happen to it.
func measureStall(b *testing.B, s *stage, w writer, span time.Duration, happens func()) stalls {
	b.Helper()
	dir := b.TempDir()
	stop := filepath.Join(dir, "stop")
	job := s.c.Job("stalls", filepath.Join(s.m.Path, w.name), strconv.Itoa(w.size), strconv.FormatBool(w.synch), stop)
	time.Sleep(stallCalm)
	at := time.Now()
	happens()
	time.Sleep(stallAfter)
	if err := os.WriteFile(stop, nil, 0o644); err != nil {
		b.Fatal(err)
	}
	out, err := job.Wait(workLimit)
	var calls []timedCall
	if err == nil {
		err = json.Unmarshal([]byte(out), &calls)
	}
	if err != nil {
		b.Fatalf("%s: %v: %s", w.name, err, out)
	}
	return stalls{longest(calls, at.Add(-span), at), longest(calls, at, at.Add(span)), longest(calls, at.Add(span), time.Now())}
}

// reportStalls gives the median of the rounds' longest calls, and the longest of all.
func reportStalls(b *testing.B, rounds []stalls) {
	b.ReportMetric(0, "ns/op")
	for name, of := range map[string]func(stalls) time.Duration{
		"calm":   func(s stalls) time.Duration { return s.calm },
		"struck": func(s stalls) time.Duration { return s.struck },
		"later":  func(s stalls) time.Duration { return s.later },
	} {
		var all []float64
		for _, r := range rounds {
			all = append(all, float64(of(r).Microseconds())/1e3)
		}
		slices.Sort(all)
		b.ReportMetric(all[(len(all)-1)/2], name+"-ms")
		b.ReportMetric(all[len(all)-1], name+"-max-ms")
	}
}

// BenchmarkStalls measures the longest call of a writer while each chunkserver of its chain
// is killed, and is stopped, and while the master is killed and started again (struck), and
// before, in as long a time (calm): the machine's other work makes calls long, too. later is
// when what was killed or stopped comes back. Of each, the median of the rounds and the longest.
func BenchmarkStalls(b *testing.B) {
	c := cluster.Start(b, cluster.Options{Memory: true})
	s := &stage{c: c, m: c.Mount()}
	whole := func() {
		c.WaitAlive()
		c.WaitHealthy(cluster.StartLimit)
	}
	for _, w := range writers {
		report := func(name string, span time.Duration, happens func(round int)) {
			b.Run(name+"/"+w.name, func(b *testing.B) {
				var rounds []stalls
				for b.Loop() {
					for round := range *stallRounds {
						whole()
						r := measureStall(b, s, w, span, func() { happens(round) })
						rounds = append(rounds, r)
						b.Logf("%s, %d: longest call %v, %v before, %v later", name, round, r.struck, r.calm, r.later)
					}
				}
				reportStalls(b, rounds)
			})
		}
		report("kill_chunkserver", stallKilled, func(i int) {
			victim := c.Chunkservers[i%len(c.Chunkservers)]
			victim.Kill()
			time.Sleep(stallAfter)
			victim.Launch()
		})
		report("stop_chunkserver", stallPause, func(i int) {
			victim := c.Chunkservers[i%len(c.Chunkservers)]
			victim.Pause()
			time.Sleep(stallPause)
			victim.Resume()
		})
		if w.synch {
			makeFiles(b, c, *stallFiles)
		}
		report("restart_master", stallAfter, func(int) {
			c.Master.Kill()
			c.Master.Launch()
		})
	}
}

// makeFiles makes empty files, in folders of ten thousand.
func makeFiles(b *testing.B, c *cluster.Cluster, n int) {
	b.Helper()
	cl := c.Client()
	var group errgroup.Group
	group.SetLimit(64)
	var failed sync.Once
	for i := range n {
		folder := fmt.Sprintf("/many-%d", i/10_000)
		if i%10_000 == 0 {
			if err := cl.MkdirAll(b.Context(), folder, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		group.Go(func() error {
			f, err := cl.Create(b.Context(), fmt.Sprintf("%s/%d", folder, i))
			if err == nil {
				err = f.Close()
			}
			if err != nil {
				failed.Do(func() { b.Error(err) })
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
}
