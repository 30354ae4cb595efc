package main

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A folder where the cluster of another user is, says so.
func TestUpInAFolderOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	dir, err := os.MkdirTemp("", "distrifs-owner-") // not below t.TempDir, which others may not enter
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/log", 0o755); err != nil {
		t.Fatal(err)
	}
	answer := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread is another user's from now on
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			answer <- errno
			return
		}
		answer <- (&upOptions{dir: dir, detach: true}).run(t.Context())
	}()
	if err := <-answer; err == nil || !strings.Contains(err.Error(), dir+": permission denied") || !strings.Contains(err.Error(), "--dir") {
		t.Errorf("error %v", err)
	}
}
