package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountType is the filesystem type of our mounts in the kernel's tables.
const mountType = "fuse.distrifs"

// mountEntry is one line of the kernel's mount table.
type mountEntry struct {
	mountpoint string
	fstype     string
}

func mountTable() ([]mountEntry, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMountInfo(string(text)), nil
}

// parseMountInfo reads the format of proc_pid_mountinfo(5): the mountpoint is the
// fifth field, the type the first behind the separator "-".
func parseMountInfo(text string) []mountEntry {
	var table []mountEntry
	for line := range strings.Lines(text) {
		front, back, ok := strings.Cut(line, " - ")
		fields, types := strings.Fields(front), strings.Fields(back)
		if ok && len(fields) >= 5 && len(types) >= 1 {
			table = append(table, mountEntry{mountpoint: unescapeMount(fields[4]), fstype: types[0]})
		}
	}
	return table
}

// unescapeMount undoes the kernel's \040 for blank, tab, newline and backslash.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// mountedType is the type of what is mounted on the path, topmost first; empty: nothing.
func mountedType(mountpoint string) (string, error) {
	table, err := mountTable()
	if err != nil {
		return "", err
	}
	fstype := ""
	for _, entry := range table {
		if entry.mountpoint == mountpoint {
			fstype = entry.fstype
		}
	}
	return fstype, nil
}

// mountsBelow lists what is mounted on the folder or below it.
func mountsBelow(dir string) ([]string, error) {
	table, err := mountTable()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, entry := range table {
		if entry.mountpoint == dir || strings.HasPrefix(entry.mountpoint, strings.TrimSuffix(dir, "/")+"/") {
			found = append(found, entry.mountpoint)
		}
	}
	return found, nil
}

// detachLeftover removes a mount of ours whose process is gone. Files that are
// still open on it answer errors anyway, so it is detached at once; and by force, since a
// process that was killed while the kernel forgot pages for it may be gone but for a thread
// that waits for a request to itself.
func detachLeftover(mountpoint string) error {
	fstype, err := mountedType(mountpoint)
	if err != nil || fstype != mountType {
		return err
	}
	if os.Geteuid() == 0 {
		err = unix.Unmount(mountpoint, unix.MNT_FORCE|unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	} else {
		err = exec.Command("fusermount3", "-u", "-z", mountpoint).Run()
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w: try 'umount -l %s'", mountpoint, err, mountpoint)
	}
	return nil
}

// mountAnswers asks the mount for its root and its space, which goes all the way
// to the master. A mount that hangs is left to its goroutine.
func mountAnswers(ctx context.Context, mountpoint string) error {
	answer := make(chan error, 1)
	go func() {
		fstype, err := mountedType(mountpoint)
		if err == nil && fstype != mountType {
			err = errors.New("not mounted yet")
		}
		if err == nil {
			_, err = os.Stat(mountpoint)
		}
		if err == nil {
			err = unix.Statfs(mountpoint, &unix.Statfs_t{})
		}
		answer <- err
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// checkMountpoint finds out early what distrifs-mount would refuse, and gives the
// path the kernel will know it by. What an earlier crash left mounted is no
// hindrance: distrifs-mount takes it over.
func checkMountpoint(mountpoint string) (string, error) {
	path, err := filepath.Abs(mountpoint)
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	switch err := unix.Stat(path, &st); {
	case errors.Is(err, unix.ENOTCONN):
		return path, nil
	case errors.Is(err, unix.ENOENT):
		return "", fmt.Errorf("mountpoint %s: not found: make it with 'mkdir -p %s'", path, path)
	case err != nil:
		return "", fmt.Errorf("mountpoint %s: %w", path, err)
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return "", fmt.Errorf("mountpoint %s: not a directory", path)
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("mountpoint %s: %w", path, err)
	}
	fstype, err := mountedType(resolved)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(fstype, "fuse") {
		return "", fmt.Errorf("mountpoint %s: busy: a %s is mounted there: choose another --mount, or 'umount %s'", path, fstype, path)
	}
	return resolved, nil
}
