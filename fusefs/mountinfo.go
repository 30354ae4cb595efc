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
}

// mountAt finds what is mounted at a path without symlinks, the topmost if there
// are several.
func mountAt(path string) (mountEntry, bool, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return mountEntry{}, false, err
	}
	entry, ok := findMount(string(table), path)
	return entry, ok, nil
}

// findMount reads the format of proc_pid_mountinfo(5): id, parent, device, root,
// mountpoint, options, tags up to "-", type, source, ...
func findMount(table, path string) (found mountEntry, ok bool) {
	for line := range strings.Lines(table) {
		before, after, cut := strings.Cut(line, " - ")
		head, tail := strings.Fields(before), strings.Fields(after)
		if !cut || len(head) < 6 || len(tail) < 2 {
			continue
		}
		if unescape(head[4]) == path {
			found, ok = mountEntry{device: head[2], path: path, fstype: tail[0], source: unescape(tail[1])}, true
		}
	}
	return found, ok
}

// unescape reads the \040 forms of space, tab, newline and backslash.
func unescape(field string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(field)
}
