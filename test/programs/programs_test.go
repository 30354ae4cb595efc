package programs

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distrifs/distrifs/test/cluster"
)

func init() { cluster.WithoutRaceDetector() }

func TestMain(m *testing.M) { cluster.Main(m) }

// limit ends a program that hangs, and reaches no other.
const limit = 10 * time.Minute

// start starts a bash script in the folder, which ends at the first command that fails.
func start(c *cluster.Cluster, dir, script string, args ...string) *cluster.Job {
	return c.Command("/", "bash", append([]string{"-c", `set -euo pipefail; cd "$0"; ` + script, dir}, args...)...)
}

// run runs such a script, which fails the test if it fails.
func run(t *testing.T, c *cluster.Cluster, dir, script string, args ...string) string {
	t.Helper()
	out, err := start(c, dir, script, args...).Wait(limit)
	if err != nil {
		t.Fatalf("in %s: %s\n%v\n%s", dir, script, err, tail(out))
	}
	return out
}

var tree = flag.String("tree", "src/cmd", "the folder of Go's own that TestSourceTreeSurvivesEverything copies; src is three times as much")

// A source tree of Go, some thousand files in several hundred folders, goes in by
// cp and by tar, and is compared again and again: from warm caches, from cold
// ones, by a new mount, and after every server was killed.
func TestSourceTreeSurvivesEverything(t *testing.T) { // G1, G2, G8
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	m := c.Mount()
	source := filepath.Join(strings.TrimSpace(c.Shell("/", "go env GOROOT")), *tree)

	run(t, c, m.Path, `cp -r "$1" copied`, source)
	run(t, c, m.Path, `tar -C "$1" -cf "$2" . && mkdir unpacked && tar -C unpacked -xf "$2"`, source, filepath.Join(t.TempDir(), "src.tar"))
	compare := func(when string) {
		t.Helper()
		t.Log(when)
		run(t, c, m.Path, `diff -r "$1" copied && diff -r "$1" unpacked`, source)
	}
	compare("written just now")
	m.DropCaches()
	compare("caches dropped")
	m.Remount()
	compare("mounted anew")
	for _, p := range append(c.Chunkservers, c.Master) {
		p.Kill()
	}
	c.Master.Launch()
	for _, p := range c.Chunkservers {
		p.Launch()
	}
	c.WaitAlive()
	m.DropCaches()
	compare("every server killed and started again")

	run(t, c, m.Path, `rm -r copied; test ! -e copied; diff -r "$1" unpacked`, source)
}

func TestGoBuildOnTheMount(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	m := c.Mount()
	run(t, c, m.Path, `
		mkdir hello && cd hello
		printf 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("hello") }\n' >main.go
		printf 'module hello\n\ngo 1.26\n' >go.mod
		export GOCACHE="$PWD/../cache"
		go build -o hello .
		test "$(./hello)" = hello
		go vet .`)
}

// The command line and the mount work on the same files.
func TestCommandLineAndMountAgree(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20})
	m := c.Mount()
	local := t.TempDir()
	run(t, c, local, `seq 1000000 >document.txt`) // several chunks
	c.Tool("mkdir", "-p", ":/docs/deep").Must()
	c.Tool("cp", local+"/document.txt", c.Master.Address+":/docs/").Must()
	run(t, c, m.Path, `cmp docs/document.txt "$1/document.txt"`, local)
	c.Tool("cp", "-r", ":/docs", local+"/back").Must()
	run(t, c, local, `diff -r back "`+m.Path+`/docs"`)
	if got, want := c.Tool("cat", ":/docs/document.txt").Must(), c.Shell(local, "cat document.txt"); got != want {
		t.Errorf("cat gives %d bytes, want %d", len(got), len(want))
	}
	c.Tool("mv", ":/docs/document.txt", ":/docs/deep/moved.txt").Must()
	if got := c.Tool("ls", "-R", ":/docs").Must(); !strings.Contains(got, "moved.txt") || strings.Contains(got, "document.txt") {
		t.Errorf("ls -R gives\n%s", got)
	}
	c.Tool("rm", "-r", ":/docs").Must()
	cluster.Until(t, cluster.StopLimit, "the mount sees the removal", func() error {
		_, err := c.Command(m.Path, "test", "!", "-e", "docs").Wait(cluster.JobLimit)
		return err
	})
	out, err := c.Tool("cat", ":/docs/nothing").Wait(cluster.JobLimit)
	if err == nil || strings.Count(out, "\n") != 1 {
		t.Errorf("cat of a missing file: %v, %q; want an error in one line", err, out)
	}
	if _, err := os.Stat(local + "/back/document.txt"); err != nil {
		t.Error(err)
	}
}

// tail is the end of what a program printed.
func tail(out string) string { return out[max(0, len(out)-4096):] }
