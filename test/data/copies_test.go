package data

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/test/cluster"
)

// A copy shares the chunks of its source: nothing is stored for it. What is
// written afterwards to either is seen in that one alone, on every mount, whatever is
// killed or deleted meanwhile; and nothing is left when both are gone.
func TestCopiesAreSharedUntilWritten(t *testing.T) { // G1, G5, G10
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20})
	m, other := c.Mount(), c.Mount()
	local := t.TempDir()
	both := func(script string) {
		t.Helper()
		c.Shell(local, script)
		c.Shell(m.Path, script)
	}
	same := func(when string) {
		t.Helper()
		for _, mount := range []*cluster.Mount{m, other} {
			if out, err := c.Command(mount.Path, "diff", "-rq", ".", local).Wait(cluster.JobLimit); err != nil {
				t.Fatalf("%s: %v: %s", when, err, out)
			}
		}
	}
	seed := filepath.Join(t.TempDir(), "seed")
	c.Shell("/", "head -c 13M /dev/urandom >"+seed)
	// Chunks at the start, after a hole, and one that the file ends in.
	both("truncate -s 30M a; dd if=" + seed + " of=a bs=1M count=7 conv=notrunc status=none; dd if=" + seed + " of=a bs=1M skip=7 count=5 seek=20 conv=notrunc status=none; head -c 1234 " + seed + " >>a; sync a")
	files := len(c.ChunkFiles())
	clone := func(from, to string) {
		t.Helper()
		c.Job("copy", filepath.Join(local, from), filepath.Join(local, to)).Must()
		c.Job("copy", filepath.Join(m.Path, from), filepath.Join(m.Path, to)).Must()
	}
	clone("a", "b")
	clone("b", "c")
	clone("a", "d")
	if got := len(c.ChunkFiles()); got != files {
		t.Errorf("%d chunks for four files, and %d for one", got, files)
	}
	both("head -c 3000000 " + seed + " >dense")
	files = len(c.ChunkFiles())
	both("cp dense dense2") // cp itself copies what has no holes like this
	if got := len(c.ChunkFiles()); got != files {
		t.Errorf("%d chunks after a cp, %d before", got, files)
	}
	same("copied")

	both("dd if=" + seed + " of=b bs=1000 count=3000 seek=3333 conv=notrunc status=none; printf x >>b; truncate -s 22M c; fallocate -p -o 1000 -l 3000000 a; printf end | dd of=a bs=1 seek=21000000 conv=notrunc status=none")
	both("cp a e; printf y | dd of=a bs=1 seek=22000000 conv=notrunc status=none; sync a b c d e")
	same("written to")

	for _, p := range append(c.Chunkservers[:1:1], c.Master) {
		p.Kill()
		p.Launch()
	}
	c.WaitAlive()
	both("rm a")
	m.DropCaches()
	same("after a kill, without the source")
	both("printf z | dd of=d bs=1 seek=2000000 conv=notrunc status=none")
	clone("d", "f")
	both("printf q >>d; sync d f")
	m.Remount()
	same("after a remount")

	c.Shell(m.Path, "rm *")
	cluster.Until(t, cluster.StartLimit, "no chunk is left", func() error {
		if left := c.ChunkFiles(); len(left) > 0 {
			return fmt.Errorf("%d chunks", len(left))
		}
		return nil
	})
}

func init() { cluster.Register("copy", copyFile) }

// copyFile copies a whole file by copy_file_range, holes and all.
func copyFile(args []string) error {
	from, err := os.Open(args[0])
	if err != nil {
		return err
	}
	to, err := os.Create(args[1])
	if err != nil {
		return err
	}
	for {
		n, err := unix.CopyFileRange(int(from.Fd()), nil, int(to.Fd()), nil, 1<<40, 0)
		if err != nil {
			return err
		}
		if n == 0 {
			return to.Close()
		}
	}
}

// copyRange copies a range to a place that it does not overlap.
func (w *twin) copyRange() (string, error) {
	at, to, n := w.offset(), w.offset(), int64(w.length())
	if w.random.IntN(3) > 0 { // whole chunks, and perhaps more
		at, to, n = at>>20<<20, to>>20<<20, int64(1+w.random.IntN(3))<<20+n%4096
	}
	what := fmt.Sprintf("copy_file_range, %d bytes at %d to %d", n, at, to)
	want, err := os.ReadFile(w.oracle.Name())
	if err != nil {
		return what, err
	}
	n = max(0, min(n, int64(len(want))-at))
	if at < to+n && to < at+n {
		_, err := unix.CopyFileRange(int(w.mount.Fd()), &at, int(w.mount.Fd()), &to, int(n), 0)
		if n > 0 && !errors.Is(err, unix.EINVAL) {
			return what, fmt.Errorf("onto itself: %v", err)
		}
		return what, nil
	}
	if n > 0 {
		if _, err := w.oracle.WriteAt(want[at:at+n], to); err != nil {
			return what, err
		}
	}
	for n > 0 {
		copied, err := unix.CopyFileRange(int(w.mount.Fd()), &at, int(w.mount.Fd()), &to, int(n), 0)
		if err != nil || copied == 0 {
			return what, fmt.Errorf("copied %d with %d left: %v", copied, n, err)
		}
		n -= int64(copied)
	}
	return what, nil
}
