package fusefs

import (
	"os"
	"strings"
)

// mountEntry is a line of /proc/self/mountinfo: a mount, without touching it.
type mountEntry struct {
	device string // "0:57"
	path   string
	fstype string // "fuse.distrifs"
	source string
	flags  []string // of the mount: "ro", "noatime"
	super  []string // of what is mounted: "rw", "allow_other"
}

// mountAt finds what is mounted at a path without symlinks, the topmost if there
// are several.
func mountAt(path string) (found mountEntry, ok bool, err error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return mountEntry{}, false, err
	}
	for _, e := range parseMounts(string(table)) {
		if e.path == path {
			found, ok = e, true
		}
	}
	return found, ok, nil
}

// mountOfDevice finds where a device is mounted, the first place if there are several.
func mountOfDevice(device string) (mountEntry, bool, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return mountEntry{}, false, err
	}
	for _, e := range parseMounts(string(table)) {
		if e.device == device {
			return e, true, nil
		}
	}
	return mountEntry{}, false, nil
}

// parseMounts reads the format of proc_pid_mountinfo(5): id, parent, device, root,
// mountpoint, flags, tags up to "-", type, source, flags of what is mounted.
func parseMounts(table string) (entries []mountEntry) {
	for line := range strings.Lines(table) {
		before, after, cut := strings.Cut(line, " - ")
		head, tail := strings.Fields(before), strings.Fields(after)
		if !cut || len(head) < 6 || len(tail) < 3 {
			continue
		}
		entries = append(entries, mountEntry{
			device: head[2], path: unescape(head[4]), flags: strings.Split(head[5], ","),
			fstype: tail[0], source: unescape(tail[1]), super: strings.Split(tail[2], ","),
		})
	}
	return entries
}

// unescape reads the \040 forms of space, tab, newline and backslash.
func unescape(field string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(field)
}
