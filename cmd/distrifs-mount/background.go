package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/distrifs/distrifs/cmd/internal/cli"
)

// A mount in the background is this program once more, with the same arguments
// and in a session of its own. Through a pipe it tells how the start went: one
// line that is either readyLine or the reason of its failure.

// readyVariable holds the number of the pipe's descriptor, in the child alone.
const readyVariable = "_DISTRIFS_MOUNT_READY"

func inBackground() bool { return os.Getenv(readyVariable) != "" }

const readyLine = "mounted"

// background starts the child and waits until its mount answers.
func background() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	defer read.Close()
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), readyVariable+"=3")
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	write.Close()
	if err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	return awaitReady(read, cmd.Wait)
}

// awaitReady reads how the start went. wait gives the end of a child that said
// nothing.
func awaitReady(pipe io.Reader, wait func() error) error {
	line, err := bufio.NewReader(pipe).ReadString('\n')
	line = strings.TrimSuffix(line, "\n")
	switch {
	case err == nil && line == readyLine:
		return nil
	case line != "":
		return errors.New(line)
	}
	if err := wait(); err != nil {
		return fmt.Errorf("the process in the background ended before it had mounted: %w: see its log", err)
	}
	return errors.New("the process in the background ended before it had mounted: see its log")
}

// readyPipe is the child's end of the pipe; without a pipe it does nothing.
type readyPipe struct{ pipe *os.File }

// takeReadyPipe finds the pipe, if this process was started by background.
func takeReadyPipe() *readyPipe {
	fd, err := strconv.Atoi(os.Getenv(readyVariable))
	if err != nil {
		return &readyPipe{}
	}
	os.Unsetenv(readyVariable)
	syscall.CloseOnExec(fd)
	return &readyPipe{pipe: os.NewFile(uintptr(fd), "ready")}
}

// leaveFolder makes a process in the background leave the folder it was started
// in, which somebody may want to unmount or remove. Relative paths end here.
func (r *readyPipe) leaveFolder() error {
	if r.pipe == nil {
		return nil
	}
	return os.Chdir("/")
}

// ok says that the mount answers.
func (r *readyPipe) ok() { r.say(readyLine) }

// failed says why there is no mount; it does nothing after ok.
func (r *readyPipe) failed(err error) {
	if err != nil {
		r.say(cli.OneLine(err.Error()))
	}
}

func (r *readyPipe) say(line string) {
	if r.pipe == nil {
		return
	}
	// If nobody listens any more, the mount is there nevertheless.
	_, _ = io.WriteString(r.pipe, line+"\n")
	r.pipe.Close()
	r.pipe = nil
}
