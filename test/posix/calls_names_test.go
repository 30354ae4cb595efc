package posix

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// openFlags are the names of open(2), without their O_.
var openFlags = map[string]int{
	"O_RDONLY": unix.O_RDONLY, "O_WRONLY": unix.O_WRONLY, "O_RDWR": unix.O_RDWR, "O_CREAT": unix.O_CREAT,
	"O_EXCL": unix.O_EXCL, "O_TRUNC": unix.O_TRUNC, "O_APPEND": unix.O_APPEND, "O_DIRECTORY": unix.O_DIRECTORY,
	"O_NOFOLLOW": unix.O_NOFOLLOW, "O_NONBLOCK": unix.O_NONBLOCK, "O_NOATIME": unix.O_NOATIME, "O_PATH": unix.O_PATH,
	"O_TMPFILE": unix.O_TMPFILE, "O_DIRECT": unix.O_DIRECT, "O_SYNC": unix.O_SYNC, "O_DSYNC": unix.O_DSYNC,
}

var atFlags = map[string]int{
	"AT_SYMLINK_FOLLOW": unix.AT_SYMLINK_FOLLOW, "AT_SYMLINK_NOFOLLOW": unix.AT_SYMLINK_NOFOLLOW,
	"AT_EMPTY_PATH": unix.AT_EMPTY_PATH, "AT_REMOVEDIR": unix.AT_REMOVEDIR, "AT_EACCESS": unix.AT_EACCESS,
}

var renameFlags = map[string]int{
	"NOREPLACE": unix.RENAME_NOREPLACE, "EXCHANGE": unix.RENAME_EXCHANGE, "WHITEOUT": unix.RENAME_WHITEOUT,
}

var fileTypes = map[string]int{
	"file": unix.S_IFREG, "dir": unix.S_IFDIR, "link": unix.S_IFLNK, "fifo": unix.S_IFIFO,
	"socket": unix.S_IFSOCK, "char": unix.S_IFCHR, "block": unix.S_IFBLK,
}

// nameCalls make, move, remove and open names.
var nameCalls = map[string]call{
	// open PATH FLAGS [MODE]: the file is the next of #0, #1, ...
	"open": func(w *world, a *arguments) (string, error) {
		return w.open(unix.AT_FDCWD, a)
	},
	// openat #N PATH FLAGS [MODE]
	"openat": func(w *world, a *arguments) (string, error) {
		return w.open(a.fd(), a)
	},
	// creat PATH MODE: the file is closed again.
	"creat": func(_ *world, a *arguments) (string, error) {
		fd, err := unix.Open(a.text(), unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, a.mode())
		if err == nil {
			err = unix.Close(fd)
		}
		return "", err
	},
	"close": func(_ *world, a *arguments) (string, error) { return "", unix.Close(a.fd()) },
	"mkdir": func(_ *world, a *arguments) (string, error) { return "", unix.Mkdir(a.text(), a.mode()) },
	"rmdir": func(_ *world, a *arguments) (string, error) { return "", unix.Rmdir(a.text()) },
	// mknod PATH TYPE MODE [MAJOR:MINOR]
	"mknod": func(_ *world, a *arguments) (string, error) {
		path, mode, dev := a.text(), uint32(a.flags(fileTypes)), uint64(0)
		mode |= a.mode()
		if a.more() {
			var major, minor uint32
			if _, err := fmt.Sscanf(a.text(), "%d:%d", &major, &minor); err != nil {
				a.bad("no device: %v", err)
			}
			dev = unix.Mkdev(major, minor)
		}
		return "", unix.Mknod(path, mode, int(dev))
	},
	"unlink": func(_ *world, a *arguments) (string, error) { return "", unix.Unlink(a.text()) },
	// unlinkat #N PATH FLAGS
	"unlinkat": func(_ *world, a *arguments) (string, error) {
		return "", unix.Unlinkat(a.fd(), a.text(), a.flags(atFlags))
	},
	"rename": func(_ *world, a *arguments) (string, error) { return "", unix.Rename(a.text(), a.text()) },
	// renameat2 FROM TO FLAGS
	"renameat2": func(_ *world, a *arguments) (string, error) {
		return "", unix.Renameat2(unix.AT_FDCWD, a.text(), unix.AT_FDCWD, a.text(), uint(a.flags(renameFlags)))
	},
	"link": func(_ *world, a *arguments) (string, error) { return "", unix.Link(a.text(), a.text()) },
	// linkat FROM TO FLAGS, or linkat #N TO
	"linkat": func(_ *world, a *arguments) (string, error) {
		if a.peekFD() {
			return "", unix.Linkat(a.fd(), "", unix.AT_FDCWD, a.text(), unix.AT_EMPTY_PATH)
		}
		return "", unix.Linkat(unix.AT_FDCWD, a.text(), unix.AT_FDCWD, a.text(), a.flags(atFlags))
	},
	// symlink TARGET PATH
	"symlink": func(_ *world, a *arguments) (string, error) { return "", unix.Symlink(a.text(), a.text()) },
	// readlink PATH [SIZE of the buffer]
	"readlink": func(_ *world, a *arguments) (string, error) {
		path, buffer := a.text(), make([]byte, 8192)
		if a.more() {
			buffer = buffer[:a.number()]
		}
		n, err := unix.Readlink(path, buffer)
		return escape(buffer[:max(n, 0)]), err
	},
	// chdir PATH, or chdir #N
	"chdir": func(_ *world, a *arguments) (string, error) {
		if a.peekFD() {
			return "", unix.Fchdir(a.fd())
		}
		return "", unix.Chdir(a.text())
	},
	"umask": func(_ *world, a *arguments) (string, error) { unix.Umask(int(a.mode())); return "", nil },
	// same A B tells whether two paths are one inode.
	"same": func(_ *world, a *arguments) (string, error) {
		var one, two unix.Stat_t
		if err := unix.Lstat(a.path(), &one); err != nil {
			return "", err
		}
		if err := unix.Lstat(a.path(), &two); err != nil {
			return "", err
		}
		return strconv.FormatBool(one.Ino == two.Ino && one.Dev == two.Dev), nil
	},
	// bind PATH [ro] mounts a folder upon itself, until the end of the case.
	"bind": func(w *world, a *arguments) (string, error) {
		path, err := os.Getwd()
		if err != nil {
			return "", err
		}
		path += "/" + a.text()
		if err := unix.Mount(path, path, "", unix.MS_BIND, ""); err != nil {
			return "", err
		}
		w.mounts = append(w.mounts, path)
		if a.more() && a.text() == "ro" {
			return "", unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}
		return "", nil
	},
	// program PATH copies a program that sleeps.
	"program": func(_ *world, a *arguments) (string, error) {
		text, err := os.ReadFile("/bin/sleep")
		if err != nil {
			return "", err
		}
		return "", os.WriteFile(a.text(), text, 0o755)
	},
	// run PATH starts a program; it runs until the end of the case.
	"run": func(w *world, a *arguments) (string, error) {
		cmd := exec.Command("./"+a.text(), "600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			return "", err
		}
		w.runs = append(w.runs, cmd.Process)
		return "", nil
	},
}

func (w *world) open(dir int, a *arguments) (string, error) {
	path, flags, mode := a.path(), a.flags(openFlags), uint32(0)
	if a.more() {
		mode = a.mode()
	}
	fd, err := unix.Openat(dir, path, flags|unix.O_CLOEXEC, mode)
	if err == nil {
		w.fds = append(w.fds, fd)
	}
	return "", err
}

// list joins words as the tables have them.
func list(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, " ")
}
