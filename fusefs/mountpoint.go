package fusefs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/distrifs/distrifs/proto"
	"golang.org/x/sys/unix"
)

// answerTimeout is how long what is mounted at the mountpoint has to answer.
const answerTimeout = 5 * time.Second

// prepareMountpoint makes sure that a folder can be mounted upon, and gives its
// absolute path without symlinks. A mount that an earlier crash left dead there
// is taken away; one that is alive is Busy.
func prepareMountpoint(path string) (string, error) {
	path, err := resolve(path)
	if err != nil {
		return "", err
	}
	for range 8 { // dead mounts may lie above each other
		entry, mounted, err := mountAt(path)
		if err != nil {
			return "", err
		}
		err = statMountpoint(path)
		switch {
		case errors.Is(err, unix.ENOTCONN):
			if err := detach(path); err != nil {
				return "", fmt.Errorf("mountpoint %s: left dead by a crash, and cannot be unmounted: %w: try umount -l %[1]s", path, err)
			}
		case mounted:
			return "", proto.E(proto.Busy, "mountpoint", path, fmt.Sprintf("%s (%s) is mounted there: unmount it (umount %s), or choose another folder", entry.source, entry.fstype, path))
		case err != nil:
			return "", err
		default:
			return path, nil
		}
	}
	return "", proto.E(proto.Busy, "mountpoint", path, "dead mounts remain there: unmount them (umount -l "+path+")")
}

// resolve makes a path absolute and free of symlinks. It does not fail on a dead
// mount at its end, which EvalSymlinks cannot look at.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	resolved, err := filepath.EvalSymlinks(path)
	switch {
	case err == nil:
		return resolved, nil
	case errors.Is(err, os.ErrNotExist):
		return "", proto.E(proto.NotFound, "mountpoint", path, "make the folder first (mkdir -p "+path+")")
	case !errors.Is(err, unix.ENOTCONN):
		return "", err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, filepath.Base(path))
	target, err := os.Readlink(path)
	switch {
	case err != nil:
		return path, nil // the dead mount itself
	case filepath.IsAbs(target):
		return resolve(target)
	}
	return resolve(filepath.Join(dir, target))
}

// statMountpoint asks whether there is a directory. What is mounted there may
// never answer, so it is asked from a goroutine, which is then left behind; and the
// kernel may still know attributes of a mount that is dead, so it has to ask, too.
func statMountpoint(path string) error {
	answer := make(chan error, 1)
	go func() {
		var stat unix.Statx_t
		err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_FORCE_SYNC, unix.STATX_TYPE, &stat)
		if err == nil && stat.Mode&unix.S_IFMT != unix.S_IFDIR {
			err = proto.E(proto.NotDir, "mountpoint", path, "choose a folder")
		} else if err != nil {
			err = fmt.Errorf("mountpoint %s: %w", path, err)
		}
		answer <- err
	}()
	select {
	case err := <-answer:
		return err
	case <-time.After(answerTimeout):
		return proto.E(proto.Busy, "mountpoint", path, "what is mounted there does not answer: unmount it (umount -l "+path+")")
	}
}
