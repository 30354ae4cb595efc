package attributes

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/test/cluster"
)

func init() {
	cluster.Register("xattrs", func(args []string) error { return inFolderAs(args, xattrCalls) })
	cluster.Register("xattr limits", func(args []string) error { return inFolderAs(args, xattrLimits) })
}

// inFolderAs enters a folder, becomes a user, and calls fn.
func inFolderAs(args []string, fn func() error) error {
	uid, err := strconv.Atoi(args[1])
	if err == nil {
		err = os.Chdir(args[0])
	}
	if err != nil || uid == 0 {
		return errors.Join(err, fn())
	}
	err = errors.Join(syscall.Setgroups(nil), syscall.Setgid(uid), syscall.Setuid(uid))
	return errors.Join(err, fn())
}

// xattrFiles makes what xattrCalls works on.
const xattrFiles = `
	echo content >file; mkdir dir sticky; ln -s file link; mkfifo fifo; echo >readable; echo >secret
	chown 1000 file dir; chmod 644 file; chmod 777 dir; chmod 1777 sticky; chmod 600 secret; chmod 644 readable
	setfattr -n user.there -v value file; setfattr -n trusted.there -v value file; setfattr -n security.there -v value file
	setfattr -n user.there -v value secret
`

// xattrCalls prints what each call answers: every namespace of xattr(7), on every type
// of file, for reading, writing, listing and removing.
func xattrCalls() error {
	print := func(what string, err error) {
		var errno syscall.Errno
		errors.As(err, &errno)
		fmt.Printf("%s: %d %s\n", what, int(errno), unix.ErrnoName(errno))
	}
	for _, file := range []string{"file", "dir", "sticky", "link", "fifo", "readable", "secret", "absent"} {
		for _, name := range []string{"user.x", "trusted.x", "security.x", "system.x", "other.x", "user.", "user", "", "user." + strings.Repeat("n", 250), "user." + strings.Repeat("n", 251)} {
			what := fmt.Sprintf("%s %.20s", file, name)
			print("set "+what, unix.Lsetxattr(file, name, []byte("value"), 0))
			print("create "+what, unix.Lsetxattr(file, name, []byte("value"), unix.XATTR_CREATE))
			print("replace "+what, unix.Lsetxattr(file, name, []byte("longer value"), unix.XATTR_REPLACE))
			n, err := unix.Lgetxattr(file, name, nil)
			print(fmt.Sprintf("size %d of %s", n, what), err)
			_, err = unix.Lgetxattr(file, name, make([]byte, 3))
			print("short buffer "+what, err)
			buffer := make([]byte, 100)
			n, err = unix.Lgetxattr(file, name, buffer)
			print(fmt.Sprintf("get %q of %s", buffer[:max(n, 0)], what), err)
			print("remove "+what, unix.Lremovexattr(file, name))
			print("remove again "+what, unix.Lremovexattr(file, name))
			print("replace what is gone "+what, unix.Lsetxattr(file, name, nil, unix.XATTR_REPLACE))
			print("both flags "+what, unix.Lsetxattr(file, name, nil, unix.XATTR_CREATE|unix.XATTR_REPLACE))
		}
		buffer := make([]byte, 1000)
		n, err := unix.Llistxattr(file, buffer)
		names := strings.Split(string(buffer[:max(n, 0)]), "\x00")
		print(fmt.Sprintf("list %d of %s", len(names), file), err)
		n, err = unix.Llistxattr(file, nil)
		print(fmt.Sprintf("size of list %d of %s", n, file), err)
	}
	for _, name := range []string{"user.there", "trusted.there", "security.there"} {
		for _, file := range []string{"file", "secret"} {
			n, err := unix.Lgetxattr(file, name, make([]byte, 100))
			print(fmt.Sprintf("get %d of %s %s", n, file, name), err)
		}
	}
	return nil
}

func TestXattrsAsOnALocalFilesystem(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Memory: true})
	m := c.Mount()
	for _, uid := range []string{"0", "1000", "1001"} {
		answers := func(dir string) string {
			c.Shell(dir, xattrFiles)
			out, err := c.Job("xattrs", dir, uid).Wait(cluster.JobLimit)
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return out
		}
		c.Shell(m.Path, "mkdir -m 777 "+uid)
		local := t.TempDir()
		if got, want := answers(m.Path+"/"+uid), answers(local); got != want {
			t.Errorf("user %s: - local filesystem, + mount\n%s", uid, diff(t, want, got))
		}
	}
}

// xattrLimits finds the limits of the table in docs/POSIX.md.
func xattrLimits() error {
	const value, names, total = 64 << 10, 64 << 10, 1 << 20
	if err := os.WriteFile("values", nil, 0o644); err != nil {
		return err
	}
	if err := unix.Setxattr("values", "user.x", make([]byte, value+1), 0); err != unix.E2BIG {
		return fmt.Errorf("a value over 64 KiB: %v", err)
	}
	for i := range total / value {
		if err := unix.Setxattr("values", fmt.Sprint("user.", i), make([]byte, value), 0); err != nil {
			return fmt.Errorf("value %d: %w", i, err)
		}
	}
	if err := unix.Setxattr("values", "user.more", []byte("x"), 0); err != unix.ENOSPC {
		return fmt.Errorf("values over 1 MiB: %v", err)
	}
	if n, err := unix.Getxattr("values", "user.15", make([]byte, value)); n != value || err != nil {
		return fmt.Errorf("a value of 64 KiB: %d, %v", n, err)
	}
	if err := os.WriteFile("names", nil, 0o644); err != nil {
		return err
	}
	for i := range names / 256 {
		name := fmt.Sprintf("user.%0250d", i)
		if err := unix.Setxattr("names", name, nil, 0); err != nil {
			return fmt.Errorf("name %d: %w", i, err)
		}
	}
	if err := unix.Setxattr("names", "user.more", nil, 0); err != unix.ENOSPC {
		return fmt.Errorf("names over 64 KiB: %v", err)
	}
	if n, err := unix.Listxattr("names", make([]byte, names)); n != names || err != nil {
		return fmt.Errorf("names of 64 KiB: %d, %v", n, err)
	}
	if _, err := unix.Listxattr("names", make([]byte, names-1)); err != unix.ERANGE {
		return fmt.Errorf("a buffer that is too small for them: %v", err)
	}
	return aclLimit()
}

// aclLimit sets the longest list, of 511 entries, and one that is longer.
func aclLimit() error {
	list := func(entries int) []byte {
		b := []byte{2, 0, 0, 0}
		entry := func(tag, perm byte, id uint32) {
			b = append(b, tag, 0, perm, 0, byte(id), byte(id>>8), byte(id>>16), byte(id>>24))
		}
		const none = 1<<32 - 1
		entry(1, 6, none)
		for id := range uint32(entries - 4) {
			entry(2, 4, 5000+id)
		}
		entry(4, 4, none)
		entry(16, 4, none)
		entry(32, 4, none)
		return b
	}
	const name = "system.posix_acl_access"
	if err := unix.Setxattr("names", name, list(512), 0); err != unix.E2BIG {
		return fmt.Errorf("a list of 512 entries: %v", err)
	}
	if err := os.WriteFile("list", nil, 0o644); err != nil {
		return err
	}
	if err := unix.Setxattr("list", name, list(511), 0); err != nil {
		return fmt.Errorf("a list of 511 entries: %w", err)
	}
	if n, err := unix.Getxattr("list", name, nil); n != 4+511*8 || err != nil {
		return fmt.Errorf("its size: %d, %v", n, err)
	}
	return nil
}

func TestXattrLimits(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Memory: true})
	if out, err := c.Job("xattr limits", c.Mount().Path, "0").Wait(cluster.JobLimit); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
