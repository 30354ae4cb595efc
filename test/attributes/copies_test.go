package attributes

import (
	"os"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

// tree makes a tree in the folder "source" that has whatever a copy can lose.
const tree = `
	mkdir -p source/shared/deep source/private && cd source
	seq 100000 >shared/numbers; cp /bin/true shared/program; : >shared/empty
	ln shared/numbers private/numbers; ln -s ../shared/numbers private/link; ln -s nowhere dangling
	mkfifo pipe; mknod null c 1 3; truncate -s 1M private/hole
	setfacl -m u:1001:rw,g:2000:r shared/numbers; setfacl -m g:3000:-,m::x shared/program
	setfacl -d -m u:1001:rwx,g:2000:rx,o::- shared; cp shared/numbers shared/deep/inherited; mkdir shared/deep/dir
	setfattr -n user.comment -v 'of many words, and "quotes"' shared/numbers
	setfattr -n user.empty shared/empty; setfattr -n user.binary -v 0x00ff0a00 private
	setfattr -n trusted.secret -v t private/numbers; setfattr -h -n trusted.link -v l private/link
	chown 1000:2000 shared/program; chmod u+s shared/program; setcap cap_net_raw+ep shared/program
	chmod g+s shared; chmod +t private; chown 1003:1004 shared/deep/inherited
	find . | xargs touch -h -d '2001-02-03 04:05:06.070809010' # rsync takes times within a second for equal
	touch -h -d '1999-12-31 23:59:59.123456789' private/link shared/numbers; touch -d '2100-01-01 00:00:00.000000001' shared/deep
`

// describe prints all that is to be the same in a copy: all but the times of changes
// and the size of folders.
const describe = `
	export LC_ALL=C
	find . | sort | xargs -d '\n' stat -c '%n %A %u:%g %h %F %t:%T %y'
	find . -type f | sort | xargs -d '\n' sha256sum; find . -type l -printf '%p %l\n' | sort
	find . | sort | xargs -d '\n' getfattr -h -d -m - -e hex
	find . ! -type l | sort | xargs -d '\n' getfacl -n -P
`

var copiers = map[string]string{
	"cp -a": `cp -a --no-target-directory "$FROM" "$TO"`,
	"tar --acls --xattrs": `mkdir "$TO"
		tar -C "$FROM" --acls --xattrs --xattrs-include='*' --numeric-owner -cf - . |
			tar -C "$TO" --acls --xattrs --xattrs-include='*' --numeric-owner -xpf -`,
	"rsync -aHAX": `rsync -aHAX --numeric-ids "$FROM/" "$TO/"
		test -z "$(rsync -aHAXci --numeric-ids --delete "$FROM/" "$TO/")"`,
}

func TestCopiesThereAndBack(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	m := c.Mount()
	local := t.TempDir()
	c.Shell(local, tree)
	want := c.Shell(local+"/source", describe)
	for name, script := range copiers {
		run := func(from, to string) {
			t.Helper()
			t.Setenv("FROM", from)
			t.Setenv("TO", to)
			c.Shell("/", script)
			if got := c.Shell(to, describe); got != want {
				t.Errorf("%s from %s to %s: - source, + copy\n%s", name, from, to, diff(t, want, got))
			}
		}
		run(local+"/source", m.Path+"/"+name)
		m.Remount()
		back := t.TempDir()
		run(m.Path+"/"+name, back+"/copy")
		if err := os.RemoveAll(back); err != nil {
			t.Fatal(err)
		}
	}
}

// A program's privileges are gone on every mount when the file was written to.
func TestPrivilegesGoWithWriting(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Memory: true})
	a, b := c.Mount(), c.Mount()
	for name, change := range map[string]string{
		"a write":             `echo more >>program`,
		"a write in place":    `echo less | dd of=program conv=notrunc status=none`,
		"a direct write":      `dd if=/dev/zero of=program bs=4096 count=1 oflag=direct conv=notrunc status=none`,
		"a truncation":        `truncate -s 10 program`,
		"an open that does":   `: >program`,
		"a change of owner":   `chown 1002 program`,
		"a change of group":   `chgrp 2002 program`,
		"a write by somebody": `setpriv --reuid=1001 --regid=1001 --clear-groups --inh-caps=-all tee -a program </dev/stdin <<<more >/dev/null`,
	} {
		t.Setenv("CASE", name) // a name of its own: the other mount may remember an old one for a second
		c.Shell(a.Path, `mkdir "$CASE"; cd "$CASE"; cp /bin/true program; chmod 777 program; setcap cap_net_raw+ep program; getcap program | grep -q net_raw`)
		c.Shell(b.Path, `cd "$CASE"; `+change)
		for _, m := range []*cluster.Mount{b, a} {
			if out := c.Shell(m.Path, `getcap "$CASE/program"`); out != "" {
				t.Errorf("%s left on %s: %s", name, m.Name, out)
			}
		}
	}
}
