package mounting

import (
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

func TestRemount(t *testing.T) {
	s := enter(t, cluster.Start(t, cluster.Options{}))
	s.run(`mount -t distrifs $master $dir -o io-timeout=30s,soft
		cd $dir; echo hello >file
		mount -o remount,ro $dir
		! touch file 2>$work/error; grep -q Read-only $work/error
		grep -q hello file
		mount -o remount,rw $dir; echo more >>file
		mount -o remount,noatime $dir; findmnt -no OPTIONS $dir | grep -q noatime
		mount -o remount,io-timeout=30s,strictatime $dir; ! findmnt -no OPTIONS $dir | grep -q atime`)
	for _, c := range []struct{ option, word string }{
		{"io-timeout=31s", "io-timeout is 30s and cannot be changed"},
		{"hard", "hard is false and cannot be changed"},
		{"fsname=other", "fsname"},
		{"debug", "debug"},
		{"nonsense", `"nonsense"`},
	} {
		s.fails(1, `mount -o remount,ro,`+c.option+` $dir`, "mount.fuse.distrifs: ", c.word)
	}
	s.fails(1, `/sbin/mount.distrifs other:1 $dir -o remount,ro`, "the source")
	s.fails(32, `/sbin/mount.distrifs $master $work -o remount,ro`, "no living DistriFS mount")
	s.fails(32, `exec 3>>$dir/file; mount -o remount,ro $dir`, "open for writing")
	s.run(`touch $dir/file # nothing was changed by those
		/sbin/mount.distrifs -f none $dir -o remount,ro; touch $dir/file
		umount $dir`)
}

// accessScript prints how reads move the access time of a file, a folder and a symlink,
// 'y' or 'n' for each of two reads.
const accessScript = `
	moves() { # FILE COMMAND...
		before=$(stat -c %x "$1"); sleep 0.02; "${@:2}" >/dev/null; after=$(stat -c %x "$1")
		if [ "$before" = "$after" ]; then printf n; else printf y; fi
	}
	try() {
		rm -rf $dir/file $dir/folder $dir/link
		printf hello >$dir/file; mkdir $dir/folder; ln -s file $dir/link; sleep 0.02
		for _ in 1 2; do moves $dir/file dd if=$dir/file iflag=direct status=none; done
		for _ in 1 2; do moves $dir/folder ls $dir/folder; done
		moves $dir/link readlink $dir/link
	}`

func TestAccessTimes(t *testing.T) {
	s := enter(t, cluster.Start(t, cluster.Options{}))
	s.run(accessScript + `
		expect() { got=$(try); test "$got" = "$2" || { echo "$1: $got, want $2"; exit 1; }; }
		mount -t distrifs $master $dir
		expect relatime ynyny
		mount -o remount,strictatime $dir
		expect strictatime yyyyy
		mount -o remount,noatime $dir
		expect noatime nnnnn
		mount -o remount,relatime $dir
		expect relatime ynyny
		change=$(stat -c %z $dir/file)
		read=$(stat -c %x $dir/file)
		mount -o remount,ro $dir; sleep 0.02
		dd if=$dir/file iflag=direct status=none
		test "$(stat -c %x $dir/file)" = "$read"
		umount $dir
		mount -t distrifs $master $dir # the master has heard of it
		test "$(stat -c %x $dir/file)" = "$read"
		test "$(stat -c %z $dir/file)" = "$change"
		umount $dir`)
}
