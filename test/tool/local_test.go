package tool

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// local is a cluster of `distrifs up`.
type local struct {
	*cluster.Cluster
	t          *testing.T
	dir, mount string
	port       int
}

// member is a process as cluster.json lists it.
type member struct {
	Role    string
	Index   int
	Pid     int
	Address string
}

// newLocal prepares one, which is taken down and purged with the test.
func newLocal(t *testing.T) *local {
	t.Helper()
	c := cluster.Bare(t)
	l := &local{Cluster: c, t: t, dir: filepath.Join(c.Dir, "cluster"), mount: filepath.Join(c.Dir, "mount"), port: cluster.FreePorts(t, 8)}
	if err := os.Mkdir(l.mount, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := os.Stat(filepath.Join(l.dir, "cluster.json")); errors.Is(err, os.ErrNotExist) {
			return
		}
		if t.Failed() {
			out, _ := l.Command("/", "bash", "-c", `tail -n 40 "$0"/log/*.log`, l.dir).Wait(cluster.StopLimit)
			t.Log(out)
		}
		if out, err := l.distrifs("down", "--dir", l.dir, "--purge"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	return l
}

// distrifs runs the command to its end.
func (l *local) distrifs(args ...string) (string, error) {
	l.t.Helper()
	command := append([]string{"DISTRIFS_MASTER=127.0.0.1:" + strconv.Itoa(l.port), cluster.Binary(l.t, "distrifs")}, args...)
	return l.Command(l.Dir, "env", command...).Wait(cluster.JobLimit)
}

// must runs a command that has to succeed.
func (l *local) must(args ...string) string {
	l.t.Helper()
	out, err := l.distrifs(args...)
	if err != nil {
		l.t.Fatalf("distrifs %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// refused runs a command that has to fail, in one line that says all the words.
func (l *local) refused(words []string, args ...string) {
	l.t.Helper()
	out, err := l.distrifs(args...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := lines[len(lines)-1]
	if err == nil || err.Error() != "exit status 1" || !strings.HasPrefix(last, "distrifs: ") {
		l.t.Fatalf("distrifs %s: %v\n%s\nwant exit code 1 and one line", strings.Join(args, " "), err, out)
	}
	for _, word := range words {
		if !strings.Contains(last, word) {
			l.t.Errorf("distrifs %s says %q, want %q in it", strings.Join(args, " "), last, word)
		}
	}
}

// up starts the cluster, with its mount, in the background.
func (l *local) up(args ...string) {
	l.t.Helper()
	l.must(append([]string{"up", "--detach", "--dir", l.dir, "--mount", l.mount}, args...)...)
}

func (l *local) members() []member {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.dir, "cluster.json"))
	if err != nil {
		l.t.Fatal(err)
	}
	var file struct{ Processes []member }
	if err := json.Unmarshal(text, &file); err != nil {
		l.t.Fatal(err)
	}
	return file.Processes
}

func (l *local) supervisor() int {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.dir, "cluster.json"))
	if err != nil {
		l.t.Fatal(err)
	}
	var file struct{ Supervisor struct{ Pid int } }
	if err := json.Unmarshal(text, &file); err != nil || file.Supervisor.Pid == 0 {
		l.t.Fatalf("no supervisor in %s: %v", text, err)
	}
	return file.Supervisor.Pid
}

// gone checks that none of the processes runs and nothing is mounted.
func (l *local) gone(processes []member) {
	l.t.Helper()
	for _, p := range processes {
		// One that ended may wait for its new parent, but has no memory any more.
		if maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", p.Pid)); err == nil && len(maps) > 0 {
			l.t.Errorf("%s %d, pid %d, still runs", p.Role, p.Index, p.Pid)
		}
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(table), l.mount) {
		l.t.Errorf("%s is still mounted (%v)", l.mount, err)
	}
}

// status is what `distrifs status --json` prints, as far as scripts rely on it.
type status struct {
	Nodes []struct {
		Address string
		Alive   bool
	}
	Files  int
	Chunks struct {
		Total           int
		UnderReplicated *int `json:"under_replicated"`
	}
	ChunkSize int `json:"chunk_size"`
}

func (l *local) status() status {
	l.t.Helper()
	var s status
	if out := l.must("status", "--json"); json.Unmarshal([]byte(out), &s) != nil || s.Chunks.UnderReplicated == nil {
		l.t.Fatalf("status --json printed %s", out)
	}
	return s
}

func (l *local) portFlag() string { return "--port=" + strconv.Itoa(l.port) }

func TestUpKillDownUp(t *testing.T) {
	l := newLocal(t)
	l.up(l.portFlag(), "--chunk-size", "1MiB")
	first := l.members()
	if len(first) != 5 {
		t.Fatalf("cluster.json lists %v", first)
	}
	if s := l.status(); len(s.Nodes) != 3 || s.ChunkSize != 1<<20 {
		t.Fatalf("status: %+v", s)
	}
	l.Shell(l.mount, "mkdir d; head -c 5000000 /dev/urandom >d/random; sha256sum d/random >sum; echo hello >d/file; ln -s file d/link")
	check := func(when string) {
		t.Helper()
		t.Log(when)
		l.Shell(l.mount, `sha256sum -c sum; test "$(cat d/link)" = hello`)
	}
	l.refused([]string{"already up", "pid", "down --dir"}, "up", "--detach", "--dir", l.dir, l.portFlag())

	for i := range first {
		before := l.members()
		if err := syscall.Kill(before[i].Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		what := fmt.Sprintf("%s %d is back after kill -9", before[i].Role, before[i].Index)
		cluster.Until(t, cluster.StartLimit, what, func() error {
			now := l.members()
			if len(now) != len(before) || now[i].Pid == before[i].Pid {
				return fmt.Errorf("cluster.json lists %v", now)
			}
			if out, err := l.Command("/", "stat", "-f", "-c", "%T", l.mount).Wait(cluster.StopLimit); err != nil || !strings.Contains(out, "fuse") {
				return fmt.Errorf("the mount: %v, %s", err, out)
			}
			return nil
		})
		check(what)
	}

	last := l.members()
	l.must("down", "--dir", l.dir)
	l.gone(last)
	if left := l.members(); len(left) != 0 {
		t.Errorf("cluster.json still lists %v", left)
	}
	if out := l.must("down", "--dir", l.dir); !strings.Contains(out, "was down already") {
		t.Errorf("down again says %q", out)
	}

	l.refused([]string{"--chunk-size", "has 1MiB", "--dir"}, "up", "--detach", "--dir", l.dir, "--chunk-size", "64MiB")
	l.up() // the same port, chunk size and chunkservers
	if s := l.status(); len(s.Nodes) != 3 || s.ChunkSize != 1<<20 {
		t.Errorf("status behind the second up: %+v", s)
	}
	check("after down and up")

	// A supervisor that is killed leaves the cluster serving; up takes it over.
	orphans := l.members()
	if err := syscall.Kill(l.supervisor(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	check("without a supervisor")
	l.up()
	for i, p := range l.members() {
		if p.Pid == orphans[i].Pid {
			t.Errorf("%s %d is still the one of the killed supervisor", p.Role, p.Index)
		}
	}
	check("after a killed supervisor and up")

	orphans = l.members()
	if err := syscall.Kill(l.supervisor(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	l.must("down", "--dir", l.dir, "--purge")
	l.gone(orphans)
	if _, err := os.Stat(l.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("purge left the folder: %v", err)
	}
}

func TestSideBySide(t *testing.T) {
	one, two := newLocal(t), newLocal(t)
	one.up(one.portFlag(), "--chunkservers", "2", "--replicas", "2")
	two.up(two.portFlag(), "--chunkservers", "1")
	one.Shell(one.mount, "echo one >who")
	two.Shell(two.mount, "echo two >who")
	if out := one.must("cat", ":/who", fmt.Sprintf("localhost:%d:/who", two.port)); out != "one\ntwo\n" {
		t.Errorf("cat of both: %q", out)
	}
	processes := one.members()
	one.must("down", "--dir", one.dir)
	one.gone(processes)
	two.Shell(two.mount, `test "$(cat who)" = two`)
}

func TestStartThatCannotWork(t *testing.T) {
	l := newLocal(t)
	l.refused([]string{"mountpoint", "not found", "mkdir -p"}, "up", "--detach", "--dir", l.dir, l.portFlag(), "--mount", l.Dir+"/nowhere")
	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", l.port+2))
	if err != nil {
		t.Fatal(err)
	}
	l.refused([]string{"address already in use", "--port"}, "up", "--detach", "--dir", l.dir, l.portFlag())
	taken.Close()
	if _, err := os.Stat(l.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the refused start left its folder: %v", err)
	}
	l.refused([]string{"--chunk-size", "power of two"}, "up", "--detach", "--dir", l.dir, l.portFlag(), "--chunk-size", "3MiB")
	l.refused([]string{"no cluster there"}, "down", "--dir", l.Dir+"/nowhere")

	l.up(l.portFlag())
	processes := l.members()
	l.must("down", "--dir", l.dir)
	master := filepath.Join(l.dir, "master")
	if err := os.RemoveAll(master); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(master, []byte("not a folder"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.refused([]string{"master did not come up", master}, "up", "--detach", "--dir", l.dir)
	if left := l.members(); len(left) != 0 {
		t.Errorf("cluster.json lists %v", left)
	}
	l.gone(processes)
}

func TestInFrontUntilCtrlC(t *testing.T) {
	l := newLocal(t)
	front := l.Command(l.Dir, cluster.Binary(t, "distrifs"), "up", "--dir", l.dir, "--mount", l.mount, l.portFlag(), "--no-restart")
	cluster.Until(t, cluster.StartLimit, "it says that it is up", func() error {
		if front.Done() {
			t.Fatalf("it ended:\n%s", front.Output())
		}
		if !strings.Contains(front.Output(), "DistriFS is up") {
			return errors.New(front.Output())
		}
		return nil
	})
	l.Shell(l.mount, "echo hello >file")
	processes := l.members()
	if err := syscall.Kill(processes[2].Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	cluster.Until(t, cluster.StopLimit, "the dead one is off the list", func() error {
		if n := len(l.members()); n != 4 {
			return fmt.Errorf("%d processes", n)
		}
		return nil
	})
	if err := syscall.Kill(l.supervisor(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if out, err := front.Wait(cluster.JobLimit); err != nil {
		t.Fatalf("Ctrl-C: %v\n%s", err, out)
	}
	l.gone(processes)
}
