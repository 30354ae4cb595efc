package cluster

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stopGrace is how long a process may take to end after SIGTERM.
const stopGrace = 30 * time.Second

// logTail is how much of each log a failing test shows, in bytes.
const logTail = 8 << 10

// Process is one server or mount of a cluster. It can be started again after it
// has ended; it then runs with the same arguments.
type Process struct {
	Name    string // "master", "chunkserver-0", "mount-0"
	Address string // host:port, or the mountpoint
	Dir     string // its data folder; empty for a mount

	t       testing.TB
	path    string
	args    []string
	logPath string

	mu    sync.Mutex
	cmd   *exec.Cmd     // nil: not running
	ended chan struct{} // closed when cmd has been waited for
}

// Start runs the process. It must not be running.
func (p *Process) Start() {
	p.t.Helper()
	log, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1")
	// A test binary that dies takes its processes along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	ended := make(chan struct{})
	go func() {
		// The thread that starts a child with Pdeathsig must outlive it.
		defer close(ended)
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		p.t.Fatalf("start %s: %v", p.Name, err)
	}
	p.mu.Lock()
	p.cmd, p.ended = cmd, ended
	p.mu.Unlock()
}

// Running tells whether the process has been started and has not ended.
func (p *Process) Running() bool {
	_, ended := p.current()
	if ended == nil {
		return false
	}
	select {
	case <-ended:
		return false
	default:
		return true
	}
}

func (p *Process) current() (*exec.Cmd, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.ended
}

// Pid of the running process.
func (p *Process) Pid() int {
	cmd, _ := p.current()
	return cmd.Process.Pid
}

// Signal sends sig to the process, if it runs.
func (p *Process) Signal(sig syscall.Signal) {
	if p.Running() {
		cmd, _ := p.current()
		cmd.Process.Signal(sig)
	}
}

// Kill ends the process as a power cut of its host's CPU would: SIGKILL, no clean-up.
func (p *Process) Kill() {
	if cmd, ended := p.current(); cmd != nil {
		p.Signal(syscall.SIGKILL)
		<-ended
	}
}

// Stop ends the process cleanly with SIGTERM; one that does not end fails the test.
func (p *Process) Stop() {
	p.t.Helper()
	cmd, ended := p.current()
	if cmd == nil {
		return
	}
	p.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(stopGrace):
		p.Signal(syscall.SIGQUIT) // leaves its goroutines in the log
		p.t.Errorf("%s did not end within %v of SIGTERM", p.Name, stopGrace)
		time.Sleep(time.Second)
		p.Kill()
	}
}

// Restart kills or stops nothing: it starts a process that has ended.
func (p *Process) Restart() {
	p.t.Helper()
	if p.Running() {
		p.t.Fatalf("restart %s: it runs; Kill or Stop it first", p.Name)
	}
	p.Start()
}

// Pause and Resume freeze and thaw the process (SIGSTOP, SIGCONT).
func (p *Process) Pause()  { p.Signal(syscall.SIGSTOP) }
func (p *Process) Resume() { p.Signal(syscall.SIGCONT) }

// Log is everything the process has written so far, over all its starts.
func (p *Process) Log() []byte {
	text, err := os.ReadFile(p.logPath)
	if err != nil {
		p.t.Errorf("log of %s: %v", p.Name, err)
	}
	return text
}

// showLog prints the end of the log with the test.
func (p *Process) showLog() {
	text := p.Log()
	if cut := len(text) - logTail; cut > 0 {
		text = append([]byte("[...]"), text[cut:]...)
	}
	p.t.Logf("---- %s ----\n%s", p.Name, text)
}

// checkLog fails the test when a process panicked or the race detector spoke.
func (p *Process) checkLog() {
	text := p.Log()
	for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
		if at := bytes.Index(text, []byte(sign)); at >= 0 {
			p.t.Errorf("%s: %s", p.Name, text[at:min(len(text), at+logTail)])
		}
	}
}

// runTool runs a program to its end and gives what it printed.
func runTool(stdin io.Reader, path string, args ...string) ([]byte, error) {
	cmd := exec.Command(path, args...)
	cmd.Stdin = stdin
	output, err := cmd.CombinedOutput()
	if err != nil {
		return output, fmt.Errorf("%s %q: %w: %s", path, args, err, bytes.TrimSpace(output))
	}
	return output, nil
}
