package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxLog is the size in bytes from which a log is rotated: one old part is kept.
const maxLog = 16 << 20

// Delays before a dead child is started again: none for one that has lived for steadyAfter,
// for others wait for it; else the first, doubled each time up to the longest.
const (
	firstDelay  = 100 * time.Millisecond
	longestWait = 5 * time.Second
	steadyAfter = 20 * time.Second
)

// child is a process of the cluster as its supervisor has it.
type child struct {
	process          // what cluster.json tells; Pid is 0 while it does not run
	argv    []string // program and arguments

	started  time.Time     // of the run under way, or the last
	delay    time.Duration // before the next start
	logStart int64         // offset in the log where that run begins
	ending   string        // how the last run ended: "signal: killed"
	clean    bool          // it ended with exit code 0
}

func (c *child) running() bool { return c.Pid != 0 }

// start runs the child in a process group of its own, so that the terminal's
// Ctrl-C reaches the supervisor alone, and sends it to exits when it has ended.
// The log is given to the child itself: it goes on when the supervisor dies.
func (c *child) start(exits chan<- exit) error {
	log, size, err := openLog(c.Log)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c, err)
	}
	c.Pid, c.started, c.logStart, c.ending, c.clean = cmd.Process.Pid, time.Now(), size, "", false
	c.Started, _ = startTime(c.Pid)
	go func() {
		err := cmd.Wait()
		exits <- exit{child: c, ending: fmt.Sprint(cmd.ProcessState), clean: err == nil}
	}()
	return nil
}

// exit tells the supervisor how a child ended.
type exit struct {
	child  *child
	ending string
	clean  bool
}

// ended notes an exit.
func (c *child) ended(e exit) { c.Pid, c.Started, c.ending, c.clean = 0, 0, e.ending, e.clean }

// nextDelay is how long to wait before starting the child again (L18: by time).
func (c *child) nextDelay() time.Duration {
	if time.Since(c.started) >= steadyAfter {
		c.delay = 0
	} else {
		c.delay = min(max(2*c.delay, firstDelay), longestWait)
	}
	return c.delay
}

// logTail gives the last lines that the run under way, or the last, has printed.
func (c *child) logTail(lines int) []string { return tail(c.Log, c.logStart, lines) }

func openLog(path string) (log *os.File, size int64, err error) {
	if err := rotate(path); err != nil {
		return nil, 0, err
	}
	log, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, 0, err
	}
	info, err := log.Stat()
	if err != nil {
		log.Close()
		return nil, 0, err
	}
	return log, info.Size(), nil
}

// rotate bounds a log. The process that appends keeps its descriptor, so the text
// is copied away and the file emptied; a line written in between may be lost.
func rotate(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() < maxLog {
		return nil
	}
	if err != nil {
		return err
	}
	old, err := os.Open(path)
	if err != nil {
		return err
	}
	defer old.Close()
	kept, err := os.Create(path + ".1")
	if err != nil {
		return err
	}
	_, err = io.Copy(kept, old)
	if err = errors.Join(err, kept.Close()); err != nil {
		return err
	}
	return os.Truncate(path, 0)
}

// tail gives the last lines of a file behind an offset, reading at most 16 KiB.
func tail(path string, from int64, lines int) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	const limit = 16 << 10
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil
	}
	if from > size { // rotated meanwhile
		from = 0
	}
	from = max(from, size-limit)
	text := make([]byte, size-from)
	n, _ := f.ReadAt(text, from)
	all := strings.Split(strings.TrimRight(string(text[:n]), "\n"), "\n")
	if len(all) == 1 && all[0] == "" {
		return nil
	}
	return all[max(0, len(all)-lines):]
}

// findProgram looks beside our own executable, then on PATH.
func findProgram(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
			return beside, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s: not beside distrifs and not on PATH: 'make build' makes it, 'make install' installs it", name)
	}
	return filepath.Abs(path)
}
