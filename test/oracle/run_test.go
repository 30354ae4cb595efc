package oracle

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// fault is the first difference between the sides.
type fault struct {
	aspect string // what differs: two programs with the same aspect in the same operation fail alike
	text   string
}

// patience is how long a call may take before it counts as hanging.
const patience = 90 * time.Second

// exitHangs is the exit code of a job that found a call to hang.
const exitHangs = 3

// executor runs programs, one after the other, in folders of its own.
type executor struct {
	clusters [2]string // folders, through both mounts
	local    string
	workers  []worker

	processes processes
	programs  int
	seed      uint64 // of the program that is run, or made smaller

	calls            int64
	done, successful map[string]int
}

// execution is one run of one program.
type execution struct {
	*executor
	folder         string
	cluster, local *side
	known          map[uint64]*known // by inode on the local side
	lastKind       uint32            // of what was looked at last, on the local side
}

// run runs a program and gives the first difference, and the call it showed at.
func (e *executor) run(p program) (f *fault, at int) {
	x, err := e.begin()
	if err != nil {
		return &fault{"begin", err.Error()}, -1
	}
	defer func() {
		if err := x.finish(); err != nil && f == nil {
			f, at = &fault{"removal", err.Error()}, len(p)
		}
	}()
	var current atomic.Int64
	hangs := time.AfterFunc(patience, func() {
		at := int(current.Load())
		fmt.Printf("after\n%sthis hangs, or looking at what it did; it is call %d of a program of this seed: %d\n", p[max(0, at-40):at+1], at, e.seed)
		os.Exit(exitHangs)
	})
	defer hangs.Stop()
	for i := range p {
		current.Store(int64(i))
		hangs.Reset(patience)
		c := p[i]
		if f := x.step(&c); f != nil {
			return f, i
		}
	}
	current.Store(int64(len(p) - 1))
	for mount := range x.cluster.roots {
		hangs.Reset(patience)
		if f := x.compareTrees(mount); f != nil {
			return f, len(p)
		}
	}
	return nil, 0
}

// step runs one call on both sides.
func (x *execution) step(c *call) *fault {
	x.workers[0].do(func() {
		if c.op.name == "open" && x.isFIFO(c) {
			c.mount = 0 // a FIFO is one within a kernel's view of a filesystem only
		}
	})
	var local, cluster answer
	x.workers[0].do(func() { x.query(c) })
	x.workers[c.worker].do(func() {
		local = c.op.run(x.local, c)
		c.free = local.errno == 0
		cluster = unlessStale(func() (answer, syscall.Errno) {
			a := x.unlessLetGo(c, local, func() answer { return c.op.run(x.cluster, c) })
			return a, a.errno
		})
	})
	if !local.skipped {
		x.calls++
		x.done[c.op.name]++
		if local.errno == 0 {
			x.successful[c.op.name]++
		}
	}
	f := compare(cluster, local)
	x.workers[0].do(func() {
		if f != nil {
			f.text += x.situation(c)
		} else if !local.skipped {
			f = x.examine(c)
		}
	})
	return f
}

// unlessStale tries again what ends with ESTALE. A folder that the other mount has moved the kernel
// takes in when it comes upon it at its new place; but not while it renames something else of the
// same mount, as other programs have it do: then it looks once more, and gives up.
func unlessStale[T any](try func() (T, syscall.Errno)) (result T) {
	for range 20 {
		var errno syscall.Errno
		if result, errno = try(); errno != unix.ESTALE {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	return result
}

// situation describes what a call was about, as it is behind it.
func (x *execution) situation(c *call) string {
	var b strings.Builder
	for _, t := range c.targets() {
		for mount := range x.cluster.roots {
			if f, ok := x.cluster.look(t, mount); ok {
				fmt.Fprintf(&b, "\n  %s, through %c: %s %s", t, letters[mount], name(f.errno), f.about)
			}
		}
		if f, ok := x.local.look(t, 0); ok {
			fmt.Fprintf(&b, "\n  %s, local: %s %s", t, name(f.errno), f.about)
		}
	}
	return b.String()
}

func (x *execution) isFIFO(c *call) bool {
	dir, path, ok := x.local.at(0, c.path)
	var st unix.Stat_t
	return ok && unix.Fstatat(dir, path, &st, 0) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO
}

// compare compares the answers to a call.
func compare(cluster, local answer) *fault {
	if cluster == local {
		return nil
	}
	switch {
	case cluster.skipped != local.skipped:
		return &fault{"presence", "there is something to call on one side only"}
	case cluster.errno != local.errno:
		return &fault{"errno " + name(cluster.errno) + " " + name(local.errno), fmt.Sprintf("cluster %s, local %s", name(cluster.errno), name(local.errno))}
	case cluster.n != local.n:
		return &fault{"count", fmt.Sprintf("cluster %d, local %d", cluster.n, local.n)}
	}
	return &fault{"data", difference(cluster.data, local.data)}
}

// below is where in its folder a program begins: symlinks lead out of there, and what they lead to is to
// be the same on both sides.
const below = "1/2/3/4/5/6/7/8"

// begin makes the program's folder on both sides.
func (e *executor) begin() (*execution, error) {
	e.programs++
	x := &execution{executor: e, folder: fmt.Sprintf("p%d", e.programs), known: map[uint64]*known{}}
	x.local, x.cluster = &side{local: true}, &side{}
	for _, s := range []*side{x.local, x.cluster} {
		s.processes, s.letGo = e.processes, map[openFile]bool{}
	}
	for _, parent := range []string{e.local, e.clusters[0]} {
		if err := os.MkdirAll(filepath.Join(parent, x.folder, below), 0o755); err != nil {
			return nil, err
		}
		if err := os.Chmod(filepath.Join(parent, x.folder, below), 0o777); err != nil {
			return nil, err
		}
	}
	for _, r := range []struct {
		root   *int
		parent string
	}{{&x.local.roots[0], e.local}, {&x.cluster.roots[0], e.clusters[0]}, {&x.cluster.roots[1], e.clusters[1]}} {
		fd, err := unix.Open(filepath.Join(r.parent, x.folder, below), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open the program's folder in %s: %w", r.parent, err)
		}
		*r.root = fd
	}
	x.local.roots[1] = x.local.roots[0]
	for _, s := range []*side{x.local, x.cluster} {
		fd, err := unix.MemfdCreate("view", unix.MFD_CLOEXEC)
		if err != nil {
			return nil, err
		}
		s.buffer = fd
	}
	return x, nil
}

// finish removes the folder again: it must be possible, and seen through the other mount.
func (x *execution) finish() error {
	x.local.end()
	x.cluster.end()
	for _, parent := range []string{x.executor.local, x.clusters[0]} {
		if err := os.RemoveAll(filepath.Join(parent, x.folder)); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(filepath.Join(x.clusters[1], x.folder)); !os.IsNotExist(err) {
		return fmt.Errorf("the program's folder was removed through A, and is still there through B: %v", err)
	}
	return nil
}
