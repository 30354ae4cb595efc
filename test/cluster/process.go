package cluster

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a server or a mount: the same program, address and folder in every
// run. Its methods fail the test when they cannot do what they say.
type Process struct {
	Name    string   // "master", "chunkserver-0", "mount-1"
	Address string   // host:port; of a mount, its mountpoint
	Dir     string   // data folder; empty for a mount
	Log     string   // what all runs have printed
	Args    []string // may be changed between runs
	Host    *Host    // where it runs; nil: beside the test

	t       testing.TB
	program string

	mu  sync.Mutex // protects what follows
	run *run       // under way, or the last; nil before the first
}

// run is one life of a process.
type run struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended and was waited for
}

func (r *run) alive() bool {
	select {
	case <-r.ended:
		return false
	default:
		return true
	}
}

// Launch starts the process and does not wait until it answers.
func (p *Process) Launch() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run != nil && p.run.alive() {
		p.t.Fatalf("%s runs already, pid %d", p.Name, p.run.cmd.Process.Pid)
	}
	log, err := os.OpenFile(p.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(p.program, p.Args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	r := &run{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	// The kernel sends Pdeathsig when the thread that made the process ends; this
	// goroutine keeps its thread until the process has ended.
	go func() {
		runtime.LockOSThread() // for good: a thread that went to another host ends with its goroutine
		err := p.Host.enter()
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			cmd.Wait()
			close(r.ended)
		}
	}()
	if err := <-started; err != nil {
		p.t.Fatalf("start %s: %v", p.Name, err)
	}
	p.run = r
}

// environment is what every process and job gets. The race detector would hold each
// of them up for a second at its end.
func environment(more ...string) []string {
	return append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), more...)
}

// Running tells whether the process runs.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run != nil && p.run.alive()
}

// Pid of the run under way, or of the last.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil {
		return 0
	}
	return p.run.cmd.Process.Pid
}

// ProcessorTime is what the run under way has spent so far, in the kernel as well, to 10 ms.
func (p *Process) ProcessorTime() time.Duration {
	p.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
	if err != nil {
		p.t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // from the third on
	var ticks int
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(field)
		if err != nil {
			p.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100)
}

// Kill ends the process as a crash would (SIGKILL), and returns when it is gone.
func (p *Process) Kill() {
	p.t.Helper()
	p.Signal(syscall.SIGKILL)
	if !p.awaitEnd(StopLimit) {
		p.t.Fatalf("%s, pid %d, survived SIGKILL", p.Name, p.Pid())
	}
}

// Stop asks the process to end (SIGTERM) and fails the test unless it does so
// in time and with exit code 0.
func (p *Process) Stop() {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	if !p.awaitEnd(StopLimit) {
		p.t.Fatalf("%s, pid %d, did not end within %v of SIGTERM", p.Name, p.Pid(), StopLimit)
	}
	if code := p.ExitCode(); code != 0 {
		p.t.Fatalf("%s: exit code %d after SIGTERM", p.Name, code)
	}
}

// Pause stops the process's clock (SIGSTOP): it is there and does not answer.
func (p *Process) Pause() { p.t.Helper(); p.Signal(syscall.SIGSTOP) }

// Resume undoes Pause.
func (p *Process) Resume() { p.t.Helper(); p.Signal(syscall.SIGCONT) }

// Signal fails the test when the process does not run.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	p.mu.Lock()
	r := p.run
	p.mu.Unlock()
	if r == nil || !r.alive() {
		p.t.Fatalf("%s does not run: no %v for it", p.Name, sig)
	}
	if err := r.cmd.Process.Signal(sig); err != nil && r.alive() {
		p.t.Fatalf("%v to %s: %v", sig, p.Name, err)
	}
}

// Wait waits until the process has ended by itself and gives its exit code, -1
// for a signal. It fails the test when that takes longer than the limit.
func (p *Process) Wait(limit time.Duration) int {
	p.t.Helper()
	if !p.awaitEnd(limit) {
		p.t.Fatalf("%s still runs after %v", p.Name, limit)
	}
	return p.ExitCode()
}

// ExitCode of the last run, -1 for a signal.
func (p *Process) ExitCode() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil || p.run.alive() {
		return -1
	}
	return p.run.cmd.ProcessState.ExitCode()
}

// Output is what all runs have printed.
func (p *Process) Output() string {
	text, err := os.ReadFile(p.Log)
	if err != nil && !os.IsNotExist(err) {
		p.t.Error(err)
	}
	return string(text)
}

func (p *Process) awaitEnd(limit time.Duration) bool {
	p.mu.Lock()
	r := p.run
	p.mu.Unlock()
	if r == nil {
		return true
	}
	select {
	case <-r.ended:
		return true
	case <-time.After(limit):
		return false
	}
}

// cleanUp ends the process whatever its state: asked first, so that its race
// detector reports and its last words are seen; then killed.
func (p *Process) cleanUp() {
	if !p.Running() {
		return
	}
	p.Signal(syscall.SIGCONT)
	p.Signal(syscall.SIGTERM)
	if !p.awaitEnd(StopLimit) {
		p.t.Errorf("%s did not end within %v of SIGTERM at the end of the test", p.Name, StopLimit)
		p.dumpStacks()
		if p.Running() {
			p.Kill()
		}
	}
}

// dumpStacks has the Go runtime print all goroutines to the log, and end.
func (p *Process) dumpStacks() {
	if p.Running() {
		p.Signal(syscall.SIGQUIT)
		p.awaitEnd(10 * time.Second)
	}
}

// complaints finds what no log may hold.
func (p *Process) complaints() error {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return nil // never started
	}
	for _, word := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
		if i := bytes.Index(text, []byte(word)); i >= 0 {
			return fmt.Errorf("%s printed %q:\n%s", p.Name, word, text[i:min(len(text), i+6000)])
		}
	}
	return nil
}
