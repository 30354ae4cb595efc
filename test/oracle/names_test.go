package oracle

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// onPath runs a call of one path, relative to a folder.
func onPath(s *side, c *call, f func(dir int, path string) error) answer {
	dir, path, ok := s.at(c.mount, c.path)
	if !ok {
		return skip
	}
	return result(0, f(dir, path))
}

// onPaths runs a call of two paths.
func onPaths(s *side, c *call, f func(dir int, path string, toDir int, to string) error) answer {
	dir, path, ok := s.at(c.mount, c.path)
	toDir, to, too := s.at(c.mount, c.to)
	if !ok || !too {
		return skip
	}
	return result(0, f(dir, path, toDir, to))
}

// hear has the kernel hear of an inode's mode and owner. By what it last heard it decides who may link to a
// file, and who may take names out of a sticky folder: it looks neither of them up anew. Of root it does not ask.
func hear(c *call, dir int, path string, flags int) {
	if identities[c.worker].uid != 0 {
		var st unix.Stat_t
		unix.Fstatat(dir, path, &st, flags)
	}
}

func open(s *side, c *call) answer {
	dir, path, ok := s.at(c.mount, c.path)
	if !ok {
		return skip
	}
	// O_NONBLOCK, for the open of a FIFO would wait.
	fd, err := unix.Openat(dir, path, int(c.flags)|unix.O_CLOEXEC|unix.O_NONBLOCK, uint32(c.mode)&0o7777)
	if err != nil {
		return result(0, err)
	}
	s.put(c.slot, fd, c.mount)
	return answer{}
}

func closeSlot(s *side, c *call) answer { return s.empty(c.slot) }

func mkdir(s *side, c *call) answer {
	return onPath(s, c, func(dir int, path string) error { return unix.Mkdirat(dir, path, uint32(c.mode)&0o7777) })
}

func rmdir(s *side, c *call) answer {
	return onPath(s, c, func(dir int, path string) error {
		hear(c, dir, path, unix.AT_SYMLINK_NOFOLLOW)
		return unix.Unlinkat(dir, path, unix.AT_REMOVEDIR)
	})
}

func unlink(s *side, c *call) answer {
	return onPath(s, c, func(dir int, path string) error {
		hear(c, dir, path, unix.AT_SYMLINK_NOFOLLOW)
		return unix.Unlinkat(dir, path, 0)
	})
}

// rename asks again after ESTALE: the kernel cannot see within a rename that a folder which it knows by
// one name has got another through another mount. A stat of both, as of mv, has it see.
func rename(s *side, c *call) answer {
	return onPaths(s, c, func(dir int, path string, toDir int, to string) error {
		hear(c, dir, path, unix.AT_SYMLINK_NOFOLLOW)
		hear(c, toDir, to, unix.AT_SYMLINK_NOFOLLOW)
		err := unix.Renameat2(dir, path, toDir, to, uint(c.flags))
		if err == unix.ESTALE && !s.local {
			var st unix.Stat_t
			unix.Fstatat(dir, path, &st, unix.AT_SYMLINK_NOFOLLOW)
			unix.Fstatat(toDir, to, &st, unix.AT_SYMLINK_NOFOLLOW)
			err = unix.Renameat2(dir, path, toDir, to, uint(c.flags))
		}
		both := int64(unix.RENAME_NOREPLACE | unix.RENAME_EXCHANGE)
		if err == unix.EINVAL && !s.local && c.flags&both != both && removed(toDir) {
			return unix.ENOENT // this kernel takes it for where it was: within what is renamed
		}
		return err
	})
}

func removed(dir int) bool {
	var st unix.Stat_t
	return unix.Fstat(dir, &st) == nil && st.Nlink == 0 && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

func link(s *side, c *call) answer {
	return onPaths(s, c, func(dir int, path string, toDir int, to string) error {
		nofollow := unix.AT_SYMLINK_NOFOLLOW
		if c.flags&unix.AT_SYMLINK_FOLLOW != 0 {
			nofollow = 0
		}
		hear(c, dir, path, nofollow)
		return unix.Linkat(dir, path, toDir, to, int(c.flags))
	})
}

// linkSlot gives a name to what is open, as O_TMPFILE is meant to be used.
func linkSlot(s *side, c *call) answer {
	f := s.slots[c.slot]
	dir, path, ok := s.at(f.mount, c.path)
	if !ok || !f.used {
		return skip
	}
	hear(c, f.fd, "", unix.AT_EMPTY_PATH)
	return result(0, unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/thread-self/fd/%d", f.fd), dir, path, unix.AT_SYMLINK_FOLLOW))
}

func symlink(s *side, c *call) answer {
	return onPath(s, c, func(dir int, path string) error { return unix.Symlinkat(c.to, dir, path) })
}

func readlink(s *side, c *call) answer {
	dir, path, ok := s.at(c.mount, c.path)
	if !ok {
		return skip
	}
	target := make([]byte, 5000)
	n, err := unix.Readlinkat(dir, path, target)
	a := result(n, err)
	a.data = string(target[:max(n, 0)])
	return a
}

// mknod makes devices that are harmless: /dev/null, and a block device that there is not.
func mknod(s *side, c *call) answer {
	device := 0
	switch c.mode & unix.S_IFMT {
	case unix.S_IFCHR:
		device = int(unix.Mkdev(1, 3))
	case unix.S_IFBLK:
		device = int(unix.Mkdev(240, 77))
	}
	return onPath(s, c, func(dir int, path string) error { return unix.Mknodat(dir, path, uint32(c.mode), device) })
}
