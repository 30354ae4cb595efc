package heal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distrifs/distrifs/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// limit for everything that is to happen by itself.
const limit = 2 * time.Minute

// A chunkserver is killed, a file that nobody reads is damaged on another, a third is
// decommissioned: each time the cluster makes itself whole, fsck finds nothing, and the
// files are as they were. Only a killed process is noticed sooner than the dead-after
// time, which is an hour here.
func TestClusterHealsItself(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Chunkservers: 5, ChunkSize: 1 << 20, MasterArgs: []string{"--dead-after", "1h"}, ChunkdArgs: []string{"--scrub-period", "16s"}})
	here := t.TempDir()
	c.Shell(here, "head -c 6000000 /dev/urandom >file")
	c.Tool("cp", filepath.Join(here, "file"), ":/file").Must()
	whole := func() {
		t.Helper()
		c.WaitHealthy(limit)
		c.Tool("fsck", "--repair").Must()
		c.Tool("cp", ":/file", filepath.Join(here, "back")).Must()
		c.Shell(here, "cmp file back")
	}
	whole()

	killed := c.Chunkservers[0]
	killed.Kill()
	cluster.Until(t, limit, "the chunkserver is dead", func() error {
		status, err := c.Status()
		if err != nil {
			return err
		}
		for _, n := range status.Nodes {
			if n.Address == killed.Address && n.Alive {
				return fmt.Errorf("chunkserver %d is alive", n.Node)
			}
		}
		return nil
	})
	whole()

	for _, replicas := range c.ChunkFiles() {
		for _, r := range replicas {
			if r.Server == c.Chunkservers[1] {
				flip(t, r.Path)
			}
		}
	}
	cluster.Until(t, limit, "the scrub has found the damage", func() error {
		if !strings.Contains(c.Chunkservers[1].Output(), "the scrub found damage") {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	whole()

	leaving := c.Chunkservers[2]
	c.Tool("decommission", leaving.Address).Must()
	cluster.Until(t, limit, "the chunkserver has given up all it had", func() error {
		held := 0
		for _, replicas := range c.ChunkFiles() {
			for _, r := range replicas {
				if r.Server == leaving {
					held++
				}
			}
		}
		if held > 0 {
			return fmt.Errorf("it still has %d replicas", held)
		}
		return nil
	})
	whole()
}

// A mount that has made files holds inodes in reserve, with chunks that nothing is in yet, and somebody has
// a file open that he has written nothing to. Neither keeps a chunkserver from going, nor
// does anybody wait for it when it has gone.
func TestDecommissionUnderAnIdleMount(t *testing.T) {
	cluster.NeedsLeases(t)
	c := cluster.Start(t, cluster.Options{Chunkservers: 4, ChunkSize: 1 << 20})
	m := c.Mount()
	c.Shell(m.Path, "mkdir d && for i in 1 2 3 4 5 6 7 8 9; do echo $i >d/$i; done && sync")
	empty, err := os.Create(filepath.Join(m.Path, "d", "empty"))
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if status, err := c.Status(); err != nil || status.Chunks.Assigned < 100 {
		t.Fatalf("nothing is in reserve, so this shows nothing: %v, %v", status.GetChunks(), err)
	}

	leaving := c.Chunkservers[0]
	c.Tool("decommission", leaving.Address).Must()
	cluster.Until(t, limit, "the chunkserver may go", func() error {
		status, err := c.Status()
		if err != nil {
			return err
		}
		for _, n := range status.Nodes {
			if n.Address == leaving.Address && (!n.Decommissioned || n.ToMove > 0) {
				return fmt.Errorf("%d chunks are left", n.ToMove)
			}
		}
		return nil
	})
	leaving.Kill()

	if _, err := empty.WriteString("no longer\n"); err != nil {
		t.Error(err)
	}
	if err := empty.Close(); err != nil {
		t.Error(err)
	}
	c.Shell(m.Path, "for i in a b c; do echo $i >d/$i; done && sync")
	if got := c.Shell(m.Path, "cat d/1 d/9 d/a d/empty"); got != "1\n9\na\nno longer\n" {
		t.Errorf("read %q", got)
	}
	c.WaitHealthy(limit)
}

// flip inverts a bit of the first byte of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], 0); err != nil {
		t.Fatal(err)
	}
}
