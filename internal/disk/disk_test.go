package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/distrifs/distrifs/proto"
)

// open opens a file for reading and writing, made if need be.
func open(t *testing.T, fsys FS, name string) File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, fsys FS, dir string) string {
	t.Helper()
	list, err := fsys.ReadDir(dir)
	must(t, err)
	var all []string
	for _, e := range list {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

// implementations gives each test both filesystems and a directory in it.
func implementations(t *testing.T, test func(t *testing.T, fsys FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, OS, t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		m := NewMem()
		must(t, m.Mkdir("/dir", 0o755))
		test(t, m, "/dir")
	})
}

func TestNames(t *testing.T) {
	implementations(t, func(t *testing.T, fsys FS, dir string) {
		at := func(name string) string { return filepath.Join(dir, name) }
		must(t, fsys.MkdirAll(at("a/b"), 0o755))
		must(t, fsys.MkdirAll(at("a/b"), 0o755))
		open(t, fsys, at("a/f"))
		open(t, fsys, at("a/g"))
		must(t, fsys.Rename(at("a/f"), at("a/b/f")))
		must(t, fsys.Rename(at("a/g"), at("a/b/f")))
		must(t, fsys.SyncDir(at("a/b")))
		if got := names(t, fsys, at("a")) + "/" + names(t, fsys, at("a/b")); got != "b/f" {
			t.Errorf("names %q", got)
		}
		if _, err := fsys.OpenFile(at("a/b/f"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); !errors.Is(err, fs.ErrExist) {
			t.Errorf("exclusive open of a file that is there: %v", err)
		}
		for what, err := range map[string]error{
			"remove":  fsys.Remove(at("none")),
			"rename":  fsys.Rename(at("none"), at("other")),
			"syncdir": fsys.SyncDir(at("none")),
			"mkdir":   fsys.Mkdir(at("none/x"), 0o755),
		} {
			if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "none") {
				t.Errorf("%s of what is not there: %v", what, err)
			}
		}
		if err := fsys.Remove(at("a/b")); !errors.Is(err, syscall.ENOTEMPTY) {
			t.Errorf("remove of a full directory: %v", err)
		}
		must(t, fsys.Remove(at("a/b/f")))
		must(t, fsys.Remove(at("a/b")))
		if info, err := fsys.Stat(at("a")); err != nil || !info.IsDir() || info.Name() != "a" {
			t.Errorf("stat: %v, %v", info, err)
		}
	})
}

// The same random calls leave the same bytes in both filesystems and in a slice.
func TestFileAgainstSlice(t *testing.T) {
	implementations(t, func(t *testing.T, fsys FS, dir string) {
		const limit = 40_000
		random := rand.New(rand.NewPCG(1, 2))
		f := open(t, fsys, filepath.Join(dir, "f"))
		var want []byte
		grow := func(size int) { want = append(want, make([]byte, max(0, size-len(want)))...) }
		for step := range 3000 {
			off, n := random.IntN(limit), random.IntN(9000)
			switch random.IntN(6) {
			case 0, 1, 2:
				p := make([]byte, n)
				for i := range p {
					p[i] = byte(random.Uint32())
				}
				_, err := f.WriteAt(p, int64(off))
				must(t, err)
				if n > 0 {
					grow(off + n)
				}
				copy(want[min(off, len(want)):], p)
			case 3:
				must(t, f.Truncate(int64(off)))
				grow(off)
				want = want[:off:off]
			case 4:
				if err := f.Allocate(int64(off), int64(n)); err != nil {
					t.Fatal(err)
				}
				if n > 0 {
					grow(off + n)
				}
			case 5:
				must(t, f.PunchHole(int64(off), int64(n)))
				clear(want[min(off, len(want)):min(off+n, len(want))])
			}
			got := make([]byte, len(want)+10)
			k, err := f.ReadAt(got, 0)
			if err != io.EOF || !bytes.Equal(got[:k], want) {
				t.Fatalf("step %d: read %d bytes, %v; want %d", step, k, err, len(want))
			}
		}
		must(t, f.Sync())
	})
}

func TestLockExcludes(t *testing.T) {
	implementations(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "lock")
		lock, err := fsys.Lock(name)
		must(t, err)
		_, err = fsys.Lock(name) // L15: one daemon a folder
		if !errors.Is(err, proto.InUse) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
			t.Errorf("second lock: %v", err)
		}
		must(t, lock.Close())
		lock, err = fsys.Lock(name)
		must(t, err)
		must(t, lock.Close())
	})
}

// Another process is refused too, and the lock ends with its holder.
func TestLockBetweenProcesses(t *testing.T) {
	if name := os.Getenv("DISK_TEST_LOCK"); name != "" {
		_, err := OS.Lock(name)
		fmt.Println(err)
		os.Exit(0)
	}
	name := filepath.Join(t.TempDir(), "lock")
	lock, err := OS.Lock(name)
	must(t, err)
	child := func() string {
		cmd := exec.Command(os.Args[0], "-test.run=TestLockBetweenProcesses")
		cmd.Env = append(os.Environ(), "DISK_TEST_LOCK="+name)
		out, err := cmd.CombinedOutput()
		must(t, err)
		return string(out)
	}
	if out := child(); !strings.Contains(out, fmt.Sprint("held by process ", os.Getpid(), ";")) {
		t.Errorf("child says %q", out)
	}
	must(t, lock.Close())
	if out := child(); strings.TrimSpace(out) != "<nil>" {
		t.Errorf("child says %q", out)
	}
	lock, err = OS.Lock(name) // the child ended without closing it
	must(t, err)
	must(t, lock.Close())
}

func TestUsage(t *testing.T) {
	implementations(t, func(t *testing.T, fsys FS, dir string) {
		total, free, err := fsys.Usage(dir)
		if err != nil || total == 0 || free > total {
			t.Errorf("total %d, free %d, %v", total, free, err)
		}
	})
}

func TestReplaceFile(t *testing.T) {
	implementations(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "id")
		for _, text := range []string{"first", "the second"} {
			must(t, ReplaceFile(fsys, name, []byte(text), 0o644))
			got, err := ReadFile(fsys, name, 100)
			if err != nil || string(got) != text {
				t.Errorf("%q, %v", got, err)
			}
		}
		if _, err := ReadFile(fsys, name, 3); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("over the limit: %v", err)
		}
		if got := names(t, fsys, dir); got != "id" {
			t.Errorf("names %q", got)
		}
	})
}
