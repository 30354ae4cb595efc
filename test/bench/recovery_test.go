package bench

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto/pb"
	"github.com/distrifs/distrifs/test/cluster"
)

var (
	lostGiB    = flag.Float64("recovery.gib", 1, "what the chunkserver has that is lost")
	replicas   = flag.Int("recovery.replicas", 3, "of each chunk; there is one chunkserver more")
	onDisk     = flag.Bool("recovery.disk", false, "stores on the disk, and not in memory")
	repairRate = flag.String("recovery.rate", "", "--repair-rate; empty: no limit for BenchmarkRedundancy, the default for a reader")
)

// recoveryQuiet is how long nothing is written before a chunkserver dies: what was written
// a moment ago is not repaired at once.
const recoveryQuiet = 12 * time.Second

func init() { cluster.Register("read for ever", readForEver) }

// sample is how much was read by a moment.
type sample struct {
	At    time.Time
	Bytes int64
}

// readForEver reads a file past the kernel's cache until another one appears, and then
// prints how far it was at each moment.
func readForEver(args []string) error {
	f, err := os.OpenFile(args[0], os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	samples := []sample{{At: time.Now()}}
	buffer := make([]byte, 1<<20)
	for total := int64(0); ; {
		if _, err := os.Lstat(args[1]); err == nil {
			break
		}
		n, err := f.Read(buffer)
		if errors.Is(err, io.EOF) {
			_, err = f.Seek(0, io.SeekStart)
		}
		if err != nil {
			return err
		}
		total += int64(n)
		samples = append(samples, sample{time.Now(), total})
	}
	return json.NewEncoder(os.Stdout).Encode(samples)
}

// rate of reading within a span, in bytes a second, and the longest that a read took.
func rate(samples []sample, from, to time.Time) (bytes float64, longest time.Duration) {
	first, last := samples[0], samples[0]
	for _, s := range samples {
		switch {
		case s.At.Before(from):
			first = s
		case s.At.Before(to):
			longest = max(longest, s.At.Sub(last.At))
		default:
			continue
		}
		last = s
	}
	return float64(last.Bytes-first.Bytes) / last.At.Sub(first.At).Seconds(), longest
}

// recovery is a cluster with one chunkserver more than there are replicas, each with as many
// bytes as are to be lost. With two replicas 4 GiB take 12, and as much again as was lost
// while they are copied; with three replicas 16.
type recovery struct {
	c    *cluster.Cluster
	m    *cluster.Mount
	lost float64 // bytes
}

func newRecovery(b *testing.B, mountArgs []string, masterArgs ...string) *recovery {
	c := cluster.Start(b, cluster.Options{Chunkservers: *replicas + 1, Replicas: *replicas, Memory: !*onDisk, MasterArgs: masterArgs})
	r := &recovery{c: c, m: c.Mount(mountArgs...), lost: *lostGiB * (1 << 30)}
	size := int64(r.lost * float64(*replicas+1) / float64(*replicas))
	c.Command(r.m.Path, "dd", "if=/dev/urandom", "of=data", "bs=1M", "count="+strconv.FormatInt(size>>20, 10), "conv=fsync", "status=none").Must()
	r.whole(b)
	time.Sleep(recoveryQuiet)
	return r
}

func (r *recovery) whole(b *testing.B) {
	r.c.WaitAlive()
	r.c.WaitHealthy(workLimit)
}

// redundant waits until a chunkserver is dead and nothing lacks a replica because of it.
func (r *recovery) redundant(b *testing.B, dead *cluster.Process) {
	b.Helper()
	cluster.Until(b, workLimit, "nothing lacks a replica", func() error {
		status, err := r.c.Status()
		if err != nil {
			return err
		}
		for _, n := range status.Nodes {
			if n.Address == dead.Address && n.Alive {
				return errors.New("it is not known to be dead")
			}
		}
		if n := status.Chunks.UnderReplicated; n > 0 {
			return fmt.Errorf("%d chunks are under-replicated", n)
		}
		return nil
	})
}

// copyLocally copies what a chunkserver has, as an administrator would, and syncs it. It does
// so twice: the first time whoever asks for memory pays for what nobody has used before.
func (r *recovery) copyLocally(b *testing.B, p *cluster.Process) (took time.Duration) {
	copied := filepath.Join(r.c.Dir, "copied")
	for range 2 {
		began := time.Now()
		r.c.Shell(r.c.Dir, fmt.Sprintf("cp -r %s %s; sync -f %[2]s", p.Dir, copied))
		took = time.Since(began)
		if err := os.RemoveAll(copied); err != nil {
			b.Fatal(err)
		}
	}
	return took
}

// BenchmarkRedundancy measures the time from a chunkserver's death to full redundancy,
// beside that of a plain local copy of what it had.
func BenchmarkRedundancy(b *testing.B) {
	for b.Loop() {
		r := newRecovery(b, nil, "--repair-rate", cmp.Or(*repairRate, "0"))
		victim := r.c.Chunkservers[1]
		local := r.copyLocally(b, victim)
		began, spent := time.Now(), r.processorTime(victim)
		victim.Kill()
		r.redundant(b, victim)
		took := time.Since(began)
		spent = r.processorTime(victim) - spent
		b.ReportMetric(took.Seconds(), "repair-s")
		b.ReportMetric(local.Seconds(), "copy-s")
		b.ReportMetric(took.Seconds()/local.Seconds(), "ratio")
		b.ReportMetric(r.lost/1e6/took.Seconds(), "MB/s")
		b.ReportMetric(spent.Seconds(), "cpu-s")
	}
	b.ReportMetric(0, "ns/op")
}

// processorTime is what master and chunkservers have spent so far, but for one.
func (r *recovery) processorTime(except *cluster.Process) (spent time.Duration) {
	for _, p := range append(r.c.Chunkservers[:len(r.c.Chunkservers):len(r.c.Chunkservers)], r.c.Master) {
		if p != except {
			spent += p.ProcessorTime()
		}
	}
	return spent
}

// BenchmarkReadWhileRepairing measures what reading is left with while a chunkserver's
// chunks are copied, at the default rate of repair: of the chunkservers' files, and through
// the chunkservers as on another host.
func BenchmarkReadWhileRepairing(b *testing.B) {
	b.Run("here", func(b *testing.B) { readWhileRepairing(b) })
	b.Run("there", func(b *testing.B) { readWhileRepairing(b, "-o", "no-short-circuit") })
}

func readWhileRepairing(b *testing.B, mountArgs ...string) {
	for b.Loop() {
		var masterArgs []string
		if *repairRate != "" {
			masterArgs = []string{"--repair-rate", *repairRate}
		}
		r := newRecovery(b, mountArgs, masterArgs...)
		stop := filepath.Join(b.TempDir(), "stop")
		job := r.c.Job("read for ever", filepath.Join(r.m.Path, "data"), stop)
		time.Sleep(2 * stallCalm)
		killed := time.Now()
		r.c.Chunkservers[1].Kill()
		r.redundant(b, r.c.Chunkservers[1])
		ended := time.Now()
		if err := os.WriteFile(stop, nil, 0o644); err != nil {
			b.Fatal(err)
		}
		var samples []sample
		if err := json.Unmarshal([]byte(job.Must()), &samples); err != nil {
			b.Fatal(err)
		}
		before, longestBefore := rate(samples, killed.Add(-stallCalm), killed)
		during, longest := rate(samples, killed, ended)
		b.ReportMetric(float64(longestBefore.Milliseconds()), "calm-longest-ms")
		b.ReportMetric(float64(longest.Milliseconds()), "longest-ms")
		b.ReportMetric(before/1e6, "calm-MB/s")
		b.ReportMetric(during/1e6, "repairing-MB/s")
		b.ReportMetric(during/before, "ratio")
		b.ReportMetric(ended.Sub(killed).Seconds(), "repair-s")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkScrub measures the rate of a scrub that is in a hurry.
func BenchmarkScrub(b *testing.B) {
	for b.Loop() {
		r := newRecovery(b, nil)
		p := r.c.Chunkservers[1]
		p.Stop()
		p.Args = append(p.Args, "--scrub-period", "1s")
		began := time.Now()
		p.Launch()
		var disk *pb.DiskStatus
		cluster.Until(b, workLimit, "everything is scrubbed", func() error {
			status, err := r.c.Status()
			if err != nil {
				return err
			}
			for _, n := range status.Nodes {
				if n.Address == p.Address && len(n.Disks) > 0 && n.Disks[0].ScrubFinished >= began.Unix() {
					disk = n.Disks[0]
					return nil
				}
			}
			return errors.New("not yet")
		})
		b.ReportMetric(float64(disk.ScrubBytes)/1e6/time.Since(began).Seconds(), "MB/s")
	}
	b.ReportMetric(0, "ns/op")
}
