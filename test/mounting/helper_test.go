package mounting

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

func TestMountAndUmountByType(t *testing.T) {
	s := enter(t, cluster.Start(t, cluster.Options{}))
	for _, fstype := range []string{"distrifs", "fuse.distrifs"} {
		s.run(`mount -t ` + fstype + ` $master $dir -o noatime,nosuid,io-timeout=30s,read-ahead=2MiB,hard,_netdev,x-systemd.automount
			echo hello >$dir/file # the mount answers as soon as mount has returned
			test "$(findmnt -no SOURCE,FSTYPE $dir | xargs)" = "$master fuse.distrifs"
			for option in rw noatime nosuid allow_other default_permissions; do
				findmnt -no OPTIONS $dir | tr , '\n' | grep -qx "$option" || { echo "no $option"; exit 1; }
			done
			umount $dir
			! findmnt $dir; test -z "$(ls $dir)"`)
	}
	s.run(`mount -v -t distrifs -o ro,fsname=name,subtype=sub $master:/ $dir | grep -q "mounted on"
		test "$(findmnt -no SOURCE,FSTYPE $dir | xargs)" = "name fuse.sub"
		! touch $dir/new 2>$work/error; grep -q Read-only $work/error
		umount -i $dir`)
}

func TestFstab(t *testing.T) {
	s := enter(t, cluster.Start(t, cluster.Options{}))
	fstab := s.Master.Address + "  " + s.dir + "  distrifs  defaults,_netdev,nofail,x-systemd.requires=network-online.target,io-timeout=30s,comment=ours  0  0\n"
	if err := os.WriteFile(filepath.Join(s.Dir, "fstab"), []byte(fstab), 0o644); err != nil {
		t.Fatal(err)
	}
	s.run(`mount -a -T $work/fstab
		echo hello >$dir/file
		mount -a -T $work/fstab # it is there already
		test "$(findmnt -n $dir | wc -l)" = 1
		mount -T $work/fstab -o remount,ro $dir # with the options of fstab once more
		! touch $dir/new 2>/dev/null
		mount -T $work/fstab -o remount,rw $dir; touch $dir/new
		umount $dir`)
}

func TestExitCodes(t *testing.T) {
	s := enter(t, cluster.Start(t, cluster.Options{}))
	s.fails(1, `mount -t distrifs $master $dir -o nosuid,nonsense`, "mount.distrifs: ", `"nonsense"`, "not known")
	s.fails(1, `mount -t distrifs $master $dir -o io-timeout=soon`, `"io-timeout=soon"`)
	s.fails(1, `mount -t distrifs $master $dir -o read-ahead`, `"read-ahead"`)
	s.fails(1, `mount -t distrifs a/b $dir`, `"a/b" is no master`)
	s.fails(1, `/sbin/mount.distrifs $master`, "MOUNTPOINT")
	s.fails(1, `/sbin/mount.distrifs $master $dir -X`, "-X")
	s.fails(1, `/sbin/mount.distrifs -N /no/namespace $master $dir`, "/no/namespace")
	s.fails(32, `mount -t distrifs localhost:1 $dir -o dial-timeout=200ms`, "connect to master localhost:1")
	s.fails(32, `/sbin/mount.distrifs $master $dir/none`, "mkdir -p")
	s.fails(32, `/sbin/mount.distrifs $master:/none $dir`, "none")
	s.fails(32, `/sbin/umount.distrifs $dir`, "unmount "+s.dir)
	s.run(`/sbin/mount.distrifs -f $master $dir -o ro; ! findmnt $dir
		/sbin/mount.distrifs -sn $master $dir -o rw,nonsense
		findmnt $dir`)
	s.fails(32, `/sbin/mount.fuse.distrifs $master $dir`, "busy", s.dir)
	s.fails(32, `cd $dir; /sbin/umount.fuse.distrifs $dir`, "busy", "fuser -vm "+s.dir)
	s.run(`cd $dir; /sbin/umount.fuse.distrifs -r $dir; ! touch new 2>/dev/null`)
	s.run(`umount $dir`)
}

func TestAnInterruptedMountLeavesNothing(t *testing.T) {
	s := enter(t, cluster.Start(t, cluster.Options{}))
	s.Master.Pause()
	out := s.run(`log=$work/background.log
		/sbin/mount.distrifs $master $dir -o dial-timeout=100s,log-level=debug,log-file=$log & pid=$!
		until [ -e $log ]; do sleep 0.02; done
		kill -TERM $pid
		code=0; wait $pid || code=$?
		echo "code $code"`)
	s.Master.Resume()
	if !strings.Contains(out, "code 8\n") || strings.Count(out, "\n") != 2 {
		t.Errorf("a mount that was interrupted: %s", out)
	}
	s.run(`! findmnt $dir; test -z "$(ls $dir)"`)
}

func TestInAnotherNamespace(t *testing.T) {
	s := enter(t, cluster.Start(t, cluster.Options{}))
	helper := filepath.Join(s.Dir, "installed/sbin/mount.distrifs")
	s.Command("/", helper, "-N", s.ns, s.Master.Address, s.dir).Must()
	s.run(`echo hello >$dir/file`)
	if left, err := os.ReadDir(s.dir); err != nil || len(left) > 0 {
		t.Errorf("outside of the namespace: %v, %v", left, err)
	}
	if out, err := s.Command("/", helper, "-N", s.ns, s.Master.Address, s.dir).Wait(cluster.JobLimit); err == nil || err.Error() != "exit status 32" {
		t.Errorf("a second one: %v, %s", err, out)
	}
	s.Command("/", filepath.Join(s.Dir, "installed/sbin/umount.distrifs"), "-N", s.ns, s.dir).Must()
	s.run(`! findmnt $dir`)
}

func TestSetIDsAndDevices(t *testing.T) {
	s := enter(t, cluster.Start(t, cluster.Options{}))
	// whoami runs the set-uid copy of id as nobody.
	const whoami = `setpriv --reuid 65534 --regid 65534 --clear-groups $dir/id -u`
	s.run(`mount -t distrifs $master $dir
		cp $(command -v id) $dir/id; chmod 4755 $dir/id
		mknod $dir/null c 1 3; chmod 666 $dir/null
		test "$(` + whoami + `)" = 0; echo gone >$dir/null
		mount -o remount,nosuid,nodev $dir
		test "$(` + whoami + `)" = 65534
		! cat $dir/null 2>$work/error; grep -q "Permission denied" $work/error
		mount -o remount,suid,dev,noexec $dir
		! $dir/id 2>/dev/null; cat $dir/null
		umount $dir
		mount -t distrifs $master $dir -o users,suid
		! $dir/id 2>/dev/null; ! cat $dir/null 2>/dev/null
		umount $dir`)
}
