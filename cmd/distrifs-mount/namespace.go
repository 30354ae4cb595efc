package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/cmd/internal/cli"
)

// namespaceExit is how the program ended in another namespace.
type namespaceExit struct{ code int }

func (e *namespaceExit) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// inNamespace starts this program once more with the same arguments, but for -N, in a
// mount namespace: that of a process, or of a file like /proc/PID/ns/mnt. A process of
// several threads, as those of Go are, cannot enter one itself; one thread can, and
// what it starts is there.
func inNamespace(namespace string, args []string) error {
	if !strings.Contains(namespace, "/") {
		namespace = "/proc/" + namespace + "/ns/mnt"
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("%w: find this program: %w", errStart, err)
	}
	ns, err := os.Open(namespace)
	if err != nil {
		return cli.Usagef("namespace: %v", err)
	}
	defer ns.Close()
	cmd := exec.Command(self)
	cmd.Args = withoutNamespace(args)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := errors.Join(unix.Unshare(unix.CLONE_FS), unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS))
		if err == nil {
			err = cmd.Run()
		}
		failed <- err
	}()
	err = <-failed
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.Exited() {
		return &namespaceExit{exit.ExitCode()}
	}
	if err != nil {
		return fmt.Errorf("enter namespace %s: %w", namespace, err)
	}
	return nil
}

// withoutNamespace leaves out -N NAMESPACE, in all its spellings.
func withoutNamespace(args []string) (rest []string) {
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "-N", args[i] == "--namespace":
			i++
		case strings.HasPrefix(args[i], "-N"), strings.HasPrefix(args[i], "--namespace="):
		default:
			rest = append(rest, args[i])
		}
	}
	return rest
}
