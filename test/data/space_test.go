package data

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/test/cluster"
)

// allocate calls fallocate(2) in any of the modes that there are. The local
// filesystem may lack some: there, zeros are written instead.
func (w *twin) allocate() (string, error) {
	modes := []uint32{
		0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE,
		unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE,
	}
	mode := modes[w.random.IntN(len(modes))]
	at, n := w.offset(), int64(w.length())
	if w.random.IntN(2) == 0 { // whole chunks
		at, n = at>>20<<20, int64(1+w.random.IntN(3))<<20
	}
	what := fmt.Sprintf("fallocate mode %#x, %d bytes at %d", mode, n, at)
	err := unix.Fallocate(int(w.oracle.Fd()), mode, at, n)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = w.zero(mode, at, n)
	}
	if err != nil {
		return what, err
	}
	return what, unix.Fallocate(int(w.mount.Fd()), mode, at, n)
}

// zero does to the local file what fallocate should.
func (w *twin) zero(mode uint32, at, n int64) error {
	info, err := w.oracle.Stat()
	if err != nil {
		return err
	}
	if size := info.Size(); mode&unix.FALLOC_FL_KEEP_SIZE != 0 {
		n = min(n, size-at)
	} else if at+n > size {
		if err := w.oracle.Truncate(at + n); err != nil {
			return err
		}
	}
	if n > 0 && mode&^unix.FALLOC_FL_KEEP_SIZE != 0 {
		_, err = w.oracle.WriteAt(make([]byte, n), at)
	}
	return err
}

// seek goes through the file on the mount from hole to hole. Holes must be zeros in the
// local file; whatever else there is must be in what is called data.
func (w *twin) seek() (string, error) {
	what := "seek"
	want, err := os.ReadFile(w.oracle.Name())
	if err != nil {
		return what, err
	}
	fd, size := int(w.mount.Fd()), int64(len(want))
	for at := int64(0); at < size; {
		data, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			data, err = size, nil
		}
		switch {
		case err != nil:
			return what, err
		case data < at || data > size:
			return what, fmt.Errorf("data behind %d at %d of %d", at, data, size)
		case len(bytes.TrimLeft(want[at:data], "\x00")) > 0:
			return what, fmt.Errorf("%d to %d is no hole", at, data)
		case data == size:
			return what, nil
		}
		if at, err = unix.Seek(fd, data, unix.SEEK_HOLE); err != nil || at <= data || at > size {
			return what, fmt.Errorf("the hole behind data at %d is at %d of %d: %v", data, at, size, err)
		}
	}
	if _, err := unix.Seek(fd, size, unix.SEEK_DATA); !errors.Is(err, unix.ENXIO) {
		return what, fmt.Errorf("SEEK_DATA at the end: %w", err)
	}
	return what, nil
}

// Whole chunks in a hole leave the disks of the chunkservers, and st_blocks says so
// on every mount.
func TestPunchedChunksLeaveTheDisks(t *testing.T) {
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20})
	m, other := c.Mount(), c.Mount()
	c.Shell(m.Path, "head -c 8M /dev/urandom >file; sync file")
	want := filepath.Join(t.TempDir(), "want")
	c.Shell(m.Path, fmt.Sprintf("cp file %s; fallocate -p -o 1000000 -l 5000000 file; fallocate -p -o 1000000 -l 5000000 %[1]s; cmp file %[1]s", want))
	chunksOnDisk(t, c, 4) // 0 and 5 in part, 6, 7
	for _, at := range []*cluster.Mount{m, other} {
		if out := c.Shell(at.Path, "cmp file "+want+"; stat -c %b file"); strings.TrimSpace(out) != "8192" {
			t.Errorf("%s: %s blocks, want 8192", at.Name, out)
		}
	}
	c.Shell(m.Path, "fallocate -p -o 0 -l 8M file; test $(stat -c %s file) = 8388608; test $(stat -c %b file) = 0")
	chunksOnDisk(t, c, 0)
	c.Shell(m.Path, "head -c 100K /dev/urandom >small; fallocate -p -o 0 -l 1M small; test $(stat -c %s,%b small) = 102400,0")
	chunksOnDisk(t, c, 0)
	c.Shell(m.Path, `if fallocate -l 1P huge 2>message; then exit 1; fi; grep -q "No space left" message; test $(stat -c %s huge) = 0`)
	c.Shell(m.Path, `if fallocate -c -o 0 -l 1M file 2>message; then exit 1; fi; grep -q "not supported" message`)
	c.Shell(m.Path, `if fallocate -i -o 0 -l 1M file 2>message; then exit 1; fi; grep -q "not supported" message`)
}

func chunksOnDisk(t *testing.T, c *cluster.Cluster, want int) {
	t.Helper()
	cluster.Until(t, cluster.StartLimit, fmt.Sprintf("%d chunks are on disk", want), func() error {
		if n := len(c.ChunkFiles()); n != want {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
}

func init() {
	cluster.Register("unnamed file", unnamedFile)
	cluster.Register("write flags", writeFlags)
	cluster.Register("largest file", largestFile)
}

// A file of O_TMPFILE that is linked stays, also for other mounts; another goes with
// its chunks.
func TestUnnamedFiles(t *testing.T) {
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20})
	m, other := c.Mount(), c.Mount()
	c.Job("unnamed file", m.Path).Must()
	c.Shell(other.Path, `test "$(cat name)" = "written without a name"; test $(ls | wc -l) = 1`)
	chunksOnDisk(t, c, 1)
	m.Remount()
	c.Shell(m.Path, `test "$(cat name)" = "written without a name"; test $(stat -c %h,%a name) = 1,640`)
}

func unnamedFile(args []string) error {
	for _, name := range []string{"name", ""} {
		fd, err := unix.Open(args[0], unix.O_TMPFILE|unix.O_RDWR, 0o640)
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, []byte("written without a name")); err != nil {
			return err
		}
		if err := unix.Fsync(fd); err != nil {
			return err
		}
		if name != "" {
			err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, filepath.Join(args[0], name), unix.AT_SYMLINK_FOLLOW)
			if err != nil {
				return err
			}
		}
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
	return nil
}

// The flags of pwritev2(2): the kernel finds the offset of RWF_APPEND itself and
// passes on RWF_DSYNC and RWF_SYNC.
func TestWriteFlags(t *testing.T) {
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20})
	m, other := c.Mount(), c.Mount()
	c.Job("write flags", filepath.Join(m.Path, "file")).Must()
	c.Shell(other.Path, `test "$(cat file)" = "012x4appendedtoo"`)
}

func writeFlags(args []string) error {
	fd, err := unix.Open(args[0], unix.O_CREAT|unix.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	for _, w := range []struct {
		text  string
		off   int64
		flags int
	}{
		{"01234", 0, 0}, {"appended", 0, unix.RWF_APPEND}, {"too", 1, unix.RWF_APPEND | unix.RWF_SYNC}, {"x", 3, unix.RWF_DSYNC},
	} {
		if n, err := unix.Pwritev2(fd, [][]byte{[]byte(w.text)}, w.off, w.flags); n != len(w.text) || err != nil {
			return fmt.Errorf("write %+v: %d, %w", w, n, err)
		}
	}
	return unix.Close(fd)
}

// Files reach to 2^63-2: the largest size is 2^63-1 bytes, and what would go beyond
// it is refused with EFBIG.
func TestLargestFile(t *testing.T) {
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20})
	m := c.Mount()
	c.Job("largest file", filepath.Join(m.Path, "file")).Must()
	chunksOnDisk(t, c, 2)
}

func largestFile(args []string) error {
	f, err := os.Create(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	fd := int(f.Fd())
	if _, err := f.WriteAt([]byte("head"), 0); err != nil {
		return err
	}
	if err := f.Truncate(math.MaxInt64); err != nil {
		return err
	}
	const last = math.MaxInt64 - 4
	if _, err := f.WriteAt([]byte("tail"), last); err != nil {
		return err
	}
	got := make([]byte, 4)
	if _, err := f.ReadAt(got, last); err != nil || string(got) != "tail" {
		return fmt.Errorf("read %q, %w", got, err)
	}
	if at, err := unix.Seek(fd, 5000, unix.SEEK_DATA); err != nil || at < last/4096*4096 || at > last {
		return fmt.Errorf("data at %d, %w", at, err)
	}
	if _, err := unix.Pwrite(fd, []byte("x"), math.MaxInt64); !errors.Is(err, unix.EFBIG) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("write behind the largest size: %w", err)
	}
	if err := unix.Fallocate(fd, 0, math.MaxInt64, 1); !errors.Is(err, unix.EFBIG) {
		return fmt.Errorf("fallocate beyond the largest size: %w", err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || stat.Size != math.MaxInt64 || stat.Blocks > 2<<20/512 {
		return fmt.Errorf("size %d, %d blocks, %w", stat.Size, stat.Blocks, err)
	}
	return nil
}
