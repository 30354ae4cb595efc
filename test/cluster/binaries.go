package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Binaries builds the programs under test, once a process, and gives their folder.
func Binaries(t testing.TB) string {
	t.Helper()
	dir, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var buildOnce = sync.OnceValues(func() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	name, flags := "test", []string{}
	if raceEnabled {
		name, flags = "test-race", []string{"-race"}
	}
	dir := filepath.Join(root, "bin", name)
	unlock, err := lockFolder(dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	args := append([]string{"build", "-o", dir + "/"}, flags...)
	build := exec.Command("go", append(args, "./cmd/...")...)
	build.Dir = root
	if output, err := build.CombinedOutput(); err != nil {
		return "", &buildError{output: output, err: err}
	}
	return dir, nil
})

type buildError struct {
	output []byte
	err    error
}

func (e *buildError) Error() string { return "go build: " + e.err.Error() + "\n" + string(e.output) }

// Root is the folder of go.mod: the nearest one above the test's own folder.
func Root() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", os.ErrNotExist
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

// lockFolder keeps test binaries that run at the same time from building into one folder.
func lockFolder(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		lock.Close()
		return nil, err
	}
	return func() { lock.Close() }, nil
}
