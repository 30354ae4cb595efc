package oracle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/test/cluster"
)

func init() { cluster.Register("random calls", randomCalls) }

// programLength is long enough to come into strange states, and short enough to shrink.
const programLength = 250

// shrinkTime is how long to look for a shorter program.
const shrinkTime = 90 * time.Second

// assignment is what a job is to do.
type assignment struct {
	a, b        string // folders, through both mounts
	sandbox     string
	seed        uint64 // of the first program; this job runs first, first+step, ...
	first, step uint64
	calls       int64
	limit       time.Duration
	program     string
	mounts      int
}

func parseAssignment(args []string) (w assignment, err error) {
	if len(args) != 10 {
		return w, fmt.Errorf("%d arguments", len(args))
	}
	w = assignment{a: args[0], b: args[1], sandbox: args[2], program: args[8]}
	for i, n := range []*uint64{&w.seed, &w.first, &w.step} {
		if *n, err = strconv.ParseUint(args[3+i], 10, 64); err != nil {
			return w, err
		}
	}
	if w.calls, err = strconv.ParseInt(args[6], 10, 64); err != nil {
		return w, err
	}
	if w.limit, err = time.ParseDuration(args[7]); err != nil {
		return w, err
	}
	w.mounts, err = strconv.Atoi(args[9])
	return w, err
}

// randomCalls runs programs until it has made the calls it is to make, or found a fault.
func randomCalls(args []string) error {
	w, err := parseAssignment(args)
	if err != nil {
		return err
	}
	if err := w.enterSandbox(); err != nil {
		return err
	}
	workers, err := hire(w.sandbox)
	if err != nil {
		return err
	}
	processes, err := forkAll()
	if err != nil {
		return err
	}
	e := &executor{clusters: [2]string{w.a, w.b}, local: w.local(), workers: workers, processes: processes, done: map[string]int{}, successful: map[string]int{}}
	if w.program != "" {
		return e.replay(w.program)
	}
	begin := time.Now()
	for i := w.first; ; i += w.step {
		enough := e.calls >= w.calls
		if w.limit > 0 {
			enough = time.Since(begin) > w.limit
		}
		if enough {
			break
		}
		e.seed = w.seed + i
		p := generate(e.seed, programLength, w.mounts)
		if f, at := e.run(p); f != nil {
			return e.report(p, f, at)
		}
	}
	e.summarize(time.Since(begin))
	return nil
}

// sandboxed says in the environment that the sandbox is there.
const sandboxed = "DISTRIFS_TEST_SANDBOX"

// enterSandbox makes a folder a tmpfs, with the local side and both mounts in it, and has the paths of
// the assignment lead there. Workers have it as their root: wherever symlinks lead, it is not to the
// machine's own files. It is in a mount namespace of this process's own, so that it is gone with it; for
// that the process is started anew, since all of its threads must be in there. Access times are left
// alone, as on the cluster's mounts.
func (w *assignment) enterSandbox() error {
	parts := map[string]*string{"a": &w.a, "b": &w.b}
	if os.Getenv(sandboxed) == "" {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := unix.Mount("oracle", w.sandbox, "tmpfs", unix.MS_NOATIME, "mode=0755"); err != nil {
			return fmt.Errorf("mount a tmpfs: %w", err)
		}
		proc := "/proc"
		parts["proc"] = &proc // calls that take no descriptor name files through it
		for name, from := range parts {
			to := filepath.Join(w.sandbox, name)
			if err := os.Mkdir(to, 0o755); err != nil {
				return err
			}
			if err := unix.Mount(*from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				return fmt.Errorf("mount %s in the sandbox: %w", *from, err)
			}
		}
		if err := cluster.LetGoOfMounts(filepath.Join(w.sandbox, "a"), filepath.Join(w.sandbox, "b")); err != nil {
			return fmt.Errorf("let go of the mounts of other tests: %w", err)
		}
		if err := os.Mkdir(w.local(), 0o755); err != nil {
			return err
		}
		return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), sandboxed+"=1"))
	}
	for name, path := range parts {
		*path = filepath.Join(w.sandbox, name)
	}
	return nil
}

// local is the folder of the local side.
func (w *assignment) local() string { return filepath.Join(w.sandbox, "local") }

// replay runs the program in a file once, and prints how it went.
func (e *executor) replay(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	p, err := parseProgram(string(text))
	if err != nil {
		return err
	}
	if f, at := e.run(p); f != nil {
		return fmt.Errorf("call %d: %s\n%s", at, f.text, context(p, at))
	}
	return nil
}

// context is a program up to the call it fails at.
func context(p program, at int) string {
	text := p[:min(len(p), at+1)].String()
	if at < len(p) {
		return text + "# fails\n"
	}
	return text + "# and its end fails\n"
}

// report shrinks a program that failed, and says what there is to say.
func (e *executor) report(p program, f *fault, at int) error {
	p = p[:min(len(p), at+1)]
	key := failureKey(p, f, at)
	until := time.Now().Add(shrinkTime)
	runs := 0
	fails := func(q program) bool {
		runs++
		g, at := e.run(q)
		return g != nil && failureKey(q, g, at) == key
	}
	small := p
	if slices.ContainsFunc([]program{p, p, p}, fails) {
		small = shrink(p, fails, func() bool { return time.Now().Before(until) })
	}
	var text strings.Builder
	fmt.Fprintf(&text, "seed %d, call %d, %v: %s\n", e.seed, at, p[min(at, len(p)-1)], f.text)
	for range 3 {
		if again, at := e.run(small); again != nil && len(small) < len(p) {
			fmt.Fprintf(&text, "shrunk in %d runs from %d calls to %d: %s\n%s", runs, len(p), len(small), again.text, context(small, at))
			return errors.New(text.String())
		}
	}
	fmt.Fprintf(&text, "it does not fail each time; the program, from -seed %d -jobs 1 -calls %d, ends with\n%s", e.seed, programLength, p[max(0, len(p)-30):])
	return errors.New(text.String())
}

// failureKey is the same for programs that fail alike.
func failureKey(p program, f *fault, at int) string {
	if at < 0 || at >= len(p) {
		return f.aspect
	}
	return p[at].op.name + " " + f.aspect
}

// summarize says how many calls of each kind there were, and how many succeeded.
func (e *executor) summarize(took time.Duration) {
	fmt.Printf("%d calls, %d programs, %v, %.0f calls/s\n", e.calls, e.programs, took.Round(time.Millisecond), float64(e.calls)/took.Seconds())
	var names []string
	for name := range e.done {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Printf("%s %d/%d  ", name, e.successful[name], e.done[name])
	}
	fmt.Println()
}
