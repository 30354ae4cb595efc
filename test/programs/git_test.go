package programs

import (
	"strings"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

// gitIdentity keeps git from asking who commits.
const gitIdentity = `
	export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example.org
`

func TestGitOnTheMount(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	m := c.Mount()
	run(t, c, m.Path, gitIdentity+`
		git init -q repo && cd repo
		cp -r "$(go env GOROOT)/src/net" .
		git add . && git commit -q -m first
		echo 'package net' >net/net.go
		test "$(git status --short)" = " M net/net.go"
		git commit -q -a -m second
		git gc -q
		git fsck --strict`)
	m.Remount()
	run(t, c, m.Path, gitIdentity+`
		cd repo
		git fsck --strict
		test -z "$(git status --short)"
		git clone -q . ../clone
		diff -r net ../clone/net`)
}

// push commits and pushes $2 times from a clone of the bare repository, named $1. Who
// comes too late takes in what the others pushed, and tries again.
const push = gitIdentity + `
	git clone -q shared.git "$1" && cd "$1"
	for i in $(seq "$2"); do
		echo "$1 $i" >"$1-$i" && git add . && git commit -q -m "$1 $i"
		until git push -q origin HEAD:main 2>/dev/null; do git pull -q --rebase origin main; done
	done`

// Clones on two mounts push to one branch of one bare repository. Every commit that
// a push reported as done is in the branch, once, and the repository is whole.
func TestGitPushesFromTwoMounts(t *testing.T) { // G3, G4
	cluster.NeedsLeases(t)
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	mounts := []*cluster.Mount{c.Mount(), c.Mount()}
	run(t, c, mounts[0].Path, gitIdentity+`
		git init -q --bare -b main shared.git && git clone -q shared.git first 2>/dev/null && cd first
		echo first >first && git add . && git commit -q -m first && git push -q origin HEAD:main`)
	var jobs []*cluster.Job
	var want []string
	for i, m := range mounts {
		for _, name := range [][]string{{"a", "b"}, {"c", "d"}}[i] {
			jobs = append(jobs, start(c, m.Path, push, name, "3"))
			for _, n := range strings.Fields("1 2 3") {
				want = append(want, name+" "+n)
			}
		}
	}
	for _, job := range jobs {
		if out, err := job.Wait(limit); err != nil {
			t.Fatalf("%v: %s", err, tail(out))
		}
	}
	want = append(want, "first")
	for _, m := range mounts {
		out := run(t, c, m.Path, `git -C shared.git fsck --strict --no-dangling 2>&1; git -C shared.git log --format=%s main | LC_ALL=C sort`)
		if got := strings.TrimSpace(out); got != strings.Join(want, "\n") {
			t.Errorf("%s: want %d commits, got\n%s", m.Name, len(want), got)
		}
	}
}
