package lint

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Of a line of docs/POSIX.md: the packages and tests that its last cell names, in order.
// A test may be followed by /NAME, for a table of test/posix.
var reference = regexp.MustCompile("`([a-z][a-z/-]*)`|\\b(Test[A-Z]\\w*)(/\\w+)?")

// testsByPackage finds all tests: folder to names.
func testsByPackage(t *testing.T) (root string, tests map[string]map[string]bool) {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("go list -m: %v", err)
	}
	root = strings.TrimSpace(string(out))
	tests = map[string]map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, p := range packages(t) {
		files, err := filepath.Glob(filepath.Join(p.Dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		tests[p.folder()] = map[string]bool{}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range function.FindAllSubmatch(text, -1) {
				tests[p.folder()][string(match[1])] = true
			}
		}
	}
	return root, tests
}

// TestPOSIXTableNamesItsTests: each line of docs/POSIX.md names tests that exist, in the
// package that is named before them if there is one, or says why there is none.
func TestPOSIXTableNamesItsTests(t *testing.T) {
	root, tests := testsByPackage(t)
	text, err := os.ReadFile(filepath.Join(root, "docs/POSIX.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for i, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(strings.ReplaceAll(line, `\|`, "/"), "|")
		if len(cells) < 4 || strings.HasPrefix(line, "|---") || strings.TrimSpace(cells[len(cells)-2]) == "test" {
			continue
		}
		rows++
		cell := strings.TrimSpace(cells[len(cells)-2])
		for _, complaint := range complaints(root, cell, tests) {
			t.Errorf("docs/POSIX.md:%d: %s", i+1, complaint)
		}
	}
	if rows < 50 {
		t.Errorf("%d lines of tables were found: the check looks for the wrong thing", rows)
	}
}

// complaints tells what is wrong with the tests that a cell names.
func complaints(root, cell string, tests map[string]map[string]bool) (list []string) {
	if cell == "same" || strings.HasPrefix(cell, "none: ") {
		return nil
	}
	folder, named := "", strings.HasPrefix(cell, "same")
	for _, match := range reference.FindAllStringSubmatch(cell, -1) {
		if match[1] != "" {
			folder = match[1]
			continue
		}
		named = true
		found := tests[folder][match[2]]
		for _, in := range tests {
			found = found || folder == "" && in[match[2]]
		}
		if !found {
			list = append(list, "no test "+match[2]+" in "+folder)
		}
		if match[3] != "" {
			if _, err := os.Stat(filepath.Join(root, "test/posix/testdata"+match[3]+".txt")); err != nil {
				list = append(list, "no table"+match[3])
			}
		}
	}
	if !named {
		list = append(list, "no test is named; say \"none: why\" if there can be none")
	}
	return list
}

func TestPOSIXTableRuleBites(t *testing.T) {
	root, _ := testsByPackage(t)
	tests := map[string]map[string]bool{"test/posix": {"TestCalls": true}, "meta": {"TestOther": true}}
	for cell, want := range map[string]int{
		"`test/posix` TestCalls":                 0,
		"`test/posix` TestCalls/open, TestCalls": 0,
		"TestOther, TestCalls":                   0,
		"same; `meta` TestOther":                 0,
		"none: the kernel's":                     0,
		"":                                       1,
		"`meta` TestCalls":                       1,
		"TestAbsent":                             1,
		"`test/posix` TestCalls/absent, TestCalls1": 2,
	} {
		if got := complaints(root, cell, tests); len(got) != want {
			t.Errorf("%q: %q", cell, got)
		}
	}
}
