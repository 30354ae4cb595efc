package coherence

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/test/cluster"
)

func init() {
	cluster.Register("fresh", fresh)
	cluster.Register("count up", countUp)
}

// What one mount does in a folder that it has to itself it answers before the master has it.
// The other mount sees all of it, to the last attribute, whenever it looks. G4
func TestNamesBehindAreSeenAtOnce(t *testing.T) {
	c, a, b := two(t)
	if out, err := c.Job("fresh", a.Path, b.Path).Wait(cluster.JobLimit); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// fresh makes a folder on one mount, works in it, and compares what both say.
func fresh(args []string) error {
	c := &check{}
	a, b := args[0], args[1]
	c.done(os.Mkdir(filepath.Join(a, "warm"), 0o755), "mkdir") // the first ones are not answered here
	for i := range 5 {
		c.done(os.Mkdir(filepath.Join(a, "warm", fmt.Sprint(i)), 0o755), "mkdir")
	}
	for round := range 10 {
		dir := fmt.Sprint("warm/fresh-", round)
		at := func(name string) string { return filepath.Join(a, dir, name) }
		c.done(os.Mkdir(filepath.Join(a, dir), 0o755), "mkdir")
		steps := []func() error{
			func() error { return os.WriteFile(at("file"), []byte("hello"), 0o640) },
			func() error { return os.WriteFile(at("empty"), nil, 0o640) },
			func() error { return os.Mkdir(at("sub"), 0o2755) },
			func() error { return os.WriteFile(at("sub/inner"), []byte(strings.Repeat("x", 10_000)), 0o600) },
			func() error { return os.Symlink("file", at("symlink")) },
			func() error { return unix.Mkfifo(at("fifo"), 0o600) },
			func() error { return os.Rename(at("file"), at("moved")) },
			func() error { return os.Chmod(at("moved"), 0o4755) },
			func() error { return os.Chown(at("empty"), 7, 8) },
			func() error { return os.Chtimes(at("empty"), time.Unix(77, 5), time.Unix(78, 6)) },
			func() error { return os.Mkdir(at("gone"), 0o755) },
			func() error { return os.Remove(at("gone")) },
			func() error { return os.WriteFile(at("victim"), []byte("v"), 0o600) },
			func() error { return os.Rename(at("moved"), at("victim")) },
			func() error { return os.Rename(at("victim"), at("sub/deep")) },
			func() error { return os.Remove(at("fifo")) },
			func() error { return os.Link(at("empty"), at("second")) },
			func() error { return os.Remove(at("empty")) },
			func() error { return os.Mkdir(at("sub/again"), 0o700) },
			func() error { return os.WriteFile(at("sub/deep"), []byte("more than before"), 0) },
		}
		for k, step := range steps[:min(len(steps), 3+2*round)] {
			c.done(step(), fmt.Sprint("step ", k))
		}
		mine, err := describeTree(filepath.Join(a, dir))
		c.done(err, "walk here")
		theirs, err := describeTree(filepath.Join(b, dir))
		c.done(err, "walk there")
		c.that(mine == theirs, "round %d: here\n%sthere\n%s", round, mine, theirs)
		after, err := describeTree(filepath.Join(a, dir))
		c.done(err, "walk here again")
		c.that(after == theirs, "round %d: then here\n%sthere\n%s", round, after, theirs)
	}
	return c.err()
}

// describeTree says all there is to say of a folder.
func describeTree(top string) (string, error) {
	var text strings.Builder
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		content := ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			bytes, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(bytes)
		case unix.S_IFLNK:
			if content, err = os.Readlink(path); err != nil {
				return err
			}
		}
		fmt.Fprintf(&text, "%s: inode %d, mode %o, %d links, %d:%d, %d bytes, %d blocks, mtime %v, ctime %v, %.20q\n", strings.TrimPrefix(path, top),
			st.Ino, st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Blocks, st.Mtim, st.Ctim, content)
		return nil
	})
	return text.String(), err
}

// countUp makes folders of rising numbers until one cannot be made or a file appears, and
// then writes down how many it has made.
func countUp(args []string) error {
	dir, stop, result := args[0], args[1], args[2]
	n := 0
	for ; ; n++ {
		if _, err := os.Lstat(stop); err == nil {
			break
		}
		if err := os.Mkdir(filepath.Join(dir, fmt.Sprintf("%06d", n)), 0o755); err != nil {
			break
		}
	}
	return os.WriteFile(result, []byte(fmt.Sprint(n)), 0o644)
}

// counted tells how many names of countUp a folder has. All before the last one that is
// listed are there: a listing that goes on while names are made may lack some, lstat does not.
func counted(dir string) (int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	listed := map[string]bool{}
	for _, entry := range entries {
		listed[entry.Name()] = true
	}
	last, err := strconv.Atoi(entries[len(entries)-1].Name()) // by name
	if err != nil {
		return 0, err
	}
	for n := range last {
		name := fmt.Sprintf("%06d", n)
		if listed[name] {
			continue
		}
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			return 0, fmt.Errorf("%06d is there, and before it: %w", last, err)
		}
	}
	return last + 1, nil
}

// The other mount looks again and again while names are made as fast as can be: it sees a
// prefix that never shrinks, and has all of it at the end. A client that stands still is
// left behind after the lease time: what it had not sent by then is lost, and it says so.
// G2, G4
func TestNamesBehindInAStorm(t *testing.T) {
	c, a, b := two(t, "--lease-time", "2s")
	for round := range 2 {
		stops := round == 1
		dir := fmt.Sprint("storm-", round)
		c.Shell(a.Path, "mkdir "+dir+" "+dir+"/warm; mkdir "+dir+"/warm/0; mkdir "+dir+"/warm/1; mkdir "+dir+"/warm/2; mkdir "+dir+"/warm/names")
		dir += "/warm/names"
		stop, result := filepath.Join(t.TempDir(), "stop"), filepath.Join(t.TempDir(), "result")
		job := c.Job("count up", filepath.Join(a.Path, dir), stop, result)
		time.Sleep(300 * time.Millisecond)
		if stops {
			a.Pause()
		}
		seen := 0
		for range 10 {
			n, err := counted(filepath.Join(b.Path, dir))
			if err != nil || n < seen {
				t.Fatalf("round %d: %d names, %v, after %d", round, n, err, seen)
			}
			seen = n
			time.Sleep(20 * time.Millisecond)
		}
		if stops {
			a.Resume()
		}
		if err := os.WriteFile(stop, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		job.Must()
		text, err := os.ReadFile(result)
		if err != nil {
			t.Fatal(err)
		}
		var made int
		fmt.Sscan(string(text), &made)
		here, there := c.Shell(a.Path, "ls "+dir), c.Shell(b.Path, "ls "+dir)
		if here != there {
			t.Errorf("round %d: here\n%s\nthere\n%s", round, here, there)
		}
		n := len(strings.Fields(there))
		if n < seen || !stops && n != made {
			t.Errorf("round %d: %d names at the end; %d were made, %d seen", round, n, made, seen)
		}
		t.Logf("round %d: %d names", round, n)
	}
}
