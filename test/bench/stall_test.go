package bench

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/distrifs/distrifs/test/cluster"
)

var stallFiles = flag.Int("stall.files", 0, "so many files are there when the master is killed")

func init() { cluster.Register("stalls", stallsJob) }

const (
	stallCalm    = 3 * time.Second // before a fault
	stallAfter   = 4 * time.Second // after it
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

// longest of the calls that had ended by a moment, and of the others.
func longest(calls []timedCall, at time.Time) (before, since time.Duration) {
	for _, c := range calls {
		if c.Began.Add(c.Took).Before(at) {
			before = max(before, c.Took)
		} else {
			since = max(since, c.Took)
		}
	}
	return before, since
}

// writer has a name and writes in its own way.
type writer struct {
	name  string
	size  int
	synch bool
}

var writers = []writer{{"sequential_1M", 1 << 20, false}, {"fsync_4k", 4096, true}}

// measureStall runs a writer, has something happen to it, and gives its longest call before, and
// during and after.
func measureStall(b *testing.B, s *stage, w writer, happens func()) (calm, stall time.Duration) {
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
	return longest(calls, at)
}

// BenchmarkStalls measures the longest call of a writer while each chunkserver of its chain
// is killed, and is stopped, and while the master is killed and started again. calm is the longest
// call without any of it.
func BenchmarkStalls(b *testing.B) {
	c := cluster.Start(b, cluster.Options{Memory: true})
	s := &stage{c: c, m: c.Mount()}
	whole := func() {
		c.WaitAlive()
		c.WaitHealthy(cluster.StartLimit)
	}
	for _, w := range writers {
		report := func(name string, rounds int, happens func(round int)) {
			b.Run(name+"/"+w.name, func(b *testing.B) {
				var calm, stall time.Duration
				for b.Loop() {
					for round := range rounds {
						whole()
						before, during := measureStall(b, s, w, func() { happens(round) })
						calm, stall = max(calm, before), max(stall, during)
						b.Logf("%s, %d: longest call %v, %v without", name, round, during, before)
					}
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(calm.Milliseconds()), "calm-ms")
				b.ReportMetric(float64(stall.Milliseconds()), "stall-ms")
			})
		}
		report("kill_chunkserver", len(c.Chunkservers), func(i int) {
			c.Chunkservers[i].Kill()
			time.Sleep(stallAfter)
			c.Chunkservers[i].Launch()
		})
		report("stop_chunkserver", len(c.Chunkservers), func(i int) {
			c.Chunkservers[i].Pause()
			time.Sleep(stallPause)
			c.Chunkservers[i].Resume()
		})
		if w.synch {
			makeFiles(b, c, *stallFiles)
		}
		report("restart_master", 1, func(int) {
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
