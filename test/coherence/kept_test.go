package coherence

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/test/cluster"
)

func init() {
	cluster.Register("told", told)
	cluster.Register("together", together)
}

// The kernel of one mount goes by the names that it was told, until the other mount changes them.
func TestNamesThatTheKernelKeeps(t *testing.T) { // G4
	c, a, b := two(t)
	for _, what := range []string{"told", "together"} {
		t.Run(what, func(t *testing.T) {
			if out, err := c.Job(what, a.Path, b.Path).Wait(cluster.JobLimit); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// told has one mount change names in folders that the other has just looked at in every way,
// each time another one, while more processes go on looking.
func told(args []string) error {
	const rounds = 60
	c := &check{}
	steps := []struct {
		what string
		do   func(dir string) error
		gone []string
		come []string
	}{
		{"create", func(dir string) error { return os.WriteFile(dir+"/absent", nil, 0o644) }, nil, []string{"absent"}},
		{"unlink", func(dir string) error { return os.Remove(dir + "/file") }, []string{"file"}, nil},
		{"rename", func(dir string) error { return os.Rename(dir+"/file", dir+"/absent") }, []string{"file"}, []string{"absent"}},
		{"rename a folder", func(dir string) error { return os.Rename(dir+"/sub", dir+"/absent") }, []string{"sub", "sub/inner"}, []string{"absent", "absent/inner"}},
		{"rmdir", func(dir string) error { return os.Remove(dir + "/empty") }, []string{"empty"}, nil},
		{"exchange", func(dir string) error {
			return unix.Renameat2(unix.AT_FDCWD, dir+"/file", unix.AT_FDCWD, dir+"/sub", unix.RENAME_EXCHANGE)
		}, []string{"sub/inner"}, []string{"file/inner"}},
	}
	for round := range rounds {
		step := steps[round%len(steps)]
		a, b := args[round/len(steps)%2], args[1-round/len(steps)%2]
		dir := fmt.Sprint("told-", round)
		at := func(name string) string { return filepath.Join(b, dir, name) }
		for _, name := range []string{"sub", "empty"} {
			c.done(os.MkdirAll(filepath.Join(a, dir, name), 0o755), "mkdir")
		}
		for _, name := range []string{"file", "sub/inner"} {
			c.done(os.WriteFile(filepath.Join(a, dir, name), nil, 0o644), "create")
		}
		var stop atomic.Bool
		var looking sync.WaitGroup
		for range 3 {
			looking.Go(func() {
				for !stop.Load() {
					for _, name := range []string{"file", "sub/inner", "absent", "empty"} {
						_, _ = os.Lstat(at(name))
					}
				}
			})
		}
		entries, err := os.ReadDir(filepath.Join(b, dir))
		c.done(err, "list")
		for _, e := range entries {
			_, err := e.Info()
			c.done(err, "lstat")
		}
		for _, name := range step.come {
			_, err := os.Lstat(at(name))
			c.that(err != nil, "before %s in %s: %s is there", step.what, dir, name)
		}
		c.done(step.do(filepath.Join(a, dir)), step.what)
		for _, name := range step.gone {
			_, err := os.Lstat(at(name))
			c.that(err != nil, "after %s in %s: %s is there", step.what, dir, name)
		}
		for _, name := range step.come {
			_, err := os.Lstat(at(name))
			c.done(err, "after "+step.what+" in "+dir)
		}
		stop.Store(true)
		looking.Wait()
	}
	return c.err()
}

// together has both mounts list a folder, and then make names in it at once: while the kernel of
// each is to forget names, a call of its own holds the lock on the folder.
func together(args []string) error {
	const rounds, names = 8, 10
	c := &check{}
	for round := range rounds {
		dir := fmt.Sprint("together-", round)
		c.done(os.Mkdir(filepath.Join(args[round%2], dir), 0o755), "mkdir")
		var both sync.WaitGroup
		errs := make([]error, len(args))
		for k, mount := range args {
			path := filepath.Join(mount, dir)
			both.Go(func() {
				for i := range names {
					_, err := os.Lstat(fmt.Sprintf("%s/%d-%d", path, 1-k, i))
					if err != nil && !os.IsNotExist(err) {
						errs[k] = err
					}
					if err := os.Mkdir(fmt.Sprintf("%s/%d-%d", path, k, i), 0o755); err != nil {
						errs[k] = err
					}
				}
			})
		}
		both.Wait()
		for k, mount := range args {
			c.done(errs[k], "make names")
			list, err := os.ReadDir(filepath.Join(mount, dir))
			c.done(err, "list")
			c.that(len(list) == 2*names, "%s has %d names", dir, len(list))
		}
	}
	return c.err()
}

// What a client does with names that it does not know yet costs few calls, once it is seen to go
// from one to the next.
func TestNamesReadAlongCostFewCalls(t *testing.T) {
	const names = 700
	cluster.NeedsLeases(t)
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20, Memory: true})
	ctx, cred := t.Context(), client.Cred{}
	opts := client.Options{NamesBehind: true, PermissionsChecked: true}
	each := func(what string, most int, fn func(own *client.Client, dir client.Attr, name string) error) {
		t.Helper()
		own, count := countedClient(t, c, opts)
		dir, err := own.Lookup(ctx, cred, own.Root(), "dir")
		if err != nil {
			t.Fatal(err)
		}
		count.take()
		for i := range names {
			if err := fn(own, dir, fmt.Sprint(i)); err != nil {
				t.Fatalf("%s %d: %v", what, i, err)
			}
		}
		if calls, sum := count.take(); sum > most {
			t.Errorf("%s of %d names: %d calls, more than %d: %v", what, names, sum, most, calls)
		}
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	}
	own, _ := countedClient(t, c, opts)
	dir, err := own.Mkdir(ctx, cred, own.Root(), "dir", 0o755)
	if err != nil {
		t.Fatal(err)
	}
	for i := range names {
		f, err := own.CreateInode(ctx, cred, dir.Inode, fmt.Sprint(i), 0o644, unix.O_WRONLY)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	each("stat of another's files", names/2, func(own *client.Client, dir client.Attr, name string) error {
		_, err := own.Lookup(ctx, cred, dir.Inode, name)
		return err
	})
	if err := own.Close(); err != nil {
		t.Fatal(err)
	}
	each("stat", 40, func(own *client.Client, dir client.Attr, name string) error {
		_, err := own.Lookup(ctx, cred, dir.Inode, name)
		return err
	})
	each("rename", 40, func(own *client.Client, dir client.Attr, name string) error {
		if _, err := own.Lookup(ctx, cred, dir.Inode, name); err != nil { // as the kernel does
			return err
		}
		if _, err := own.Lookup(ctx, cred, dir.Inode, "new-"+name); !errors.Is(err, proto.NotFound) {
			return fmt.Errorf("look up the new name: %w", err)
		}
		return own.Rename(ctx, cred, dir.Inode, name, dir.Inode, "new-"+name, 0)
	})
	each("unlink", 40, func(own *client.Client, dir client.Attr, name string) error {
		return own.Unlink(ctx, cred, dir.Inode, "new-"+name)
	})
}

// Who removes a whole tree asks for each folder of it once.
func TestRemovingATreeCostsFewCalls(t *testing.T) {
	const folders, files = 40, 6
	cluster.NeedsLeases(t)
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20, Memory: true})
	ctx, cred := t.Context(), client.Cred{}
	must := noError(t)
	first := c.Client()
	top, err := first.Mkdir(ctx, cred, first.Root(), "top", 0o755)
	must(err)
	for i := range folders {
		dir, err := first.Mkdir(ctx, cred, top.Inode, fmt.Sprint(i), 0o755)
		must(err)
		for k := range files {
			_, err := first.Mknod(ctx, cred, dir.Inode, fmt.Sprint(k), unix.S_IFREG|0o644, 0)
			must(err)
		}
	}
	must(first.Close())
	own, count := countedClient(t, c, client.Options{NamesBehind: true, PermissionsChecked: true})
	count.take()
	for i := range folders {
		dir, err := own.Lookup(ctx, cred, top.Inode, fmt.Sprint(i))
		must(err)
		for k := range files {
			must(own.Unlink(ctx, cred, dir.Inode, fmt.Sprint(k)))
		}
		must(own.Rmdir(ctx, cred, top.Inode, fmt.Sprint(i)))
	}
	if calls, sum := count.take(); sum > 3*folders {
		t.Errorf("%d folders of %d files: %d calls: %v", folders, files, sum, calls)
	}
	if _, err := own.Lookup(ctx, cred, top.Inode, "0"); !errors.Is(err, proto.NotFound) {
		t.Errorf("a folder is there: %v", err)
	}
	must(own.Close())
}

// Who lists what is removed, as rm -r does, has it with the listings.
func TestRemovingAListedTreeCostsFewerCalls(t *testing.T) {
	const folders, subfolders, files = 8, 8, 6
	cluster.NeedsLeases(t)
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20, Memory: true})
	ctx, cred := t.Context(), client.Cred{}
	must := noError(t)
	first := c.Client()
	fill := func(dir proto.InodeID) {
		for k := range files {
			_, err := first.Mknod(ctx, cred, dir, fmt.Sprint("file", k), unix.S_IFREG|0o644, 0)
			must(err)
		}
	}
	top, err := first.Mkdir(ctx, cred, first.Root(), "top", 0o755)
	must(err)
	for i := range folders {
		dir, err := first.Mkdir(ctx, cred, top.Inode, fmt.Sprint(i), 0o755)
		must(err)
		fill(dir.Inode)
		for j := range subfolders {
			sub, err := first.Mkdir(ctx, cred, dir.Inode, fmt.Sprint(j), 0o755)
			must(err)
			fill(sub.Inode)
		}
	}
	must(first.Close())
	own, count := countedClient(t, c, client.Options{NamesBehind: true, PermissionsChecked: true})
	var remove func(dir proto.InodeID)
	remove = func(dir proto.InodeID) {
		page, err := own.ReadDir(ctx, cred, dir, 0, true)
		must(err)
		for _, e := range page.Entries {
			if e.Type != unix.S_IFDIR {
				must(own.Unlink(ctx, cred, dir, e.Name))
				continue
			}
			remove(e.Inode)
			must(own.Rmdir(ctx, cred, dir, e.Name))
		}
	}
	_, err = own.Lookup(ctx, cred, own.Root(), "top")
	must(err)
	count.take()
	remove(top.Inode)
	if calls, sum := count.take(); sum > folders*subfolders/2 {
		t.Errorf("%d folders: %d calls: %v", 1+folders+folders*subfolders, sum, calls)
	}
	must(own.Rmdir(ctx, cred, own.Root(), "top"))
	if _, err := own.Lookup(ctx, cred, own.Root(), "top"); !errors.Is(err, proto.NotFound) {
		t.Errorf("the tree is there: %v", err)
	}
	must(own.Close())
}
