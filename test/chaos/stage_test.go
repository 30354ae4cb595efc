package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/distrifs/distrifs/test/cluster"
)

const (
	servers  = 5
	replicas = 3
	workers  = 3

	chunkSize = 1 << 20
	diskBytes = 192 << 20 // of a chunkserver; the workers keep a third of it

	healLimit = 3 * time.Minute // only a fault reaches it
	healNews  = 5 * time.Second
)

// stage is a cluster with workers on it, to which faults happen.
type stage struct {
	t       *testing.T
	c       *cluster.Cluster
	network *cluster.Network // nil: there are no hosts
	began   time.Time
	dir     string // of what the workers and the test tell each other
	jobs    []*cluster.Job
	said    time.Time // when a line was printed last
}

// newStage starts everything, and says what cannot be had.
func newStage(t *testing.T, seed uint64) *stage {
	s := &stage{t: t, began: time.Now(), dir: t.TempDir()}
	s.say("seed %d", seed)
	o := cluster.Options{
		Chunkservers: servers, Replicas: replicas, MinReplicas: 2, ChunkSize: chunkSize,
		ChunkdArgs: []string{"--scrub-period", "16s"},
	}
	var err error
	if s.network, err = cluster.NewNetwork(t); err != nil {
		s.say("nobody is parted: %v", err)
	}
	o.Network = s.network
	if os.Geteuid() == 0 {
		o.DiskBytes = diskBytes
	} else {
		s.say("no disk is filled: only root can make small ones")
	}
	s.c = cluster.Start(t, o)
	s.c.Mount()
	s.c.Mount()
	for i := range workers {
		s.work(i, seed)
	}
	s.say("a master, %d chunkservers with %d replicas, %d mounts, %d programs working on them", servers, replicas, len(s.c.Mounts), workers)
	return s
}

func (s *stage) work(i int, seed uint64) {
	var folders []string
	for _, m := range s.c.Mounts {
		folders = append(folders, filepath.Join(m.Path, workerName(i)))
	}
	s.jobs = append(s.jobs, s.c.Job("worker", append([]string{strconv.FormatUint(seed+uint64(i), 10), s.dir, workerName(i)}, folders...)...))
}

func workerName(i int) string { return fmt.Sprintf("worker-%d", i) }

// has tells whether there is what a kind of fault needs.
func (s *stage) has(n need) bool {
	switch n {
	case hosts:
		return s.network != nil
	case ownDisks:
		return os.Geteuid() == 0
	default:
		return true
	}
}

// say prints a line of the timeline.
func (s *stage) say(format string, args ...any) {
	s.said = time.Now()
	now := s.said.Sub(s.began)
	fmt.Printf("%3d:%04.1f  %s\n", int(now.Minutes()), (now % time.Minute).Seconds(), fmt.Sprintf(format, args...))
}

// hold lets time pass, and watches the workers meanwhile.
func (s *stage) hold(d time.Duration) {
	for end := time.Now().Add(d); ; {
		s.watch()
		left := time.Until(end)
		if left <= 0 {
			return
		}
		time.Sleep(min(left, 100*time.Millisecond))
	}
}

// launch starts servers that were killed, and waits until the chunkservers concerned,
// which are all if the master is among them, have registered: before, the master may believe what was.
func (s *stage) launch(processes ...*cluster.Process) {
	s.t.Helper()
	concerned := processes
	if slices.Contains(processes, s.c.Master) {
		concerned = s.c.Chunkservers
	}
	registered := func(p *cluster.Process) int { return strings.Count(p.Output(), "registered with the master") }
	before := map[*cluster.Process]int{}
	for _, p := range concerned {
		before[p] = registered(p)
	}
	for _, p := range processes {
		p.Launch()
	}
	s.until("chunkservers have registered", func() error {
		for _, p := range concerned {
			if p != s.c.Master && registered(p) == before[p] {
				return fmt.Errorf("%s has not registered", p.Name)
			}
		}
		return nil
	})
}

// watch ends the test when a worker has ended.
func (s *stage) watch() {
	s.t.Helper()
	for i, job := range s.jobs {
		if job.Done() {
			s.say("FAILED: %s has ended", workerName(i))
			s.t.Fatalf("%s: %s", workerName(i), job.Output())
		}
	}
}

// until waits for a condition, and watches the workers meanwhile. It says now and then
// what it waits for.
func (s *stage) until(what string, probe func() error) {
	s.t.Helper()
	news := time.Now().Add(healNews)
	for end := time.Now().Add(healLimit); ; {
		s.watch()
		err := probe()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.say("FAILED: it did not heal")
			s.t.Fatalf("waited %v until %s: %v", healLimit, what, err)
		}
		if time.Now().After(news) {
			fmt.Printf("          %v\n", err)
			news = time.Now().Add(healNews)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// whole is nil when nothing is missing, anywhere.
func (s *stage) whole() error {
	reply, err := s.c.Status()
	if err != nil {
		return err
	}
	if reply.SafeMode {
		return errors.New("the master is in safe mode")
	}
	for _, node := range reply.Nodes {
		if !node.Alive {
			return fmt.Errorf("%s is not alive for the master", node.Address)
		}
		for _, disk := range node.Disks {
			if disk.Fault != "" {
				return fmt.Errorf("%s: %s: %s", node.Address, disk.Path, disk.Fault)
			}
		}
	}
	if n := reply.Chunks; n.UnderReplicated != 0 || n.Missing != 0 || n.CorruptReplicas != 0 {
		return fmt.Errorf("%d chunks under-replicated, %d missing, %d replicas corrupt", n.UnderReplicated, n.Missing, n.CorruptReplicas)
	}
	return nil
}

// suffer has a fault happen, waits until all is whole again, and tells what it cost.
func (s *stage) suffer(f fault) {
	s.t.Helper()
	s.hold(f.pause)
	s.until("nothing is missing", s.whole)
	began := time.Now()
	f.kind.do(s, f)
	s.hold(time.Second) // what is wrong is reported meanwhile
	s.until("all is whole again", s.whole)
	stall, total := s.progress(began)
	s.say("  whole again after %.1f s; longest stall %v; verified %s so far",
		time.Since(s.said).Seconds(), stall, humanize.IBytes(total.Verified))
}

// progress sums up what the workers tell, and finds the longest call of those that were
// under way since a moment.
func (s *stage) progress(since time.Time) (longest call, total progress) {
	for i := range s.jobs {
		var p progress
		text, err := os.ReadFile(filepath.Join(s.dir, workerName(i)+".progress"))
		if errors.Is(err, os.ErrNotExist) {
			continue // it has only just begun
		}
		if err == nil {
			err = json.Unmarshal(text, &p)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		total.Verified += p.Verified
		total.Written += p.Written
		total.Calls += p.Calls
		for _, c := range p.Slow {
			if c.Began.Add(c.Took).After(since) && c.Took > longest.Took {
				longest = c
			}
		}
	}
	return longest, total
}

// finish ends the workers, which compare everything once more, and looks at what they
// leave: whole, without a fault for fsck, and the same after all servers were killed and
// every cache is empty.
func (s *stage) finish() {
	s.t.Helper()
	s.watch()
	if err := os.WriteFile(filepath.Join(s.dir, "stop"), nil, 0o644); err != nil {
		s.t.Fatal(err)
	}
	for i, job := range s.jobs {
		if out, err := job.Wait(cluster.JobLimit); err != nil {
			s.t.Fatalf("%s: %v: %s", workerName(i), err, out)
		}
	}
	jobs := s.jobs
	s.jobs = nil
	s.until("all is whole", s.whole)
	s.redundant()
	s.say("every program has found all its files as it left them")

	killAllServers(s, fault{})
	s.c.WaitAlive()
	s.until("all is whole", s.whole)
	fresh := s.c.Mount() // which has nothing cached
	for i := range jobs {
		s.c.Shell(s.dir, fmt.Sprintf("diff -r %s %s", workerName(i), filepath.Join(fresh.Path, workerName(i))))
	}
	s.redundant()
	s.say("so has everybody after a new start of everything")
	s.jobs = jobs
	stall, total := s.progress(s.began)
	s.say("longest stall %v; %d calls, %s written, %s verified; nothing lost, no wrong byte, no error",
		stall, total.Calls, humanize.IBytes(total.Written), humanize.IBytes(total.Verified))
}

// redundant asks as an operator would.
func (s *stage) redundant() {
	s.t.Helper()
	var status struct {
		Chunks struct {
			UnderReplicated json.Number `json:"under_replicated"`
		}
	}
	out := s.c.Tool("status", "--json").Must()
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	if n := status.Chunks.UnderReplicated; n != "" && n != "0" {
		s.t.Fatalf("%s chunks are under-replicated in the end", n)
	}
	s.until("fsck finds nothing", func() error { // what was deleted last is freed within seconds
		if out, err := s.c.Tool("fsck").Wait(cluster.JobLimit); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}
