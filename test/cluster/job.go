package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// jobVariable tells a test binary which registered function it is to run.
const jobVariable = "DISTRIFS_TEST_JOB"

// maxOutput is how much of a job's output is kept, in bytes.
const maxOutput = 8 << 20

var functions = map[string]func(args []string) error{}

// Register names a function that Cluster.Job can run in a process of its own. It
// is called from init, and the function sees nothing of the test but its arguments.
func Register(name string, f func(args []string) error) {
	if functions[name] != nil {
		panic("cluster: two functions are registered as " + name)
	}
	functions[name] = f
}

// runJobFunction does not return if this process is a job.
func runJobFunction() {
	name := os.Getenv(jobVariable)
	if name == "" {
		return
	}
	f := functions[name]
	if f == nil {
		fmt.Fprintf(os.Stderr, "no function is registered as %q\n", name)
		os.Exit(2)
	}
	if err := f(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Job is a process that works on a mount.
type Job struct {
	c      *Cluster
	what   string
	cmd    *exec.Cmd
	output string        // the file that the job prints to
	ended  chan struct{} // closed behind err
	err    error
}

// Job runs a registered function in a process of its own.
func (c *Cluster) Job(function string, args ...string) *Job {
	c.t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = environment(jobVariable + "=" + function)
	return c.start(nil, "/", function, cmd)
}

// Command runs a program in the folder.
func (c *Cluster) Command(dir, program string, args ...string) *Job {
	c.t.Helper()
	return c.start(nil, dir, program, exec.Command(program, args...))
}

// Tool runs the command `distrifs` against this cluster's master.
func (c *Cluster) Tool(args ...string) *Job {
	c.t.Helper()
	cmd := exec.Command(Binary(c.t, "distrifs"), args...)
	cmd.Env = environment("DISTRIFS_MASTER=" + c.Master.Address)
	return c.start(c.operator(), "/", "distrifs", cmd)
}

// Shell runs a bash script in the folder within JobLimit, stopping at the first
// command that fails, which fails the test. It gives what the script printed.
func (c *Cluster) Shell(dir, script string) string {
	c.t.Helper()
	out, err := c.Command("/", "bash", "-c", "set -euo pipefail; cd \"$0\"; "+script, dir).Wait(JobLimit)
	if err != nil {
		c.t.Fatalf("in %s: %s\n%v\n%s", dir, script, err, lastLines(out, 40))
	}
	return out
}

func (c *Cluster) start(host *Host, dir, what string, cmd *exec.Cmd) *Job {
	c.t.Helper()
	output, err := os.Create(filepath.Join(c.t.TempDir(), "output"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer output.Close()
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := host.do(cmd.Start); err != nil {
		c.t.Fatalf("start %s: %v", what, err)
	}
	j := &Job{c: c, what: what, cmd: cmd, output: output.Name(), ended: make(chan struct{})}
	go func() {
		j.err = cmd.Wait()
		close(j.ended)
	}()
	c.t.Cleanup(j.Kill)
	return j
}

// Wait gives what the job printed and how it ended: nil for exit code 0. A job
// that is not done within the limit is killed, and the mounts are made to print
// their stacks, since it is probably they that hang.
func (j *Job) Wait(limit time.Duration) (output string, err error) {
	select {
	case <-j.ended:
		err = j.err
	case <-time.After(limit):
		for _, m := range j.c.Mounts {
			m.dumpStacks()
		}
		j.Kill()
		err = fmt.Errorf("%s was not done after %v", j.what, limit)
	}
	return j.Output(), err
}

// Signal sends the job's own process a signal.
func (j *Job) Signal(sig syscall.Signal) {
	j.c.t.Helper()
	if err := j.cmd.Process.Signal(sig); err != nil {
		j.c.t.Fatalf("signal %s: %v", j.what, err)
	}
}

// Ended is the signal that ended the job; 0: it runs, or ended by itself.
func (j *Job) Ended() syscall.Signal {
	select {
	case <-j.ended:
		status, _ := j.cmd.ProcessState.Sys().(syscall.WaitStatus)
		if status.Signaled() {
			return status.Signal()
		}
	default:
	}
	return 0
}

// Blocked is nil when the job's own process has been asleep for a while: it waits for
// something, or somebody.
func (j *Job) Blocked() error {
	for range 30 {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", j.cmd.Process.Pid))
		if err != nil {
			return err
		}
		_, fields, _ := strings.Cut(string(text), ") ")
		if !strings.HasPrefix(fields, "S") && !strings.HasPrefix(fields, "D") {
			return fmt.Errorf("%s is in state %.1s, having printed %q", j.what, fields, j.Output())
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// Output is what the job has printed so far.
func (j *Job) Output() string {
	text, err := os.ReadFile(j.output)
	if err != nil {
		j.c.t.Errorf("output of %s: %v", j.what, err)
	}
	return string(text[:min(len(text), maxOutput)])
}

// Must is Wait within JobLimit for a job that has to succeed.
func (j *Job) Must() string {
	j.c.t.Helper()
	out, err := j.Wait(JobLimit)
	if err != nil {
		j.c.t.Fatalf("%s: %v\n%s", j.what, err, lastLines(out, 40))
	}
	return out
}

// Done tells whether the job has ended.
func (j *Job) Done() bool {
	select {
	case <-j.ended:
		return true
	default:
		return false
	}
}

// Kill ends the job and the processes it started (SIGKILL). One that has ended is
// left alone.
func (j *Job) Kill() {
	if j.Done() {
		return
	}
	syscall.Kill(-j.cmd.Process.Pid, syscall.SIGKILL)
	select {
	case <-j.ended:
	case <-time.After(StopLimit):
		j.c.t.Errorf("%s survived SIGKILL: it hangs in the kernel", j.what)
	}
}
