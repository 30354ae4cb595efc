package coherence

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/test/cluster"
)

func init() {
	cluster.Register("names", names)
	cluster.Register("attributes", attributes)
	cluster.Register("data", data)
	cluster.Register("append", appendLines)
	cluster.Register("mapped", mapped)
	cluster.Register("overwrite", overwrite)
	cluster.Register("renames", renames)
	cluster.Register("removed", removed)
	cluster.Register("watch", watch)
}

// check collects what went wrong.
type check struct{ errs []error }

func (c *check) that(ok bool, format string, args ...any) {
	if !ok {
		c.errs = append(c.errs, fmt.Errorf(format, args...))
	}
}

func (c *check) done(err error, what string) {
	if err != nil {
		c.errs = append(c.errs, fmt.Errorf("%s: %w", what, err))
	}
}

func (c *check) err() error { return errors.Join(c.errs...) }

// sees tells whether a name is there by all that tell: lstat, open, and the listing.
func (c *check) sees(path string, want bool, when string) {
	_, err := os.Lstat(path)
	c.that((err == nil) == want, "%s: lstat %s: %v, want it there: %v", when, path, err, want)
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err == nil {
		unix.Close(fd)
	}
	c.that((err == nil) == want, "%s: open %s: %v, want it there: %v", when, path, err, want)
	list, err := os.ReadDir(filepath.Dir(path))
	c.done(err, "list")
	listed := slices.ContainsFunc(list, func(e os.DirEntry) bool { return e.Name() == filepath.Base(path) })
	c.that(listed == want, "%s: %s is listed: %v, want %v", when, path, listed, want)
}

// names makes and removes names on one mount and looks on the other, which had cached
// that they are not there, or are.
func names(args []string) error {
	c := &check{}
	for round := range 12 {
		a, b := args[round%2], args[1-round%2]
		dir := "names"
		c.done(os.MkdirAll(filepath.Join(a, dir), 0o755), "mkdir")
		at := func(mount, name string) string { return filepath.Join(mount, dir, name) }
		steps := []struct {
			what string
			do   func() error
			gone string
			come string
		}{
			{"create", func() error { return os.WriteFile(at(a, "file"), nil, 0o644) }, "", "file"},
			{"link", func() error { return os.Link(at(a, "file"), at(a, "second")) }, "", "second"},
			{"rename", func() error { return os.Rename(at(a, "file"), at(a, "moved")) }, "file", "moved"},
			{"symlink", func() error { return os.Symlink("moved", at(a, "symlink")) }, "", "symlink"},
			{"mkdir", func() error { return os.Mkdir(at(a, "sub"), 0o755) }, "", "sub"},
			{"rename into", func() error { return os.Rename(at(a, "moved"), at(a, "sub/inner")) }, "moved", "sub/inner"},
			{"unlink", func() error { return os.Remove(at(a, "sub/inner")) }, "sub/inner", ""},
			{"rmdir", func() error { return os.Remove(at(a, "sub")) }, "sub", ""},
			{"unlink symlink", func() error { return os.Remove(at(a, "symlink")) }, "symlink", ""},
			{"unlink link", func() error { return os.Remove(at(a, "second")) }, "second", ""},
		}
		for _, s := range steps {
			if s.come != "" {
				c.sees(at(b, s.come), false, "before "+s.what)
			}
			if s.gone != "" {
				c.sees(at(b, s.gone), true, "before "+s.what)
			}
			c.done(s.do(), s.what)
			if s.come != "" {
				c.sees(at(b, s.come), true, "after "+s.what)
				c.sees(at(a, s.come), true, "after "+s.what)
			}
			if s.gone != "" {
				c.sees(at(b, s.gone), false, "after "+s.what)
				c.sees(at(a, s.gone), false, "after "+s.what)
			}
		}
	}
	return c.err()
}

// attributes changes them on one mount and looks on the other.
func attributes(args []string) error {
	c := &check{}
	for round := range 12 {
		a, b := filepath.Join(args[round%2], "attributes"), filepath.Join(args[1-round%2], "attributes")
		c.done(os.WriteFile(a, []byte("hello"), 0o644), "create")
		held, err := os.Open(b)
		c.done(err, "open")
		if err != nil {
			return c.err()
		}
		stat := func() (st unix.Stat_t) {
			var byName unix.Stat_t
			c.done(unix.Fstat(int(held.Fd()), &st), "fstat")
			c.done(unix.Stat(b, &byName), "stat")
			c.that(st == byName, "stat %+v and fstat %+v", byName, st)
			return st
		}
		xattr := func() string {
			value := make([]byte, 100)
			n, err := unix.Getxattr(b, "user.test", value)
			if err != nil {
				return err.Error()
			}
			return string(value[:n])
		}
		stat()
		xattr()
		c.done(os.Chmod(a, 0o600+os.FileMode(round)), "chmod")
		c.that(stat().Mode&0o777 == 0o600+uint32(round), "mode %o", stat().Mode)
		c.done(os.Truncate(a, 777), "truncate")
		c.that(stat().Size == 777, "size %d", stat().Size)
		at := time.Unix(1_000_000+int64(round), 5)
		c.done(os.Chtimes(a, at, at), "utimes")
		mtime := stat().Mtim
		c.that(mtime.Nano() == at.UnixNano(), "mtime %v", mtime)
		for _, value := range []string{"one", "two"} {
			c.done(unix.Setxattr(a, "user.test", []byte(value), 0), "setxattr")
			c.that(xattr() == value, "xattr %s, want %s", xattr(), value)
		}
		c.done(unix.Removexattr(a, "user.test"), "removexattr")
		c.that(xattr() == unix.ENODATA.Error(), "removed xattr %s", xattr())
		c.done(os.Link(a, a+"-2"), "link")
		c.that(stat().Nlink == 2, "%d links", stat().Nlink)
		c.done(os.Remove(a+"-2"), "unlink")
		c.that(stat().Nlink == 1, "%d links", stat().Nlink)
		c.done(os.Remove(a), "unlink")
		var st unix.Stat_t
		c.done(unix.Fstat(int(held.Fd()), &st), "fstat")
		c.that(st.Nlink == 0, "%d links of a file that was removed", st.Nlink)
		held.Close()
	}
	return c.err()
}

// data writes through an open file of one mount and reads through one of the other,
// without close, sync or open between.
func data(args []string) error {
	c := &check{}
	var files [2]*os.File
	for i, mount := range args {
		f, err := os.OpenFile(filepath.Join(mount, "data"), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		files[i] = f
	}
	for round := range 60 {
		a, b := files[round%2], files[1-round%2]
		p := bytes.Repeat([]byte(fmt.Sprintf("%08d", round)), 100+round*3)
		off := int64(round * 517)
		if round%10 == 9 {
			c.done(a.Truncate(off), "truncate")
		}
		n, err := a.WriteAt(p, off)
		c.done(err, "write")
		c.that(n == len(p), "%d bytes written", n)
		got := make([]byte, len(p))
		_, err = b.ReadAt(got, off)
		c.done(err, "read")
		c.that(bytes.Equal(got, p), "round %d: read %.20q, want %.20q", round, got, p)
		var as, bs unix.Stat_t
		c.done(unix.Fstat(int(b.Fd()), &bs), "fstat")
		c.done(unix.Fstat(int(a.Fd()), &as), "fstat")
		c.that(as.Size == bs.Size && as.Mtim == bs.Mtim, "round %d: size and mtime %d %v, of the reader %d %v", round, as.Size, as.Mtim, bs.Size, bs.Mtim)
	}
	return c.err()
}

// appendLines appends numbered lines of a writer, through a file that is open for appending
// or, where the last argument is fcntl, became so.
func appendLines(args []string) error {
	path, writer := args[0], args[1]
	count, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	flags := map[string]int{"open": os.O_APPEND, "fcntl": 0}[args[3]]
	f, err := os.OpenFile(path, os.O_WRONLY|flags|os.O_CREATE, 0o644)
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETFL, unix.O_APPEND)
	}
	if err != nil {
		return err
	}
	for i := range count {
		line := appendedLine(writer, i)
		if n, err := f.WriteString(line); err != nil || n != len(line) {
			return fmt.Errorf("append %d: %d bytes, %w", i, n, err)
		}
	}
	return f.Close()
}

// appendedLine is what a writer appends as its line i.
func appendedLine(writer string, i int) string {
	return fmt.Sprintf("%s %04d %s\n", writer, i, strings.Repeat("x", i%200))
}

// mapped stores through a mapping on one mount, syncs it, and reads through a mapping
// on the other.
func mapped(args []string) error {
	const size = 3 * 4096
	c := &check{}
	var maps [2][]byte
	for i, mount := range args {
		f, err := os.OpenFile(filepath.Join(mount, "mapped"), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		if i == 0 {
			c.done(f.Truncate(size), "truncate")
		}
		if maps[i], err = unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
			return err
		}
		defer unix.Munmap(maps[i])
	}
	for round := range 40 {
		a, b := maps[round%2], maps[1-round%2]
		at := round * 211 % (size - 8)
		want := fmt.Sprintf("%08d", round)
		_ = b[at] // in memory
		copy(a[at:], want)
		c.done(unix.Msync(a, unix.MS_SYNC), "msync")
		got := string(b[at : at+8])
		c.that(got == want, "round %d: read %q, want %q", round, got, want)
	}
	return c.err()
}

// overwrite writes blocks of a file again and again for a while, in its own way, and
// checks that its own are whole: those whose number is this writer's, modulo writers.
func overwrite(args []string) error {
	path, how := args[0], args[1]
	mine, _ := strconv.Atoi(args[2])
	writers, _ := strconv.Atoi(args[3])
	millis, _ := strconv.Atoi(args[4])
	const block, blocks = 4096, 24
	flags := os.O_RDWR | os.O_CREATE
	if how == "direct" {
		flags |= unix.O_DIRECT
	}
	f, err := os.OpenFile(path, flags, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	buffer, err := unix.Mmap(-1, 0, 2*block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	p, got := buffer[:block], buffer[block:]
	var shared []byte
	if how == "mmap" {
		if shared, err = unix.Mmap(int(f.Fd()), 0, block*blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
			return err
		}
		defer unix.Munmap(shared)
	}
	end := time.Now().Add(time.Duration(millis) * time.Millisecond)
	rounds := 0
	for ; time.Now().Before(end); rounds++ {
		for k := mine; k < blocks; k += writers {
			off := int64(k * block)
			for i := range p {
				p[i] = byte(rounds + k + i)
			}
			if shared != nil {
				copy(shared[off:], p)
				if err := unix.Msync(shared[off:off+block], unix.MS_SYNC); err != nil {
					return fmt.Errorf("msync: %w", err)
				}
				copy(got, shared[off:off+block])
			} else {
				if _, err := f.WriteAt(p, off); err != nil {
					return err
				}
				if _, err := f.ReadAt(got, off); err != nil {
					return err
				}
			}
			if !bytes.Equal(got, p) {
				return fmt.Errorf("%s, round %d, block %d: not what was just written", how, rounds, k)
			}
		}
	}
	fmt.Println(rounds, "rounds")
	return nil
}

// renames moves files to and fro between two directories of a mount. Others do so too.
func renames(args []string) error {
	mount := args[0]
	count, _ := strconv.Atoi(args[1])
	moved := 0
	for i := range count {
		name := fmt.Sprintf("file-%d", i%5)
		from, to := filepath.Join(mount, "one", name), filepath.Join(mount, "two", name)
		if i%2 == 1 {
			from, to = to, from
		}
		switch err := os.Rename(from, to); {
		case err == nil:
			moved++
		case !errors.Is(err, os.ErrNotExist):
			return err
		}
	}
	fmt.Println(moved, "moved")
	return nil
}

// removed stays in a directory of one mount that is removed through the other.
func removed(args []string) error {
	c := &check{}
	c.done(os.Mkdir(filepath.Join(args[0], "removed"), 0o755), "mkdir")
	c.done(os.Chdir(filepath.Join(args[1], "removed")), "chdir")
	_, err := os.Stat("file")
	c.that(errors.Is(err, os.ErrNotExist), "stat: %v", err)
	c.done(os.Remove(filepath.Join(args[0], "removed")), "rmdir")
	_, err = os.Stat("file")
	c.that(err != nil, "a file in a directory that was removed")
	err = os.WriteFile("file", nil, 0o644)
	c.that(errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESTALE), "create in a directory that was removed: %v", err)
	c.sees(filepath.Join(args[1], "removed"), false, "after rmdir")
	return c.err()
}

// watch reads a counter on a mount until it is as high as asked for; it never goes back.
func watch(args []string) error {
	want, _ := strconv.Atoi(args[1])
	for last := 0; last < want; {
		text, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil || n < last {
			return fmt.Errorf("read %q after %d", text, last)
		}
		last = n
	}
	return nil
}
