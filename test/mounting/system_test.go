package mounting

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// system is a machine on which our helpers are installed: a mount namespace that jobs
// enter, each with $master and $dir, an empty folder to mount upon.
type system struct {
	*cluster.Cluster
	t   *testing.T
	dir string
	ns  string // a file in /proc
}

// enter makes a namespace with the helpers in /sbin.
func enter(t *testing.T, c *cluster.Cluster) *system {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mount(8) and namespaces need root")
	}
	s := &system{Cluster: c, t: t, dir: filepath.Join(c.Dir, "mountpoint")}
	prefix := filepath.Join(c.Dir, "installed")
	for _, dir := range []string{s.dir, filepath.Join(prefix, "bin")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(cluster.Binary(t, "distrifs-mount"), filepath.Join(prefix, "bin/distrifs-mount")); err != nil {
		t.Fatal(err)
	}
	root, err := cluster.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	c.Command(root, "make", "-s", "install-helpers", "PREFIX="+prefix, "SBIN="+prefix+"/sbin").Must()

	ready := filepath.Join(c.Dir, "namespace-ready")
	holder := c.Command("/", "unshare", "-m", "--propagation", "private", "bash", "-ec",
		`while read -r _ dir type _; do [ "$type" != fuse.distrifs ] || umount -i -l "$dir"; done </proc/mounts # of other tests, which wait for their end
		mount -t overlay overlay -o lowerdir="$0/sbin:$(realpath /sbin)" "$(realpath /sbin)"; echo $$ >"$1.new"; mv "$1.new" "$1"; exec sleep 100000`,
		prefix, ready)
	var pid string
	cluster.Until(t, cluster.StartLimit, "the namespace is there", func() error {
		if holder.Done() {
			t.Fatalf("make a namespace: %s", holder.Output())
		}
		text, err := os.ReadFile(ready)
		pid = strings.TrimSpace(string(text))
		return err
	})
	s.ns = "/proc/" + pid + "/ns/mnt"
	t.Cleanup(s.leave)
	return s
}

// leave ends what mounts there, whatever became of the test: the processes in the
// background have left every job.
func (s *system) leave() {
	reply, err := s.Status()
	if err != nil {
		s.t.Errorf("the mounts that are left are not known: %v", err)
		return
	}
	for _, session := range reply.Sessions {
		if !strings.HasSuffix(session.Client, " mount "+s.dir) {
			continue
		}
		pid, err := strconv.Atoi(regexp.MustCompile(`pid (\d+) `).FindStringSubmatch(session.Client)[1])
		if err != nil {
			s.t.Error(err)
			continue
		}
		// The session may be one of a process that was killed.
		if err := syscall.Kill(pid, syscall.SIGTERM); err == nil {
			s.t.Logf("ended the mount of pid %d", pid)
		}
	}
}

// start runs a bash script in the namespace.
func (s *system) start(script string) *cluster.Job {
	return s.Command("/", "nsenter", "--mount="+s.ns, "env", "master="+s.Master.Address, "dir="+s.dir, "work="+s.Dir,
		"bash", "-euo", "pipefail", "-c", script)
}

func (s *system) run(script string) string {
	s.t.Helper()
	out, err := s.start(script).Wait(cluster.JobLimit)
	if err != nil {
		s.t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return out
}

// fails runs a script that ends with an exit code and with one line that holds all
// words, and no more than that.
func (s *system) fails(code int, script string, words ...string) {
	s.t.Helper()
	out, err := s.start(script).Wait(cluster.JobLimit)
	exit, ok := err.(*exec.ExitError)
	if !ok || exit.ExitCode() != code {
		s.t.Errorf("%s: %v, want exit code %d: %s", script, err, code, out)
	}
	if strings.Count(out, "\n") != 1 {
		s.t.Errorf("%s: not one line: %s", script, out)
	}
	for _, word := range words {
		if !strings.Contains(out, word) {
			s.t.Errorf("%s: no %q in %s", script, word, out)
		}
	}
}

// holds tells whether a file of a mount outside the namespace has this content.
func holds(c *cluster.Cluster, m *cluster.Mount, name, content string) error {
	out, err := c.Command(m.Path, "cat", name).Wait(cluster.JobLimit)
	if err == nil && out != content {
		err = fmt.Errorf("%s holds %d bytes: %.80q", name, len(out), out)
	}
	return err
}
