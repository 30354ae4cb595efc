package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// lastLesson is the number of the last lesson that docs/RELIABILITY.md has to answer.
const lastLesson = 19

var (
	quoted   = regexp.MustCompile("`([^`]+)`")
	testName = regexp.MustCompile(`^Test[A-Z]\w*$`)
	aLesson  = regexp.MustCompile(`^\| L(\d+) \|`)
)

// TestReliabilityNamesItsTests: the tests that docs/RELIABILITY.md names exist, each line of its
// tables of promises and lessons names one, and no lesson is left out.
func TestReliabilityNamesItsTests(t *testing.T) {
	root, tests := testsByPackage(t)
	text, err := os.ReadFile(filepath.Join(root, "docs/RELIABILITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, complaint := range reliability(string(text), tests) {
		t.Error("docs/RELIABILITY.md" + complaint)
	}
}

// reliability tells what is wrong with the text.
func reliability(text string, tests map[string]map[string]bool) (list []string) {
	lessons := map[string]bool{}
	heading := ""
	for i, line := range strings.Split(text, "\n") {
		complain := func(format string, args ...any) {
			list = append(list, fmt.Sprintf(":%d: ", i+1)+fmt.Sprintf(format, args...))
		}
		if strings.HasPrefix(line, "| ") && heading == "test" && !namesATest(line) {
			complain("no test is named")
		}
		if match := aLesson.FindStringSubmatch(line); match != nil {
			lessons[match[1]] = true
		}
		if cells := strings.Split(line, "|"); len(cells) > 2 && heading == "" {
			heading = strings.TrimSpace(cells[len(cells)-2])
		} else if len(cells) <= 2 {
			heading = ""
		}
		for _, match := range quoted.FindAllStringSubmatch(line, -1) {
			if testName.MatchString(match[1]) && !exists(tests, match[1]) {
				complain("there is no test %s", match[1])
			}
		}
	}
	for n := 1; n <= lastLesson; n++ {
		if !lessons[fmt.Sprint(n)] {
			list = append(list, fmt.Sprintf(": lesson L%d has no line", n))
		}
	}
	return list
}

func namesATest(line string) bool {
	for _, match := range quoted.FindAllStringSubmatch(line, -1) {
		if testName.MatchString(match[1]) {
			return true
		}
	}
	return false
}

func exists(tests map[string]map[string]bool, name string) bool {
	for _, in := range tests {
		if in[name] {
			return true
		}
	}
	return false
}

func TestReliabilityRuleBites(t *testing.T) {
	tests := map[string]map[string]bool{"meta": {"TestThere": true}}
	lessons := "| | rule | test |\n|---|---|---|\n"
	for n := 1; n <= lastLesson; n++ {
		lessons += fmt.Sprintf("| L%d | rule | `TestThere` |\n", n)
	}
	for text, want := range map[string]int{
		lessons: 0,
		"":      lastLesson,
		strings.Replace(lessons, "| L7 |", "| 7 |", 1): 1,
		lessons + "\n`TestAbsent` says so":             1,
		lessons + "| L20 | rule | none |":              1,
		lessons + "\n| promise | test |\n|---|---|\n| it holds | `TestThere`, `TestAbsent` |\n| it does not | |\n": 2,
		lessons + "\n| what | how | where |\n|---|---|---|\n| power | cut | everywhere |\n":                        0,
	} {
		if got := reliability(text, tests); len(got) != want {
			t.Errorf("%d complaints, want %d: %q", len(got), want, got)
		}
	}
}
