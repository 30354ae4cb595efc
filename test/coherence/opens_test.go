package coherence

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/test/cluster"
)

func init() {
	cluster.Register("hold", hold)
}

// What is open for reading stays readable, though the master was not asked when it was opened:
// in whatever way its last name goes, with the mount stopped meanwhile, and over a
// restart of the master.
func TestOpenFilesStay(t *testing.T) {
	c, a, b := two(t)
	signs := t.TempDir()
	is := func(sign string) string { return filepath.Join(signs, sign) }
	job := c.Job("hold", b.Path, a.Path, signs)
	if err := await(is("open")); err != nil {
		t.Fatal(err)
	}
	b.Pause()
	removal := c.Command("/", "rm", filepath.Join(a.Path, "stopped")) // there chdir would wait, too
	time.Sleep(leaseTime / 4)                                         // much less than its leases last
	b.Resume()
	removal.Must()
	raise(t, is("look"))
	if err := await(is("looked")); err != nil {
		t.Error(err)
	}
	c.Master.Kill()
	c.Master.Launch()
	raise(t, is("look again"))
	if out := job.Must(); out != "" {
		t.Log(out)
	}
}

func raise(t *testing.T, sign string) {
	t.Helper()
	if err := os.WriteFile(sign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// await waits for a sign.
func await(sign string) error {
	for began := time.Now(); time.Since(began) < cluster.JobLimit/2; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(sign); err == nil {
			return nil
		}
	}
	return fmt.Errorf("no sign %q came", sign)
}

// reapTime is in which what is not open has gone.
const reapTime = 3 * time.Second

// hold opens files, has them lose their names, and reads them when what is not open has gone.
func hold(args []string) error {
	c := &check{}
	here, there, signs := args[0], args[1], args[2]
	c.done(os.Mkdir(filepath.Join(here, "own"), 0o755), "mkdir")
	held := map[string]*os.File{}
	open := func(name string) {
		path := filepath.Join(here, name)
		_, err := os.Stat(path)
		c.done(err, "stat "+name)
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0) // what is read is not in the page cache
		c.done(err, "open "+name)
		held[name] = f
	}
	write := func(mount, name string) {
		c.done(os.WriteFile(filepath.Join(mount, name), []byte(name), 0o644), "write "+name)
	}
	for _, name := range []string{"stopped", "unlinked there", "replaced there", "linked", "own/unlinked here", "own/replaced here", "own/again"} {
		if filepath.Dir(name) == "own" {
			write(here, name)
		} else {
			write(there, name)
		}
		open(name)
	}
	c.done(held["own/again"].Close(), "close")
	open("own/again")
	c.done(os.Remove(filepath.Join(there, "unlinked there")), "unlink there")
	write(there, "new")
	c.done(os.Rename(filepath.Join(there, "new"), filepath.Join(there, "replaced there")), "replace there")
	c.done(os.Link(filepath.Join(here, "linked"), filepath.Join(here, "other name")), "link")
	c.done(os.Remove(filepath.Join(here, "linked")), "unlink one name")
	c.done(os.Remove(filepath.Join(here, "other name")), "unlink the other name")
	c.done(os.Remove(filepath.Join(here, "own/unlinked here")), "unlink here")
	write(here, "own/new")
	c.done(os.Rename(filepath.Join(here, "own/new"), filepath.Join(here, "own/replaced here")), "replace here")
	c.done(os.Remove(filepath.Join(here, "own/again")), "unlink what was opened twice")
	for _, sign := range []string{"look", "look again"} {
		c.done(os.WriteFile(filepath.Join(signs, "open"), nil, 0o600), "give a sign")
		c.done(await(filepath.Join(signs, sign)), "wait")
		time.Sleep(reapTime)
		for name, f := range held {
			got := make([]byte, 100)
			n, _ := f.ReadAt(got, 0)
			var st unix.Stat_t
			c.done(unix.Fstat(int(f.Fd()), &st), "fstat")
			c.that(string(got[:n]) == name && st.Nlink == 0, "%s: %q with %d names", name, got[:n], st.Nlink)
		}
		c.done(os.WriteFile(filepath.Join(signs, "looked"), nil, 0o600), "give a sign")
	}
	return c.err()
}
