package posix

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"

	"github.com/distrifs/distrifs/test/cluster"
)

func init() {
	cluster.Register("posixtest", posixtestJob)
}

// notPOSIX are tests of what a local filesystem does not do either. The mount has to
// answer them as tmpfs does.
var notPOSIX = map[string]string{
	"FcntlFlockLocksFile": "expects that a process is refused a record lock for one of its own, which POSIX rules out; upstream leaves it out on a local folder too",
}

// posixtestJob runs all tests of posixtest, each in a folder of its own. It has the
// flags of a test binary, and a folder.
func posixtestJob(args []string) error {
	var tests []testing.InternalTest
	for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
		tests = append(tests, testing.InternalTest{Name: name, F: func(t *testing.T) {
			dir := filepath.Join(args[len(args)-1], name)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			posixtest.All[name](t, dir)
		}})
	}
	testing.Main(regexp.MatchString, tests, nil, nil) // which exits
	return nil
}

var verdict = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\w+) `)

// posixtests gives the verdict of each test in a folder.
func posixtests(c *cluster.Cluster, dir string, flags ...string) (verdicts map[string]string, output string) {
	output, _ = c.Job("posixtest", append(append([]string{"-test.v"}, flags...), dir)...).Wait(cluster.JobLimit)
	verdicts = map[string]string{}
	for _, match := range verdict.FindAllStringSubmatch(output, -1) {
		verdicts[match[2]] = match[1]
	}
	return verdicts, output
}

// TestGoFuse runs go-fuse's own tests for filesystems: all of them pass, none is left out.
func TestGoFuse(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Memory: true})
	got, output := posixtests(c, c.Mount().Path)
	only := "^(" + strings.Join(slices.Collect(maps.Keys(notPOSIX)), "|") + ")$"
	local, _ := posixtests(c, localFolder(t, c), "-test.run", only)
	for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
		t.Run(name, func(t *testing.T) {
			want := "PASS"
			if why, ok := notPOSIX[name]; ok {
				want = local[name]
				t.Logf("%s on tmpfs, and so here: it %s", want, why)
			}
			if got[name] != want || want == "" {
				t.Errorf("%q, want %s:\n%s", got[name], want, about(name, output))
			}
		})
	}
}

// about is what a test printed, and all there is for one that did not end.
func about(name, output string) string {
	_, text, _ := strings.Cut(output, "=== RUN   "+name+"\n")
	text, _, _ = strings.Cut(text, "=== RUN ")
	return text
}
