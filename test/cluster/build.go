package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// binaries is where the programs under test are, built at the first need.
var binaries struct {
	once  sync.Once
	main  bool   // Main runs, and will remove the folder
	plain bool   // without the race detector in any case
	dir   string // set by once
	err   error
}

// Main is the TestMain of a package that uses the harness: it runs a registered
// function if this process is a job, and otherwise the tests.
func Main(m *testing.M) {
	runJobFunction()
	binaries.main = true
	code := m.Run()
	if binaries.dir != "" {
		os.RemoveAll(binaries.dir)
	}
	os.Exit(code)
}

// WithoutRaceDetector has the programs built without it although the test has it. A
// package calls it from init whose tests are many calls of other programs, which would
// take the better part of an hour.
func WithoutRaceDetector() { binaries.plain = true }

// Binary gives the path of one of our programs.
func Binary(t testing.TB, name string) string {
	t.Helper()
	if !binaries.main {
		t.Fatal("the package needs: func TestMain(m *testing.M) { cluster.Main(m) }")
	}
	binaries.once.Do(build)
	if binaries.err != nil {
		t.Fatal(binaries.err)
	}
	return filepath.Join(binaries.dir, name)
}

func build() {
	root, err := ModuleRoot()
	if err != nil {
		binaries.err = err
		return
	}
	if binaries.dir, binaries.err = os.MkdirTemp("", "distrifs-binaries-"); binaries.err != nil {
		return
	}
	args := []string{"build", "-o", binaries.dir + "/"}
	if raceEnabled && !binaries.plain {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/...")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		binaries.err = fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
}

// ModuleRoot is the folder of go.mod.
func ModuleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
