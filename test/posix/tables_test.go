package posix

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

var localOnly = flag.Bool("tables.local", false, "ask the local filesystem alone: to write tables with")

// TestCalls runs the tables on a mount and on tmpfs.
func TestCalls(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the tables act for several users: run as root")
	}
	c := cluster.Bare(t)
	folders := []struct{ name, path string }{{"tmpfs", localFolder(t, c)}}
	if !*localOnly {
		c = cluster.Start(t, cluster.Options{Memory: true})
		folders = append(folders, struct{ name, path string }{"mount", c.Mount().Path})
	}
	for _, name := range tableNames() {
		t.Run(name, func(t *testing.T) {
			cases, err := readTable(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, folder := range folders {
				answers := map[string]string{}
				out, err := c.Job("table", folder.path, name).Wait(cluster.JobLimit)
				for _, line := range strings.Split(out, "\n") {
					if words := strings.SplitN(line, " ", 3); len(words) == 3 {
						answers[words[0]+" "+words[1]] = words[2]
					}
				}
				if err != nil {
					t.Errorf("%s: %v: ...%s", folder.name, err, out[max(0, len(out)-200):])
				}
				for _, c := range cases {
					for _, complaint := range c.check(answers, folder.name == "tmpfs") {
						t.Errorf("testdata/%s.txt:%d: on the %s %s", name, c.line, folder.name, complaint)
					}
				}
			}
		})
	}
}

// check compares the answers to a case with what it says.
func (c *testCase) check(answers map[string]string, local bool) (complaints []string) {
	for i, s := range c.steps {
		got, ok := answers[fmt.Sprintf("%d %d", c.line, i)]
		want := s.want
		if local {
			want = s.local
		}
		switch {
		case !ok:
			return append(complaints, fmt.Sprintf("%q was not answered", s.text))
		case want == "" && failure(got):
			complaints = append(complaints, fmt.Sprintf("%q failed: %s", s.text, got))
		case want != "" && want != got:
			complaints = append(complaints, fmt.Sprintf("%.200q gave %.200s", s.text, got))
		}
	}
	return complaints
}

// failure tells whether an answer is an errno.
func failure(answer string) bool {
	return len(answer) > 2 && answer[0] == 'E' && answer == strings.ToUpper(answer) && answer != "END" && !strings.Contains(answer, " ")
}

// localFolder is a tmpfs of its own.
func localFolder(t *testing.T, c *cluster.Cluster) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tmpfs")
	c.Shell("/", "mkdir "+dir+"; mount -t tmpfs -o mode=755 tmpfs "+dir)
	t.Cleanup(func() { c.Shell("/", "umount --recursive "+dir) })
	return dir
}

// TestComplaints: the tables can fail.
func TestComplaints(t *testing.T) {
	cases, err := parseTable("creat f 644; unlink g = ENOENT; stat f size = 0, locally 1")
	if err != nil {
		t.Fatal(err)
	}
	c := cases[0]
	right := map[string]string{"1 0": "0", "1 1": "ENOENT", "1 2": "0"}
	if complaints := c.check(right, false); complaints != nil {
		t.Errorf("%v", complaints)
	}
	for _, wrong := range []map[string]string{
		{"1 0": "EIO", "1 1": "ENOENT", "1 2": "0"},
		{"1 0": "0", "1 1": "0", "1 2": "0"},
		{"1 0": "0", "1 1": "ENOENT", "1 2": "1"},
		{"1 0": "0", "1 1": "ENOENT"},
	} {
		if len(c.check(wrong, false)) != 1 {
			t.Errorf("%v: %v", wrong, c.check(wrong, false))
		}
	}
	if len(c.check(right, true)) != 1 {
		t.Error("a local difference was not looked for")
	}
}
