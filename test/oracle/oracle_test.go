package oracle

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/distrifs/distrifs/test/cluster"
)

var (
	seedFlag    = flag.Uint64("seed", 1, "seed of the first program; at random if 0, or if -for is given without")
	callsFlag   = flag.Int("calls", 200_000, "how many calls to compare")
	forFlag     = flag.Duration("for", 0, "how long to run, instead of a number of calls")
	programFlag = flag.String("program", "", "run the program in this file, and nothing else")
	mountsFlag  = flag.Int("mounts", 2, "1: both mounts of a program are one")
	folderFlag  = flag.String("folder", "", "compare this folder, of another filesystem, instead of a cluster")
	jobsFlag    = flag.Int("jobs", 3, "programs that run at once")
)

// The calls of other programs' processes would take four times as long with it.
func init() { cluster.WithoutRaceDetector() }

func TestMain(m *testing.M) {
	cluster.Main(m)
}

// Random calls by several users through two mounts are answered as a local filesystem answers
// them, and leave the same.
func TestRandomCallsMatchALocalFilesystem(t *testing.T) { // G3, G4
	if os.Geteuid() != 0 {
		t.Fatal("needs root, for a tmpfs and for several users")
	}
	c, a, b := sides(t)
	seed := *seedFlag
	if seed == 0 || *forFlag > 0 && seed == 1 {
		seed = rand.Uint64N(1 << 40)
	}
	jobs := *jobsFlag
	if *programFlag != "" {
		jobs = 1
	}
	t.Logf("-seed %d", seed)
	var running []*cluster.Job
	for i := range jobs {
		folder := fmt.Sprintf("job-%d", i)
		c.Shell(a, "mkdir "+folder+" && chmod 0777 "+folder)
		running = append(running, c.Job("random calls", filepath.Join(a, folder), filepath.Join(b, folder), t.TempDir(),
			strconv.FormatUint(seed, 10), strconv.Itoa(i), strconv.Itoa(jobs), strconv.Itoa(*callsFlag/jobs), forFlag.String(), *programFlag, strconv.Itoa(*mountsFlag)))
	}
	for _, job := range running {
		out, err := job.Wait(*forFlag + 15*time.Minute)
		if err == nil {
			t.Logf("%s", out)
			continue
		}
		t.Errorf("%v\n%s\nagain: go test ./test/oracle -run Random -seed %d", err, out, seed)
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == exitHangs {
			for _, m := range c.Mounts {
				m.Signal(syscall.SIGQUIT) // its log tells what it was doing
			}
		}
	}
}

// sides gives the folders that are compared with a local one: two mounts of a new cluster, unless
// flags say otherwise.
func sides(t *testing.T) (c *cluster.Cluster, a, b string) {
	if *folderFlag != "" {
		dir, err := os.MkdirTemp(*folderFlag, "oracle-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		return cluster.Bare(t), dir, dir
	}
	c = cluster.Start(t, cluster.Options{ChunkSize: chunkSize, Memory: true})
	// What a mount gives up before it counts as hanging can shrink.
	options := []string{"-o", "noatime", "--io-timeout", (patience / 4).String()}
	a = c.Mount(options...).Path
	if *mountsFlag == 1 {
		return c, a, a
	}
	return c, a, c.Mount(options...).Path
}
