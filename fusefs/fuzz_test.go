package fusefs

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzOptions: options that are accepted say the same when they are handed to the helper
// that mounts; a name of a filesystem brings no option in with it.
func FuzzOptions(f *testing.F) {
	f.Add(`rw,ro,suid,nosuid,fsname=a\,b,subtype=x,defaults,x-systemd.automount`)
	f.Add(`fsname=a\,allow_other,noexec`)
	f.Add(`user,exec,owner`)
	f.Add(`fsname=\\`)
	f.Add(`\`)
	f.Fuzz(func(t *testing.T, list string) {
		var o Options
		if o.Parse(list, nil) != nil {
			return
		}
		handed := splitOptions(o.helperOptions())
		if o.FSName != "" && handed[0] != "fsname="+o.FSName {
			t.Fatalf("%q is handed on as %q", o.FSName, handed)
		}
		for _, option := range handed {
			if option == "allow_other" && !o.AllowOther {
				t.Fatalf("%q brings in %q", list, handed)
			}
		}
		if o.NoSuid != (o.flags()&unix.MS_NOSUID != 0) || o.ReadOnly != (o.flags()&unix.MS_RDONLY != 0) {
			t.Fatalf("%+v has flags %#x", o, o.flags())
		}
	})
}

// FuzzProc: whatever stands in the kernel's tables about mounts and threads.
func FuzzProc(f *testing.F) {
	f.Add("36 35 0:57 / /mnt\\040x rw,nosuid shared:1 - fuse.distrifs a\\134b rw,allow_other\n")
	f.Add("Groups:\t0 4294967295 -1 99999999999\nSigPnd:\t0000000000000100\nShdPnd: ffffffffffffffffff\nSigBlk:\n:\n")
	f.Add(" - \n1 2 3 4 5 6 - x y z\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, entry := range parseMounts(text) {
			if entry.fstype == "" || strings.ContainsAny(entry.device+entry.fstype, " \t\n") {
				t.Fatalf("%+v", entry)
			}
		}
		if status := parseThreadStatus([]byte(text)); len(status.groups) > len(text) {
			t.Fatalf("%d groups from %d bytes", len(status.groups), len(text))
		}
	})
}
