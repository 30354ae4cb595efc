package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// sourceTree is what programs work on: part of the Go distribution, as a tar archive.
var sourceTree = filepath.Join(os.TempDir(), "bench-peers-source.tar")

// shell runs a script in dir and gives the seconds that it took.
func shell(dir, script string) (float64, error) {
	return timed(func() error {
		cmd := exec.Command("sh", "-ec", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
			"GIT_AUTHOR_NAME=b", "GIT_AUTHOR_EMAIL=b@b", "GIT_COMMITTER_NAME=b", "GIT_COMMITTER_EMAIL=b@b")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", script, err, out[max(0, len(out)-300):])
		}
		return nil
	})
}

func programWorkloads(o *options) []*workload {
	archive := func(string) error {
		if exists(sourceTree) {
			return nil
		}
		folders := "src/net src/fmt src/os src/go"
		_, err := shell(goRoot(), "tar cf "+sourceTree+".new "+folders+" && mv "+sourceTree+".new "+sourceTree)
		return err
	}
	script := func(name string, cold bool, script string) *workload {
		return &workload{name: name, unit: "s", cold: cold, ready: archive, run: func(dir string) (float64, error) { return shell(dir, script) }}
	}
	return []*workload{
		script("untar", false, "mkdir tree && tar xf "+sourceTree+" -C tree"),
		script("cp_r", false, "cp -r tree copy"),
		script("grep_r_cold", true, "! grep -rF 'no such line anywhere 42 17' tree"),
		script("find_cold", true, "find tree -type f -size +100k >/dev/null"),
		script("git_commit", false, "cd tree/src/net && git init -q . && git add -A && git commit -q -m x"),
		script("git_status_cold", true, "cd tree/src/net && git status >/dev/null"),
		script("rm_rf", false, "rm -rf copy"),
		{name: "sqlite_insert_tx", unit: "tx/s", run: func(dir string) (float64, error) {
			n := o.scaled(1000)
			took, err := shell(dir, "printf '"+strings.Repeat("insert into t values(1,2);\\n", n)+"' >"+os.TempDir()+
				"/bench-peers.sql; sqlite3 data.db 'create table t(a,b)'; sqlite3 data.db <"+os.TempDir()+"/bench-peers.sql; rm "+os.TempDir()+"/bench-peers.sql")
			return float64(n) / took, err
		}},
	}
}

// goRoot is the folder of the Go distribution.
func goRoot() string {
	if out, err := exec.Command("go", "env", "GOROOT").Output(); err == nil {
		return strings.TrimSpace(string(out))
	}
	return filepath.Join("/usr/local/go", runtime.Version())
}
