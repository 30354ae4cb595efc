package coherence

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/test/cluster"
)

func init() {
	cluster.Register("replaced", replaced)
	cluster.Register("links", links)
	cluster.Register("set-ids", setIDs)
}

// What one mount has open, or looks at, while another takes it away.
func TestOpenElsewhere(t *testing.T) {
	c, a, b := two(t)
	for _, what := range []string{"replaced", "links", "set-ids"} {
		t.Run(what, func(t *testing.T) {
			if out, err := c.Job(what, a.Path, b.Path).Wait(cluster.JobLimit); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// replaced removes and replaces a file that the other mount has open: it goes on there, for
// reading and for writing, and has no names any more.
func replaced(args []string) error {
	c := &check{}
	for round := range 8 {
		a, b := filepath.Join(args[round%2], "file"), filepath.Join(args[1-round%2], "file")
		c.done(os.WriteFile(a, []byte("the first"), 0o644), "write")
		f, err := os.OpenFile(b, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if round%4 < 2 {
			c.done(os.Remove(a), "unlink")
		} else {
			c.done(os.WriteFile(a+".new", []byte("the second"), 0o644), "write")
			c.done(os.Rename(a+".new", a), "rename over it")
			got, err := os.ReadFile(b)
			c.done(err, "read what replaced it")
			c.that(string(got) == "the second", "what replaced it is %q", got)
		}
		c.goesOn(f, "the first")
		c.done(f.Close(), "close")
		os.Remove(a)
	}
	return c.err()
}

// goesOn works on an open file that has no name left.
func (c *check) goesOn(f *os.File, content string) {
	var st unix.Stat_t
	c.done(unix.Fstat(int(f.Fd()), &st), "fstat")
	c.that(st.Nlink == 0 && st.Size == int64(len(content)), "%d links, %d bytes", st.Nlink, st.Size)
	got := make([]byte, 100)
	n, err := f.ReadAt(got, 0)
	c.that(err == io.EOF && string(got[:n]) == content, "it reads %q, %v", got[:n], err)
	_, err = f.WriteAt([]byte("more"), int64(len(content)))
	c.done(err, "write")
	c.done(f.Sync(), "fsync")
	n, _ = f.ReadAt(got, 0)
	c.that(string(got[:n]) == content+"more", "then it reads %q", got[:n])
	c.done(f.Truncate(3), "truncate")
	c.done(unix.Fstat(int(f.Fd()), &st), "fstat")
	c.that(st.Nlink == 0 && st.Size == 3, "then %d links, %d bytes", st.Nlink, st.Size)
}

// links has both mounts see one inode, with all of its names, after each change.
func links(args []string) error {
	c := &check{}
	inode := uint64(0)
	see := func(want uint64, names ...string) {
		for _, mount := range args {
			for _, name := range names {
				var st unix.Stat_t
				c.done(unix.Stat(filepath.Join(mount, name), &st), "stat "+name)
				if inode == 0 {
					inode = st.Ino
				}
				c.that(st.Nlink == want && st.Ino == inode, "%s in %s: inode %d with %d links; want %d with %d", name, mount, st.Ino, st.Nlink, inode, want)
			}
		}
	}
	in := func(mount int, name string) string { return filepath.Join(args[mount], name) }
	c.done(os.WriteFile(in(0, "one"), nil, 0o644), "create")
	see(1, "one")
	c.done(os.Link(in(1, "one"), in(1, "two")), "link")
	see(2, "one", "two")
	c.done(os.Link(in(0, "two"), in(0, "three")), "link")
	see(3, "one", "two", "three")
	c.done(os.Rename(in(1, "one"), in(1, "four")), "rename")
	see(3, "two", "three", "four")
	c.done(os.WriteFile(in(0, "other"), nil, 0o644), "create")
	c.done(os.Rename(in(0, "other"), in(0, "two")), "rename over a link")
	see(2, "three", "four")
	c.done(os.Remove(in(1, "three")), "unlink")
	see(1, "four")
	return c.err()
}

// setIDs has a user write to what he has open when it was made set-user-id through the other
// mount: the bit must go before his bytes are in.
func setIDs(args []string) error {
	a, b := filepath.Join(args[0], "program"), filepath.Join(args[1], "program")
	if err := os.WriteFile(a, []byte("x"), 0o666); err != nil {
		return err
	}
	f, err := os.OpenFile(b, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Chmod(a, os.ModeSetuid|0o777); err != nil {
		return err
	}
	cmd := exec.Command("echo", "more")
	cmd.Stdout = f
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1001, Gid: 1001}}
	if err := cmd.Run(); err != nil {
		return err
	}
	info, err := os.Stat(a)
	if err == nil && info.Mode()&os.ModeSetuid != 0 {
		err = fmt.Errorf("mode %v after a user wrote to it", info.Mode())
	}
	return err
}
