package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// pollInterval is how often something that cannot notify is looked at.
const pollInterval = 20 * time.Millisecond

// startTime tells when a process started, in clock ticks since boot; ok is false
// when there is none of that pid, or only its remains.
func startTime(pid int) (ticks uint64, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The name in parentheses may hold anything; the fields stand behind it.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 || string(fields[0]) == "Z" || string(fields[0]) == "X" {
		return 0, false
	}
	ticks, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return ticks, err == nil
}

// runs tells whether the process that was recorded still runs.
func (p process) runs() bool {
	if p.Pid <= 1 {
		return false
	}
	started, ok := startTime(p.Pid)
	return ok && started == p.Started
}

// signal reaches the recorded process or none: os.FindProcess pins whoever has
// the pid now, and only then is its identity checked.
func (p process) signal(sig syscall.Signal) error {
	pinned, err := os.FindProcess(p.Pid)
	if err != nil {
		return err
	}
	defer pinned.Release()
	if !p.runs() {
		return os.ErrProcessDone
	}
	return pinned.Signal(sig)
}

// gone waits up to limit for the process to end.
func (p process) gone(limit time.Duration) bool {
	for deadline := time.Now().Add(limit); p.runs(); time.Sleep(pollInterval) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// end asks the process to end, and after grace makes it.
func (p process) end(grace time.Duration) error {
	if err := p.signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s, pid %d: %w", p, p.Pid, err)
	}
	if p.gone(grace) {
		return nil
	}
	if err := p.signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s, pid %d: %w", p, p.Pid, err)
	}
	if !p.gone(killGrace) {
		return fmt.Errorf("%s, pid %d, survived SIGKILL: it hangs in the kernel; see /proc/%d/stack", p, p.Pid, p.Pid)
	}
	return nil
}

// takeDown ends the processes of a supervisor that is gone: the mount first, the
// master last. Those that another boot or process left a record of are passed over.
func takeDown(file *clusterFile) error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	var errs []error
	for _, role := range []string{roleMount, roleChunkserver, roleMaster} {
		for _, p := range file.Processes {
			if p.Role != role {
				continue
			}
			if file.Boot == boot {
				errs = append(errs, p.end(stopGrace))
			}
			if role == roleMount {
				errs = append(errs, detachLeftover(p.Address))
			}
		}
	}
	return errors.Join(errs...)
}
