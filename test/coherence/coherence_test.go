package coherence

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distrifs/distrifs/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// two is a cluster with two mounts.
func two(t *testing.T, masterArgs ...string) (c *cluster.Cluster, a, b *cluster.Mount) {
	t.Helper()
	cluster.NeedsLeases(t)
	c = cluster.Start(t, cluster.Options{ChunkSize: 1 << 20, MasterArgs: masterArgs, Memory: true})
	return c, c.Mount(), c.Mount()
}

// One mount does something, the other sees it, by whatever it had cached.
func TestSeenAtOnce(t *testing.T) {
	c, a, b := two(t)
	for _, what := range []string{"names", "attributes", "data", "mapped", "removed"} {
		t.Run(what, func(t *testing.T) {
			if out, err := c.Job(what, a.Path, b.Path).Wait(cluster.JobLimit); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// appends has eight writers on two mounts append lines to one file, and gives what each
// mount sees of it then. A file becomes appending by open(2) or later, by fcntl(2).
func appends(t *testing.T, how string, lines int) (texts []string) {
	const writers = 8
	c, a, b := two(t)
	var jobs []*cluster.Job
	for w := range writers {
		path := filepath.Join([]string{a.Path, b.Path}[w%2], "log")
		jobs = append(jobs, c.Job("append", path, fmt.Sprint("writer-", w), fmt.Sprint(lines), how))
	}
	for _, job := range jobs {
		job.Must()
	}
	for _, m := range []*cluster.Mount{a, b} {
		texts = append(texts, c.Command(m.Path, "cat", "log").Must())
	}
	return texts
}

func TestAppendsOfEightWriters(t *testing.T) { // G3
	const lines = 60
	for _, text := range appends(t, "open", lines) {
		next := map[string]int{}
		for line := range strings.Lines(text) {
			var writer string
			var i int
			if _, err := fmt.Sscanf(line, "%s %d", &writer, &i); err != nil || !strings.HasSuffix(line, " "+strings.Repeat("x", i%200)+"\n") {
				t.Fatalf("a torn line: %q", line)
			}
			if i != next[writer] {
				t.Fatalf("%s: line %d after %d", writer, i, next[writer]-1)
			}
			next[writer]++
		}
		for writer, n := range next {
			if n != lines {
				t.Errorf("%s: %d lines", writer, n)
			}
		}
		if len(next) != 8 {
			t.Errorf("%d writers", len(next))
		}
	}
}

// The kernel passes what is written through the page cache on in pieces, up to the end of
// a page each; so lines may be torn where the file became appending after it was opened.
// Nothing is lost, or overwritten, all the same.
func TestAppendsByFcntlLoseNothing(t *testing.T) { // G3
	const lines = 60
	var whole strings.Builder
	for w := range 8 {
		for i := range lines {
			whole.WriteString(appendedLine(fmt.Sprint("writer-", w), i))
		}
	}
	want := []byte(whole.String())
	slices.Sort(want)
	for _, text := range appends(t, "fcntl", lines) {
		got := []byte(text)
		if slices.Sort(got); !bytes.Equal(got, want) {
			t.Errorf("the file has %d bytes of %d, or others", len(got), len(want))
		}
	}
}

// Mounts that write one file alternately, with and without page cache and through
// mappings, go on for ever: no page waits for a lease that waits for the page.
func TestOneFileWrittenInEveryWay(t *testing.T) {
	c, a, b := two(t)
	c.Shell(a.Path, "head -c 98304 /dev/zero >file")
	hows := []string{"cached", "direct", "mmap"}
	var jobs []*cluster.Job
	for i, m := range []*cluster.Mount{a, b} {
		for k, how := range hows {
			jobs = append(jobs, c.Job("overwrite", filepath.Join(m.Path, "file"), how, fmt.Sprint(2*k+i), fmt.Sprint(2*len(hows)), "2500"))
		}
	}
	for _, job := range jobs {
		out := job.Must()
		t.Log(strings.TrimSpace(out))
	}
	if one, other := c.Command(a.Path, "md5sum", "file").Must(), c.Command(b.Path, "md5sum", "file").Must(); one != other {
		t.Errorf("the mounts see different files: %s and %s", one, other)
	}
}

func TestRenamesInBothDirections(t *testing.T) {
	c, a, b := two(t)
	c.Shell(a.Path, "mkdir one two; for i in 0 1 2 3 4; do echo $i >one/file-$i; done")
	var jobs []*cluster.Job
	for _, m := range []*cluster.Mount{a, b, a, b} {
		jobs = append(jobs, c.Job("renames", m.Path, "150"))
	}
	for _, job := range jobs {
		job.Must()
	}
	for _, m := range []*cluster.Mount{a, b} {
		c.Shell(m.Path, `for i in 0 1 2 3 4; do
			test "$(cat one/file-$i two/file-$i 2>/dev/null)" = $i || { echo "file $i is not there once"; ls one two; exit 1; }
		done; test $(ls one two | grep -c file) = 5`)
	}
}

const leaseTime = 2 * time.Second

// A mount that is stopped delays others for the time of a lease at most, and shows
// nothing old when it goes on. One that is killed, likewise.
func TestAStoppedMountDelaysOthersForALease(t *testing.T) {
	c, a, b := two(t, "--lease-time", leaseTime.String(), "--session-timeout", "60s")
	c.Shell(a.Path, "mkdir dir; echo 1 >dir/counter; ls dir/absent 2>/dev/null || true")
	c.Shell(b.Path, "grep 1 dir/counter; ! ls dir/absent 2>/dev/null")
	b.Pause()
	begin := time.Now()
	c.Shell(a.Path, "echo 2 >dir/counter; touch dir/absent")
	if took := time.Since(begin); took > cluster.JobLimit/2 {
		t.Errorf("it took %v", took)
	}
	b.Resume()
	c.Shell(b.Path, `test "$(cat dir/counter)" = 2; ls dir/absent`)
	b.Kill()
	c.Shell(a.Path, "echo 3 >dir/counter; rm dir/absent")
	b.Launch()
	b.WaitReady()
	c.Shell(b.Path, `test "$(cat dir/counter)" = 3; ! ls dir/absent 2>/dev/null`)
}

// The master is started anew while two mounts work on one file.
func TestARestartOfTheMaster(t *testing.T) {
	c, a, b := two(t, "--lease-time", leaseTime.String())
	c.Shell(a.Path, "echo 0 >counter; head -c 98304 /dev/zero >file")
	watcher := c.Job("watch", filepath.Join(b.Path, "counter"), "60")
	var jobs []*cluster.Job
	for i, m := range []*cluster.Mount{a, b} {
		jobs = append(jobs, c.Job("overwrite", filepath.Join(m.Path, "file"), "cached", fmt.Sprint(i), "2", "4000"))
	}
	script := c.Command(a.Path, "bash", "-ec", "for i in $(seq 60); do echo $i >new; mv new counter; sleep 0.02; done")
	time.Sleep(500 * time.Millisecond)
	c.Master.Kill()
	c.Master.Launch()
	for _, job := range append(jobs, script, watcher) {
		job.Must()
	}
	one := c.Command(a.Path, "md5sum", "file").Must()
	if other := c.Command(b.Path, "md5sum", "file").Must(); one != other {
		t.Errorf("the mounts see different files: %s and %s", one, other)
	}
}
