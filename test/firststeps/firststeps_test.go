package firststeps

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// newcomer is a clone of the project and the environment to use it in.
type newcomer struct {
	t     *testing.T
	clone string
	dir   string // of the cluster
	mount string
	env   []string
}

// arrive clones what is committed. The environment is empty but for a place to
// work in that does not collide with a cluster that is up on this machine, and
// for Go's caches, which save minutes and change nothing.
func arrive(t *testing.T) *newcomer {
	root, err := cluster.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	n := &newcomer{t: t, clone: filepath.Join(t.TempDir(), "distrifs")}
	work := t.TempDir()
	n.dir, n.mount = filepath.Join(work, "cluster"), filepath.Join(work, "mnt")
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	n.env = []string{
		"PATH=" + filepath.Dir(goTool) + ":/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + work,
		"MOUNT=" + n.mount,
		"DISTRIFS_DIR=" + n.dir,
		fmt.Sprintf("DISTRIFS_PORT=%d", cluster.FreePort(t)),
	}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS", "GONOSUMDB", "GOSUMDB"} {
		value, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		n.env = append(n.env, name+"="+strings.TrimSpace(string(value)))
	}
	if out, err := exec.Command("git", "clone", "-q", root, n.clone).CombinedOutput(); err != nil {
		t.Fatalf("git clone: %v: %s", err, out)
	}
	t.Cleanup(func() { n.try("bin/distrifs down --purge") })
	return n
}

func (n *newcomer) try(script string) (string, error) {
	cmd := exec.Command("timeout", "600", "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = n.clone, n.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (n *newcomer) types(script string) string {
	n.t.Helper()
	out, err := n.try(script)
	if err != nil {
		n.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// clusterFile is the part of DIR/cluster.json that scripts rely on.
type clusterFile struct {
	Processes []struct {
		Role    string `json:"role"`
		Pid     int    `json:"pid"`
		Address string `json:"address"`
	} `json:"processes"`
}

func (n *newcomer) processes() (file clusterFile) {
	n.t.Helper()
	text, err := os.ReadFile(filepath.Join(n.dir, "cluster.json"))
	if err != nil {
		n.t.Fatal(err)
	}
	if err := json.Unmarshal(text, &file); err != nil {
		n.t.Fatalf("cluster.json: %v\n%s", err, text)
	}
	return file
}

func TestMakeUpInAFreshClone(t *testing.T) {
	n := arrive(t)
	n.types("make up")
	n.types(`cd "$MOUNT" && git -C "$OLDPWD" rev-parse HEAD >head && mkdir -p a/b && cp -r "$OLDPWD"/meta a/b/ && diff -r "$OLDPWD"/meta a/b/meta`)

	roles := map[string]int{}
	for _, p := range n.processes().Processes {
		roles[p.Role]++
		if err := syscall.Kill(p.Pid, 0); err != nil {
			t.Errorf("%s at %s: pid %d: %v", p.Role, p.Address, p.Pid, err)
		}
	}
	if roles["master"] != 1 || roles["chunkserver"] != 3 || roles["mount"] != 1 {
		t.Errorf("cluster.json has %v", roles)
	}

	// Whoever dies is started again, and the files stay.
	for _, victim := range n.processes().Processes {
		if victim.Role == "mount" {
			continue
		}
		if err := syscall.Kill(victim.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		cluster.Until(t, cluster.StartLimit, victim.Role+" at "+victim.Address+" is started again", func() error {
			for _, p := range n.processes().Processes {
				if p.Address == victim.Address && p.Pid != victim.Pid {
					return nil
				}
			}
			return fmt.Errorf("cluster.json still has pid %d", victim.Pid)
		})
		n.types(`diff -r meta "$MOUNT"/a/b/meta`)
	}

	var status struct {
		Chunks struct {
			UnderReplicated json.Number `json:"under_replicated"`
		} `json:"chunks"`
	}
	out := n.types(`bin/distrifs status --json --master 127.0.0.1:$DISTRIFS_PORT`)
	if err := json.Unmarshal([]byte(out), &status); err != nil || status.Chunks.UnderReplicated == "" {
		t.Errorf("status --json: %v\n%s", err, out)
	}

	n.types("make down")
	if out, err := n.try(`mountpoint -q "$MOUNT"`); err == nil {
		t.Errorf("still mounted after make down %s", out)
	}
	for _, p := range n.processes().Processes {
		t.Errorf("%s is still in cluster.json after make down", p.Role)
	}
	n.types("make up")
	n.types(`diff -r meta "$MOUNT"/a/b/meta && test "$(cat "$MOUNT"/head)" = "$(git rev-parse HEAD)"`)
	n.types("make down")
}
