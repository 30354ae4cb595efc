package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/cmd/internal/cli"
)

// A mount in the background is this program once more, with the same arguments
// and in a session of its own. Through a pipe it tells how the start went: one
// line that is either readyLine or the reason of its failure.

// readyVariable holds the number of the pipe's descriptor, in the child alone.
const readyVariable = "_DISTRIFS_MOUNT_READY"

func inBackground() bool { return os.Getenv(readyVariable) != "" }

const readyLine = "mounted"

// errStart says that there is no process in the background.
var errStart = errors.New("start in the background")

// background starts the child and waits until its mount answers. If ctx ends before
// that, so does the child.
func background(ctx context.Context, args []string, mountpoint string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("%w: find this program: %w", errStart, err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("%w: %w", errStart, err)
	}
	defer read.Close()
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), readyVariable+"=3")
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	write.Close()
	if err != nil {
		return fmt.Errorf("%w: %w", errStart, err)
	}
	end := func() { _ = cmd.Process.Signal(syscall.SIGTERM) } // an error says that it has ended
	defer context.AfterFunc(ctx, end)()
	if err := awaitReady(read, cmd.Wait); err != nil {
		return err
	}
	// From outside, for the process that serves a mount must not touch it.
	if err := unix.Statfs(mountpoint, new(unix.Statfs_t)); err != nil {
		end()
		return fmt.Errorf("mount %s: it does not answer: %w", mountpoint, err)
	}
	return nil
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

// failBackground tells a parent, if there is one, why the command line is no good.
func failBackground(err error) error {
	takeReadyPipe().failed(err)
	return err
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
