package attributes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// as defines the command `as UID[,GID...] COMMAND...`; `can`, which prints whether a
// command succeeds; and `lists`, which prints the lists of whole trees. The folder is entered as root: other users may not reach it by
// its path.
const as = `
	as() {
		local uid=${1%%,*} groups=${1#*,}; shift
		[ "$groups" != "$uid" ] || groups=$uid
		setpriv --reuid="$uid" --regid="${groups%%,*}" --groups="$groups" --inh-caps=-all "$@"
	}
	lists() { find "$@" | LC_ALL=C sort | xargs -d '\n' getfacl -n -P; }
	can() { if "$@" >/dev/null 2>&1; then echo "can: $*"; else echo "cannot: $*"; fi; }
	umask 022
	mkdir tree && cd tree && chown 1000:1000 . && chmod 777 .
`

// Each script prints what it sees; the mount must make it print what a local
// filesystem makes it print.
var aclScripts = map[string]string{
	"mode and list in step": `
		as 1000 touch file
		for change in "setfacl -m u:1001:rw file" "chmod g+x file" "chmod 640 file" "setfacl -m m::rwx file" \
			"setfacl -m g:1002:r file" "setfacl -x u:1001 file" "chmod 755 file" "setfacl -b file" \
			"setfacl --set u::rw,g::r,o::- file" "setfacl -m m::r file" "setfacl -n -m u:1001:rwx file"; do
			as 1000 $change
			echo "$change"; stat -c %A file; getfacl -n file; getfattr -d -m - -e hex file
		done`,
	"who may change them": `
		as 1000 touch file; as 1000 mkdir dir; ln -s file link
		can as 1001 setfacl -m u:1001:rw file
		can as 1000 setfacl -m u:1001:rw file
		can as 1001 setfacl -b file
		can as 1001 setfacl -d -m u:1001:rw dir
		can as 1000 setfacl -d -m u:1001:rw file
		can as 1000 setfattr -n system.posix_acl_access -v 0x01000000 file
		can as 1000 setfattr -n system.posix_acl_access -v 0x02000000ff file
		can setfattr -h -n system.posix_acl_access -v 0x02000000 link
		can getfattr -h -n system.posix_acl_access link
		as 1001 getfacl -n file`,
	"who may do what": `
		as 1000 mkdir -m 700 dir; as 1000 touch dir/file; as 1000 chmod 600 dir/file
		for who in 1000 1001 1002,2000 1003,3000,2000 1004; do
			can as $who cat dir/file
		done
		as 1000 setfacl -m u:1001:x,g:2000:rx dir
		as 1000 setfacl -m u:1001:r,g:2000:rw,o::- dir/file
		for who in 1000 1001 1002,2000 1003,3000,2000 1004; do
			can as $who ls dir; can as $who cat dir/file; can as $who tee -a dir/file; can as $who touch dir/new-$who
		done
		as 1000 setfacl -m m::r dir/file
		for who in 1001 1002,2000; do
			can as $who cat dir/file; can as $who tee -a dir/file
			can as $who test -w dir/file; can as $who test -r dir/file
		done
		as 1000 setfacl -m u:1001:rwx dir
		can as 1001 touch dir/new; can as 1001 rm dir/file
		ls -n dir | cut -d ' ' -f 1`,
	"a group entry sums up nothing": `
		as 1000 touch file; as 1000 setfacl -m u::rwx,g::r,g:2000:w,o::rwx file
		for who in 1001,1000 1002,2000 1003,1000,2000 1004; do
			can as $who test -r file; can as $who test -w file; can as $who test -x file
		done`,
	"inheritance": `
		for defaults in "u::rwx,g::rx,o::rx" "u::rwx,u:1001:rwx,g::rx,o::-" "u::rw,g::-,g:2000:rwx,m::rw,o::r"; do
			for mask in 000 022 077 777; do
				dir="$defaults-$mask"; as 1000 mkdir -m 777 "$dir"
				as 1000 setfacl -d -m "$defaults" "$dir"
				( cd "$dir"; umask $mask
				  as 1001 touch file; as 1001 mkdir dir; as 1001 mkfifo fifo; as 1001 mknod -m 666 pipe p; as 1001 ln -s file link
				  as 1001 mkdir -m 2750 setgid; as 1001 mkdir -p dir/below 2>/dev/null || echo no mkdir below )
				( cd "$dir"; LC_ALL=C; stat -c '%n %A' *; lists . )
			done
		done`,
	"set-group-id": `
		as 1000,1000,2000 touch member; chgrp 2000 member; chmod 6755 member
		as 1000,1000,2000 setfacl -m u:1001:rwx member; stat -c %A member
		touch stranger; chown 1000:3000 stranger; chmod 6755 stranger
		as 1000 setfacl -m u:1001:rwx stranger; stat -c %A stranger
		mkdir dir; chown 1000:2000 dir; chmod 2777 dir; as 1000,1000,2000 setfacl -d -m u:1001:rwx dir
		as 1001 touch dir/file; as 1001 mkdir dir/dir; stat -c '%n %A %g' dir dir/*; lists dir`,
	"links and renames": `
		as 1000 touch file; as 1000 setfacl -m u:1001:rw file
		as 1000 ln file second; as 1000 setfacl -m u:1002:r second; getfacl -n file
		as 1000 mkdir dir; as 1000 setfacl -d -m u:1003:rwx dir; as 1000 mv file dir/; getfacl -n dir/file
		rm second dir/file; as 1000 touch dir/file; getfacl -n dir/file`,
}

func TestACLsAsOnALocalFilesystem(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Memory: true})
	m := c.Mount()
	for name, script := range aclScripts {
		c.Shell(m.Path, "mkdir '"+name+"'")
		got, want := c.Shell(filepath.Join(m.Path, name), as+script), c.Shell(t.TempDir(), as+script)
		if got != want {
			t.Errorf("%s: - local filesystem, + mount\n%s", name, diff(t, want, got))
		}
	}
}

// diff gives the lines of two texts that differ.
func diff(t *testing.T, a, b string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"a": a, "b": b} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("diff", "-U", "8", "a", "b")
	cmd.Dir = dir
	out, _ := cmd.Output() // exit code 1: they differ
	return string(out)
}

// What one mount sets, the other obeys, from the next second on, and so do both after
// the mounts and the master have been started again.
func TestACLsOnTwoMounts(t *testing.T) { // G2, G8
	c := cluster.Start(t, cluster.Options{})
	a, b := c.Mount(), c.Mount()
	c.Shell(a.Path, `
		umask 077; mkdir dir; echo secret >dir/file
		setfacl -m u:1001:rx dir; setfacl -d -m u:1001:rwx,g:2000:r dir; setfacl -m u:1001:r dir/file
		cd dir; setpriv --reuid=1001 --regid=1001 --clear-groups cat file`)
	want := c.Shell(a.Path, "getfacl -n -R .")
	obeys := func(what string, mounts ...*cluster.Mount) {
		t.Helper()
		for _, m := range mounts {
			if got := c.Shell(m.Path, "getfacl -n -R ."); got != want {
				t.Errorf("%s: %s shows\n%s\nnot\n%s", what, m.Name, got, want)
			}
			c.Shell(m.Path, `
				setpriv --reuid=1001 --regid=1001 --clear-groups cat dir/file
				! setpriv --reuid=1002 --regid=1002 --clear-groups cat dir/file 2>/dev/null`)
		}
	}
	obeys("written just now", a, b)

	c.Shell(b.Path, "chmod g= dir/file") // an empty mask
	cluster.Until(t, cluster.StartLimit, "the first mount obeys the second's chmod", func() error {
		out, err := c.Command(a.Path, "setpriv", "--reuid=1001", "--regid=1001", "--clear-groups", "cat", "dir/file").Wait(cluster.JobLimit)
		if err == nil {
			return fmt.Errorf("it was read: %s", out)
		}
		return nil
	})
	c.Shell(b.Path, "chmod g=r dir/file")
	a.Remount()
	b.Remount()
	obeys("mounted anew", a, b)

	c.Master.Kill()
	c.Master.Launch()
	c.WaitAlive()
	obeys("the master was killed and started again", a, b)
	c.Shell(b.Path, `
		umask 0; touch dir/new
		getfacl -n dir/new | grep -q '^user:1001:rwx'
		test "$(stat -c %a dir/new)" = 660`)
}
