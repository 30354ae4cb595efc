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

// binariesVariable names a folder with programs that were built already, so that not every
// package builds its own: in "race" with the race detector, in "plain" without. test/run
// sets it.
const binariesVariable = "DISTRIFS_TEST_BINARIES"

// binaries is where the programs under test are, built at the first need.
var binaries struct {
	once  sync.Once
	main  bool   // Main runs, and will remove the folder
	plain bool   // without the race detector in any case
	dir   string // set by once
	made  bool   // the folder was made here
	err   error
}

// Main is the TestMain of a package that uses the harness: it runs a registered
// function if this process is a job, and otherwise the tests.
func Main(m *testing.M) {
	runJobFunction()
	binaries.main = true
	code := m.Run()
	if binaries.made {
		os.RemoveAll(binaries.dir)
	}
	os.Exit(code)
}

// WithoutRaceDetector takes programs without it, whatever the test has. A
// package calls it from init whose tests are many calls of other programs, which would
// take the better part of an hour.
func WithoutRaceDetector() { binaries.plain = true }

// Binary gives the path of one of our programs.
func Binary(t testing.TB, name string) string {
	t.Helper()
	if !binaries.main {
		t.Fatal("the package needs: func TestMain(m *testing.M) { cluster.Main(m) }")
	}
	binaries.once.Do(find)
	if binaries.err != nil {
		t.Fatal(binaries.err)
	}
	path := filepath.Join(binaries.dir, name)
	// Looking at it also tells go test that a cached result is not that of another program.
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: built by make test, or by the test itself if %s is not set", err, binariesVariable)
	}
	return path
}

func find() {
	if built := os.Getenv(binariesVariable); built != "" {
		binaries.dir = filepath.Join(built, map[bool]string{true: "plain", false: "race"}[binaries.plain])
		return
	}
	race := raceEnabled && !binaries.plain
	if binaries.dir, binaries.err = os.MkdirTemp("", "distrifs-binaries-"); binaries.err != nil {
		return
	}
	binaries.made = true
	binaries.err = build(binaries.dir, race)
}

func build(dir string, race bool) error {
	root, err := ModuleRoot()
	if err != nil {
		return err
	}
	args := []string{"build", "-o", dir + "/"}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/...")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// ModuleRoot is the folder of go.mod.
func ModuleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
