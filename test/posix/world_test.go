package posix

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/test/cluster"
)

func init() {
	cluster.Register("table", tableJob)
}

// world is what the steps of one case work on.
type world struct {
	fds    []int
	marks  map[string]unix.Stat_t // by path
	mounts []string               // to be unmounted again
	runs   []*os.Process
}

// call makes a system call and gives what it answered, "" if that is nothing.
type call func(w *world, a *arguments) (string, error)

// calls are known by name to the tables.
var calls map[string]call

func init() {
	calls = map[string]call{}
	for _, group := range []map[string]call{nameCalls, attributeCalls, dataCalls, folderCalls, xattrCalls, lockCalls} {
		for name, call := range group {
			calls[name] = call
		}
	}
}

// tableJob makes the calls of a table in a folder, and prints each answer as
// "line step answer".
func tableJob(args []string) error {
	dir, name := args[0], args[1]
	cases, err := readTable(name)
	if err != nil {
		return err
	}
	unix.Umask(0)
	signal.Ignore(unix.SIGXFSZ)
	for _, c := range cases {
		if err := c.run(filepath.Join(dir, fmt.Sprintf("%s-%d", name, c.line))); err != nil {
			return fmt.Errorf("%s, line %d: %w", name, c.line, err)
		}
	}
	return nil
}

// run makes the calls of a case in a new folder.
func (c *testCase) run(dir string) error {
	if err := errors.Join(os.Mkdir(dir, 0o777), os.Chdir(dir)); err != nil {
		return err
	}
	w := &world{marks: map[string]unix.Stat_t{}}
	var answers strings.Builder // to be printed when the limits of the case no longer hold
	for i, s := range c.steps {
		answer, err := w.do(&s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.text, err)
		}
		fmt.Fprintf(&answers, "%d %d %s\n", c.line, i, answer)
	}
	if err := w.close(); err != nil {
		return err
	}
	_, err := os.Stdout.WriteString(answers.String())
	return err
}

// close gives back what the steps left open, running or mounted.
func (w *world) close() (err error) {
	for _, p := range w.runs {
		p.Kill()
		p.Wait()
	}
	for _, fd := range w.fds {
		unix.Close(fd) // a step may have closed it
	}
	unix.Umask(0)
	err = errors.Join(os.Chdir("/"), limitFileSize(unix.RLIM_INFINITY))
	for _, path := range w.mounts {
		err = errors.Join(err, unix.Unmount(path, unix.UMOUNT_NOFOLLOW))
	}
	return err
}

// do makes one call and gives its answer; err is for a table that makes no sense.
func (w *world) do(s *step) (answer string, err error) {
	a := &arguments{w: w, words: s.args}
	var value string
	var failed error
	invoke := func() {
		defer func() {
			if bad, ok := recover().(badArgument); ok {
				err = errors.New(string(bad))
			}
		}()
		for {
			a.next = 0
			if value, failed = calls[s.call](w, a); failed != unix.EINTR { // by a signal of Go's own
				break
			}
		}
		if failed == nil && a.more() {
			a.bad("too many arguments")
		}
	}
	if s.who.uid == 0 && s.who.gid == 0 && s.who.groups == nil {
		invoke()
	} else if err := as(s.who, invoke); err != nil {
		return "", err
	}
	var errno syscall.Errno
	switch {
	case err != nil:
		return "", err
	case failed == unix.EOPNOTSUPP:
		return "EOPNOTSUPP", nil // one number with ENOTSUP
	case errors.As(failed, &errno):
		return unix.ErrnoName(errno), nil
	case failed != nil:
		return "", failed
	case value == "":
		return "0", nil
	}
	return value, nil
}

// as calls fn on a thread that acts for a user, and that is used for nothing else.
func as(u user, fn func()) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		done <- func() error {
			// The raw calls, for package syscall changes all threads of the process.
			groups := make([]uint32, len(u.groups)+1)
			for i, g := range u.groups {
				groups[i] = uint32(g)
			}
			if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(u.groups)), uintptr(unsafe.Pointer(&groups[0])), 0); e != 0 {
				return fmt.Errorf("setgroups: %w", e)
			}
			if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(u.gid), uintptr(u.gid), uintptr(u.gid)); e != 0 {
				return fmt.Errorf("setresgid: %w", e)
			}
			if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(u.uid), uintptr(u.uid), uintptr(u.uid)); e != 0 {
				return fmt.Errorf("setresuid: %w", e)
			}
			fn()
			return nil
		}()
	}()
	return <-done
}

// arguments are taken one after the other. What makes no sense panics with badArgument.
type arguments struct {
	w     *world
	words []string
	next  int
}

type badArgument string

func (a *arguments) bad(format string, values ...any) {
	panic(badArgument(fmt.Sprintf(format, values...)))
}

func (a *arguments) more() bool { return a.next < len(a.words) }

// text is the next word.
func (a *arguments) text() string {
	if !a.more() {
		a.bad("too few arguments")
	}
	a.next++
	word := a.words[a.next-1]
	if word == "EMPTY" {
		return ""
	}
	return word
}

// peekFD tells whether the next word is an open file.
func (a *arguments) peekFD() bool {
	return a.more() && strings.HasPrefix(a.words[a.next], "#")
}

// fd is an open file, #n.
func (a *arguments) fd() int {
	word := a.text()
	n, err := strconv.Atoi(strings.TrimPrefix(word, "#"))
	switch {
	case err != nil || word[0] != '#':
		a.bad("%s is no open file", word)
	case n < 0:
		return -1 // never open: EBADF
	case n >= len(a.w.fds):
		a.bad("%s is not open", word)
	}
	return a.w.fds[n]
}

// path is a name, or of an open file the name that the kernel has for it.
func (a *arguments) path() string {
	if a.peekFD() {
		return fmt.Sprintf("/proc/self/fd/%d", a.fd())
	}
	return a.text()
}

// number is decimal, with K, M, G, or "max" for 2^63-1.
func (a *arguments) number() int64 {
	word := a.text()
	if word == "max" {
		return 1<<63 - 1
	}
	shift := map[byte]int{'K': 10, 'M': 20, 'G': 30, 'T': 40}[word[len(word)-1]]
	n, err := strconv.ParseInt(strings.TrimRight(word, "KMGT"), 10, 64)
	if err != nil {
		a.bad("%s is no number", word)
	}
	return n << shift
}

// mode is octal.
func (a *arguments) mode() uint32 {
	word := a.text()
	n, err := strconv.ParseUint(word, 8, 32)
	if err != nil {
		a.bad("%s is no mode", word)
	}
	return uint32(n)
}

// flags is 0, a number as 0x10, or names with | between them.
func (a *arguments) flags(names map[string]int) (flags int) {
	for _, word := range strings.Split(a.text(), "|") {
		flag, ok := names[word]
		if !ok {
			n, err := strconv.ParseUint(word, 0, 32)
			if err != nil {
				a.bad("%s is no flag", word)
			}
			flag = int(n)
		}
		flags |= flag
	}
	return flags
}
