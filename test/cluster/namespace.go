package cluster

import (
	"bufio"
	"errors"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// LetGoOfMounts is called by a job in a mount namespace of its own. Copies of all mounts
// came with the namespace, and a filesystem lives as long as one of its mounts does: the
// clusters of other tests could not be unmounted. Those at the paths named stay.
func LetGoOfMounts(keep ...string) error {
	table, err := os.Open("/proc/self/mounts")
	if err != nil {
		return err
	}
	defer table.Close()
	var failed []error
	for lines := bufio.NewScanner(table); lines.Scan(); {
		// source, mountpoint, type, options
		if field := strings.Fields(lines.Text()); len(field) > 2 && field[2] == "fuse.distrifs" && !slices.Contains(keep, field[1]) {
			failed = append(failed, unix.Unmount(field[1], unix.MNT_DETACH))
		}
	}
	return errors.Join(failed...)
}
