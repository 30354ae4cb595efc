package crash

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/distrifs/distrifs/test/cluster"
)

func init() { cluster.Register("names in order", namesInOrder) }

// namesInOrder makes things of rising numbers: folders, files, and now and then a file with
// bytes. It writes the number of each file down when its close has returned.
func namesInOrder(args []string) error {
	closed, err := os.OpenFile(args[1], os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		name := filepath.Join(args[0], fmt.Sprintf("%06d", n))
		switch {
		case n%10 == 9:
			err = os.WriteFile(name, []byte(filepath.Base(name)), 0o644)
		case n%10 == 5:
			err = os.WriteFile(name, nil, 0o644)
		case n%10 == 3:
			if err = os.Mkdir(name+".new", 0o755); err == nil {
				err = os.Rename(name+".new", name)
			}
		default:
			err = os.Mkdir(name, 0o755)
		}
		if err != nil {
			return err
		}
		if n%10 == 9 || n%10 == 5 {
			if _, err := closed.WriteAt(fmt.Appendf(nil, "%06d", n), 0); err != nil {
				return err
			}
		}
	}
}

// A mount is killed while it makes names faster than they are durable. What is left is a
// prefix of what it did, with every file that was closed, and its bytes. G1, G2
func TestKilledMountLeavesAPrefix(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20, MasterArgs: []string{"--lease-time", "1s"}})
	look := c.Mount()
	random := rand.New(rand.NewPCG(rand.Uint64(), 0))
	for round := range 3 {
		m := c.Mount()
		top := fmt.Sprint("round-", round)
		c.Shell(m.Path, fmt.Sprintf("mkdir %s; mkdir %[1]s/0; mkdir %[1]s/1; mkdir %[1]s/2; mkdir %[1]s/names", top))
		dir, closed := filepath.Join(m.Path, top, "names"), filepath.Join(t.TempDir(), "closed")
		job := c.Job("names in order", dir, closed)
		time.Sleep(100 * time.Millisecond)
		pause(random, 400*time.Millisecond)
		m.Kill()
		if out, err := job.Wait(cluster.JobLimit); err == nil {
			t.Fatalf("the job goes on without the mount: %s", out)
		}
		dir = filepath.Join(look.Path, top, "names")
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var last int
		if text, err := os.ReadFile(closed); err == nil {
			fmt.Sscan(string(text), &last)
		}
		t.Logf("round %d: %d names, %d closed", round, len(entries), last)
		if len(entries) <= last {
			t.Errorf("%d names, and %06d was closed", len(entries), last)
		}
		for n, entry := range entries {
			name := fmt.Sprintf("%06d", n)
			if entry.Name() != name && !(n == len(entries)-1 && entry.Name() == name+".new") {
				t.Fatalf("%s is there in the place of %s", entry.Name(), name)
			}
			if n%10 != 9 || n > last {
				continue
			}
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, []byte(name)) {
				t.Errorf("%s holds %q, %v", name, got, err)
			}
		}
	}
}
