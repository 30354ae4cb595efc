package fusefs

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// threadStatus is what /proc/TID/status tells about a thread.
type threadStatus struct {
	pending uint64 // signals sent and not yet taken, bit n-1 for signal n
	masked  uint64 // signals that are blocked, ignored or have a handler
	groups  []uint32
}

// harmless signals do not end a process that has no handler for them.
const harmless = 1<<(unix.SIGCHLD-1) | 1<<(unix.SIGCONT-1) | 1<<(unix.SIGSTOP-1) | 1<<(unix.SIGTSTP-1) |
	1<<(unix.SIGTTIN-1) | 1<<(unix.SIGTTOU-1) | 1<<(unix.SIGURG-1) | 1<<(unix.SIGWINCH-1)

// threadDying tells whether a signal waits that will end the thread's process. A
// thread that is gone is dying. When a process is killed, the kernel puts SIGKILL
// (which nothing masks) into the set of each of its threads.
func threadDying(thread uint32) bool {
	status, err := readThreadStatus(thread)
	return err != nil || status.pending&^status.masked&^harmless != 0
}

func readThreadStatus(thread uint32) (threadStatus, error) {
	text, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(thread), 10) + "/status")
	if err != nil {
		return threadStatus{}, err
	}
	return parseThreadStatus(text), nil
}

func parseThreadStatus(text []byte) (status threadStatus) {
	for line := range bytes.Lines(text) {
		key, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimSpace(value)
		switch string(key) {
		case "SigPnd", "ShdPnd":
			status.pending |= parseSignals(value)
		case "SigBlk", "SigIgn", "SigCgt":
			status.masked |= parseSignals(value)
		case "Groups":
			status.groups = parseGroups(value)
		}
	}
	return status
}

func parseSignals(hex []byte) uint64 {
	set, err := strconv.ParseUint(string(hex), 16, 64)
	if err != nil {
		return 0
	}
	return set
}

func parseGroups(list []byte) (groups []uint32) {
	for _, field := range bytes.Fields(list) {
		if id, err := strconv.ParseUint(string(field), 10, 32); err == nil {
			groups = append(groups, uint32(id))
		}
	}
	return groups
}
