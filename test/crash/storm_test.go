package crash

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/test/cluster"
)

// A storm worker is a process that makes namespace calls in a folder of its own,
// one after the other, and keeps a model of what must be there. It works until a
// file named stop appears, and then compares its folder with its model. A call
// that fails ends it: calls under way while the master is away must wait, and one
// that the master did before it died must not be done twice (no EEXIST from a
// repeated mkdir, no ENOENT from a repeated unlink). The model is kept in a file
// from one storm to the next.
type stormWorker struct {
	stormState
	dir    string
	random *rand.Rand
}

func init() { cluster.Register("storm", stormJob) }

// stormJob has as arguments its folder on the mount, the file of its model, and
// the file whose appearance ends it.
func stormJob(args []string) error {
	w := &stormWorker{dir: args[0], random: rand.New(rand.NewPCG(uint64(os.Getpid()), 1))}
	if err := w.load(args[1]); err != nil {
		return err
	}
	if err := w.compare(); err != nil {
		return fmt.Errorf("before the storm: %w", err)
	}
	for {
		if _, err := os.Lstat(args[2]); err == nil {
			break
		}
		if err := w.step(); err != nil {
			return fmt.Errorf("during the storm: %w", err)
		}
	}
	if err := w.compare(); err != nil {
		return fmt.Errorf("after the storm: %w", err)
	}
	return w.save(args[1])
}

// stormState is what a worker remembers.
type stormState struct {
	Next  int               // number of the next new name
	Model map[string]string // name -> what is there, see describe
}

func (w *stormWorker) load(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		w.Model = map[string]string{}
		return os.Mkdir(w.dir, 0o755)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(text, &w.stormState)
}

func (w *stormWorker) save(path string) error {
	text, err := json.Marshal(w.stormState)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// compare lists the folder: everything of the model is there, once, and nothing else.
func (w *stormWorker) compare() error {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, entry := range entries {
		name := entry.Name()
		got, err := describe(w.path(name), entry)
		if err != nil || got != w.Model[name] {
			return fmt.Errorf("%s is %q (%w), want %q", w.path(name), got, err, w.Model[name])
		}
		if seen[name] {
			return fmt.Errorf("%s is there twice", w.path(name))
		}
		seen[name] = true
	}
	for name, what := range w.Model {
		if !seen[name] {
			return fmt.Errorf("%s, %q, is lost", w.path(name), what)
		}
	}
	return nil
}

// describe gives what is at a path in the words of the model.
func describe(path string, entry fs.DirEntry) (string, error) {
	switch entry.Type() {
	case fs.ModeDir:
		return "d", nil
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		return "l" + target, err
	default:
		info, err := entry.Info()
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("f%o", info.Mode().Perm()), nil
	}
}

func (w *stormWorker) path(name string) string { return filepath.Join(w.dir, name) }

// pick gives a name of the model that a test accepts, or "".
func (w *stormWorker) pick(accept func(what string) bool) string {
	names := []string{}
	for name, what := range w.Model {
		if accept(what) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return names[w.random.IntN(len(names))]
}

func anything(string) bool       { return true }
func isFile(what string) bool    { return what[0] == 'f' }
func isFolder(what string) bool  { return what == "d" }
func notFolder(what string) bool { return what != "d" }

// step makes one call. The folder is kept to a size that is quickly compared.
func (w *stormWorker) step() error {
	w.Next++
	name := fmt.Sprintf("n%d", w.Next)
	kind := w.random.IntN(9)
	if len(w.Model) > 200 {
		kind = 7 + w.random.IntN(2)
	}
	switch kind {
	case 0, 1:
		return w.create(name)
	case 2:
		w.Model[name] = "d"
		return os.Mkdir(w.path(name), 0o755)
	case 3:
		w.Model[name] = "l" + name + "-target"
		return os.Symlink(name+"-target", w.path(name))
	case 4:
		return w.link(name)
	case 5:
		return w.rename(name)
	case 6:
		return w.exchange()
	case 7:
		return w.remove(notFolder, os.Remove)
	default:
		return w.remove(isFolder, unix.Rmdir)
	}
}

func (w *stormWorker) create(name string) error {
	f, err := os.OpenFile(w.path(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w.Model[name] = "f600"
	return f.Close()
}

func (w *stormWorker) link(name string) error {
	old := w.pick(isFile)
	if old == "" {
		return nil
	}
	w.Model[name] = w.Model[old]
	return os.Link(w.path(old), w.path(name))
}

func (w *stormWorker) rename(name string) error {
	old := w.pick(anything)
	if old == "" {
		return nil
	}
	w.Model[name] = w.Model[old]
	delete(w.Model, old)
	return unix.Renameat2(unix.AT_FDCWD, w.path(old), unix.AT_FDCWD, w.path(name), unix.RENAME_NOREPLACE)
}

func (w *stormWorker) exchange() error {
	from, to := w.pick(anything), w.pick(anything)
	if from == to {
		return nil
	}
	w.Model[from], w.Model[to] = w.Model[to], w.Model[from]
	return unix.Renameat2(unix.AT_FDCWD, w.path(from), unix.AT_FDCWD, w.path(to), unix.RENAME_EXCHANGE)
}

func (w *stormWorker) remove(which func(string) bool, call func(string) error) error {
	old := w.pick(which)
	if old == "" {
		return nil
	}
	delete(w.Model, old)
	return call(w.path(old))
}

// storm runs workers on a mount for as long as during takes, and checks what they leave.
type storm struct {
	c       *cluster.Cluster
	m       *cluster.Mount
	dir     string // of models and stop files, not on the mount
	workers int
	rounds  int
}

func newStorm(t *testing.T, c *cluster.Cluster, m *cluster.Mount, workers int) *storm {
	return &storm{c: c, m: m, dir: t.TempDir(), workers: workers}
}

func (s *storm) blow(t *testing.T, what string, during func()) {
	t.Helper()
	s.rounds++
	stop := filepath.Join(s.dir, fmt.Sprintf("stop-%d", s.rounds))
	var jobs []*cluster.Job
	for i := range s.workers {
		worker := fmt.Sprintf("worker-%d", i)
		jobs = append(jobs, s.c.Job("storm", filepath.Join(s.m.Path, worker), filepath.Join(s.dir, worker), stop))
	}
	during()
	if err := os.WriteFile(stop, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, job := range jobs {
		if out, err := job.Wait(cluster.JobLimit); err != nil {
			t.Fatalf("round %d, %s: %v: %s", s.rounds, what, err, out)
		}
	}
}

// pause is the one place where a test lets time pass: a random moment is what it wants.
func pause(random *rand.Rand, most time.Duration) {
	time.Sleep(time.Duration(random.Int64N(int64(most))))
}
