package fusefs

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOptions(t *testing.T) {
	var o Options
	if err := o.Parse(`rw,ro,nosuid,suid,noexec,noatime,dev,allow_other,default_permissions,local_locks,debug,fsname=a\,b,subtype=x,_netdev,x-systemd.automount,,`); err != nil {
		t.Fatal(err)
	}
	want := Options{ReadOnly: true, Suid: true, NoExec: true, NoAtime: true, Dev: true, AllowOther: true, LocalLocks: true, Debug: true, FSName: "a,b", Subtype: "x"}
	if o != want {
		t.Errorf("%+v", o)
	}
	if got := o.flags(); got != unix.MS_RDONLY|unix.MS_NOEXEC|unix.MS_NOATIME {
		t.Errorf("flags %#x", got)
	}
	if got, want := o.helperOptions(), `fsname=a\,b,subtype=x,max_read=1048576,default_permissions,allow_other,ro,noatime,noexec,suid,dev`; got != want {
		t.Errorf("helper options %s", got)
	}
	if got := new(Options).flags(); got != unix.MS_NOSUID|unix.MS_NODEV {
		t.Errorf("default flags %#x", got)
	}
	for _, bad := range []string{"sync", "fsname", "fsname=", "ro=1", "nonsense", "ro,RW"} { // L14
		if err := new(Options).Parse(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestFindMount(t *testing.T) {
	const table = `25 1 0:22 / / rw,relatime shared:1 - ext4 /dev/root rw
90 25 0:57 / /mnt/a\040b rw,nosuid - fuse.distrifs host:9420:/x\134y rw,user_id=0
91 25 0:58 / /mnt/a\040b rw - fuse.other top rw
broken line
`
	got, ok := findMount(table, "/mnt/a b")
	if !ok || got.device != "0:58" || got.fstype != "fuse.other" || got.source != "top" {
		t.Errorf("%+v, %v", got, ok)
	}
	if _, ok := findMount(table, "/mnt"); ok {
		t.Error("/mnt is no mount")
	}
	if got := unescape(`host:9420:/x\134y`); got != `host:9420:/x\y` {
		t.Errorf("unescaped %s", got)
	}
}

func TestTheMissingHelperIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := helper("-u"); err == nil || !strings.Contains(err.Error(), "install the package fuse3") {
		t.Errorf("without fusermount3: %v", err)
	}
}
