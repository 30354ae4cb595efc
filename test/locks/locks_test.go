package locks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

// shortSession makes a mount that died be noticed soon.
var shortSession = []string{"--session-timeout", "4s"}

// two is a cluster with two mounts and an empty file on it.
func two(t *testing.T) (c *cluster.Cluster, files [2]string) {
	t.Helper()
	c = cluster.Start(t, cluster.Options{MasterArgs: shortSession})
	for i := range files {
		files[i] = filepath.Join(c.Mount().Path, "file")
	}
	c.Shell(filepath.Dir(files[0]), "echo 0 >file; : >other")
	return c, files
}

// hold starts a job that holds a lock, and returns when it has it.
func hold(t *testing.T, c *cluster.Cluster, args ...string) *cluster.Job {
	t.Helper()
	job := c.Job("hold", args...)
	printed(t, job, "held\n")
	return job
}

func printed(t *testing.T, job *cluster.Job, what string) {
	t.Helper()
	cluster.Until(t, cluster.JobLimit, "a job prints "+what, func() error {
		if out := job.Output(); !strings.Contains(out, what) {
			if job.Done() {
				t.Fatalf("the job ended: %s", out)
			}
			return fmt.Errorf("it printed %q", out)
		}
		return nil
	})
}

// refused checks that a lock is not to be had at once.
func refused(t *testing.T, c *cluster.Cluster, kind, file string) {
	t.Helper()
	if out, err := c.Job("try", kind, file).Wait(cluster.JobLimit); err == nil || !strings.Contains(out, "temporarily unavailable") {
		t.Errorf("%s of what is locked: %v: %s", kind, err, out)
	}
}

// A number that several processes on two mounts increment under a lock ends as high as
// it was incremented often: locks exclude, and what was written under one is read
// under the next.
func TestCounter(t *testing.T) {
	const workers, times = 3, 40
	c, files := two(t)
	want := 0
	for kind := range lockers {
		var jobs []*cluster.Job
		for _, file := range files {
			for range workers {
				jobs = append(jobs, c.Job("count", kind, file, fmt.Sprint(times)))
			}
		}
		for _, job := range jobs {
			job.Must()
		}
		want += len(jobs) * times
		for _, file := range files {
			text := c.Shell("/", "flock "+file+" cat "+file)
			if strings.TrimSpace(text) != fmt.Sprint(want) {
				t.Fatalf("%s: the counter is %q after %d increments", kind, text, want)
			}
		}
	}
}

// A lock ends with its process, whatever its kind, and a waiter on the other mount has it.
func TestKilledProcessUnlocks(t *testing.T) {
	c, files := two(t)
	for kind := range lockers {
		holder := hold(t, c, kind, files[0])
		refused(t, c, kind, files[1])
		waiter := c.Job("hold", kind, files[1])
		holder.Kill()
		printed(t, waiter, "held\n")
		waiter.Kill()
		c.Job("try", kind, files[0]).Must()
	}
}

// A signal ends a wait, and the wait leaves nothing behind.
func TestSignalEndsWait(t *testing.T) {
	c, files := two(t)
	holder := hold(t, c, "flock", files[0])
	if out := c.Job("alarm", files[1]).Must(); !strings.Contains(out, "interrupted") {
		t.Errorf("it printed %s", out)
	}
	waiter := c.Job("hold", "flock", files[1])
	killed := c.Job("hold", "flock", files[1])
	refused(t, c, "flock", files[1])
	killed.Kill()
	holder.Kill()
	printed(t, waiter, "held\n")
}

// Two processes on two mounts that would wait for each other: one is refused with
// EDEADLK, and when it has gone the other goes on.
func TestDeadlockBetweenMounts(t *testing.T) {
	c, files := two(t)
	other := func(i int) string { return filepath.Join(filepath.Dir(files[i]), "other") }
	goOn := filepath.Join(t.TempDir(), "go")
	a := c.Job("hold", "fcntl", files[0], other(0), goOn)
	b := c.Job("hold", "fcntl", other(1), files[1], goOn)
	printed(t, a, "held\n")
	printed(t, b, "held\n")
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var ends [2]error
	var outs [2]string
	for i, job := range []*cluster.Job{a, b} {
		outs[i], ends[i] = job.Wait(cluster.JobLimit)
	}
	if (ends[0] == nil) == (ends[1] == nil) {
		t.Fatalf("one was to be refused and one to go on: %v: %s, %v: %s", ends[0], outs[0], ends[1], outs[1])
	}
	if all := outs[0] + outs[1]; !strings.Contains(all, "deadlock") || !strings.Contains(all, "held both") {
		t.Errorf("they printed %s", all)
	}
}

// A mount that is killed loses its locks when its session has expired.
func TestKilledMountUnlocks(t *testing.T) {
	c, files := two(t)
	hold(t, c, "fcntl", files[0])
	refused(t, c, "fcntl", files[1])
	waiter := c.Job("hold", "fcntl", files[1])
	c.Mounts[0].Kill()
	printed(t, waiter, "held\n")
}

// A lock outlives a crash of the master, a waiter goes on waiting, and nobody gets
// between them.
func TestMasterRestartKeepsLocks(t *testing.T) {
	c, files := two(t)
	for kind := range lockers {
		holder := hold(t, c, kind, files[0])
		waiter := c.Job("hold", kind, files[1])
		refused(t, c, kind, files[1])
		c.Master.Kill()
		c.Master.Launch()
		refused(t, c, kind, files[1])
		if waiter.Done() || strings.Contains(waiter.Output(), "held") {
			t.Fatalf("%s: the waiter got the lock, or ended: %s", kind, waiter.Output())
		}
		holder.Kill()
		printed(t, waiter, "held\n")
		waiter.Kill()
	}
}

// With local_locks each mount has locks of its own.
func TestLocalLocks(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	var files []string
	for range 2 {
		files = append(files, filepath.Join(c.Mount("-o", "local_locks").Path, "file"))
	}
	c.Shell(filepath.Dir(files[0]), ": >file")
	for kind := range lockers {
		holder := hold(t, c, kind, files[0])
		refused(t, c, kind, files[0])
		c.Job("try", kind, files[1]).Must()
		holder.Kill()
	}
}

// Nor does it lose the locks of a mount that has had the file to itself, and kept them.
func TestMasterRestartKeepsLocksOfAMountAlone(t *testing.T) {
	c, files := two(t)
	kinds := []string{"flock", "fcntl"}
	var holders []*cluster.Job
	for _, kind := range kinds {
		holders = append(holders, hold(t, c, kind, files[0]))
	}
	c.Master.Kill()
	c.Master.Launch()
	for i, kind := range kinds {
		refused(t, c, kind, files[1])
		waiter := c.Job("hold", kind, files[1])
		holders[i].Kill()
		printed(t, waiter, "held\n")
		waiter.Kill()
	}
}
