package fusefs

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/distrifs/distrifs/client"
	"golang.org/x/sys/unix"
)

func TestOptions(t *testing.T) {
	var o Options
	list := `rw,ro,suid,nosuid,noexec,relatime,noatime,dev,nodev,allow_other,default_permissions,local_locks,debug,fsname=a\,b,subtype=x,` +
		`defaults,async,auto,noauto,nofail,_netdev,comment=c,nouser,x-systemd.automount,X-mount.mkdir=0755,,`
	if err := o.Parse(list, nil); err != nil {
		t.Fatal(err)
	}
	want := Options{ReadOnly: true, NoSuid: true, NoDev: true, NoExec: true, NoAtime: true, AllowOther: true, LocalLocks: true, Debug: true, FSName: "a,b", Subtype: "x"}
	if o != want {
		t.Errorf("%+v", o)
	}
	if got := o.flags(); got != unix.MS_RDONLY|unix.MS_NOEXEC|unix.MS_NOATIME|unix.MS_NOSUID|unix.MS_NODEV {
		t.Errorf("flags %#x", got)
	}
	if got, want := o.helperOptions(), `fsname=a\,b,subtype=x,max_read=1048576,default_permissions,allow_other,ro,noatime,noexec`; got != want {
		t.Errorf("helper options %s", got)
	}
	if got := new(Options).flags(); got != unix.MS_RELATIME {
		t.Errorf("default flags %#x", got)
	}
	for _, bad := range []string{"sync", "fsname", "fsname=", "ro=1", "nonsense", "ro,RW", "nodiratime"} { // L14
		if err := new(Options).Parse(bad, nil); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestTheLaterOptionCounts(t *testing.T) {
	for list, want := range map[string]Options{
		"noatime,strictatime":   {StrictAtime: true},
		"strictatime,relatime":  {},
		"strictatime,noatime":   {NoAtime: true},
		"noatime,atime":         {},
		"users":                 {NoExec: true, NoSuid: true, NoDev: true},
		"user=bob,exec":         {NoSuid: true, NoDev: true},
		"owner,suid":            {NoDev: true},
		"nosuid,nodev,suid,dev": {},
	} {
		var o Options
		if err := o.Parse(list, nil); err != nil || o != want {
			t.Errorf("%s: %+v, %v", list, o, err)
		}
	}
}

func TestOptionsOfOthers(t *testing.T) {
	got := ""
	other := func(name, value string) (bool, error) {
		if name == "bad" {
			return true, errors.New("no number")
		}
		got += name + ":" + value + " "
		return name != "unknown", nil
	}
	if err := new(Options).Parse("ro,io-timeout=5s,hard", other); err != nil || got != "io-timeout:5s hard: " {
		t.Errorf("%q, %v", got, err)
	}
	for list, want := range map[string]string{"unknown=1": "not known", "bad=x": "no number"} {
		if err := new(Options).Parse(list, other); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", list, err)
		}
	}
}

func TestParseMounts(t *testing.T) {
	const table = `25 1 0:22 / / rw,relatime shared:1 - ext4 /dev/root rw
91 25 0:58 / /mnt/a\040b ro,nosuid,noatime - fuse.other host:9420:/x\134y ro,allow_other
broken line
`
	got := parseMounts(table)
	want := []mountEntry{
		{device: "0:22", path: "/", fstype: "ext4", source: "/dev/root", flags: []string{"rw", "relatime"}, super: []string{"rw"}},
		{device: "0:58", path: "/mnt/a b", fstype: "fuse.other", source: `host:9420:/x\y`, flags: []string{"ro", "nosuid", "noatime"}, super: []string{"ro", "allow_other"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v", got)
	}
	for i, flags := range []Options{{}, {ReadOnly: true, NoSuid: true, NoAtime: true}} {
		var o Options
		if o.setFlags(&got[i]); o != flags {
			t.Errorf("flags of %s: %+v", got[i].path, o)
		}
	}
}

func TestWhichReadsUpdateAccessTimes(t *testing.T) {
	for o, want := range map[Options]client.Atime{
		{}: client.RelAtime, {NoAtime: true}: client.NoAtime, {StrictAtime: true}: client.StrictAtime,
		{StrictAtime: true, ReadOnly: true}: client.NoAtime,
	} {
		if got := o.atime(); got != want {
			t.Errorf("%+v: %v", o, got)
		}
	}
}

func TestTheMissingHelperIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := helper("-u"); err == nil || !strings.Contains(err.Error(), "install the package fuse3") {
		t.Errorf("without fusermount3: %v", err)
	}
}
