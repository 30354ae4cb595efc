package oracle

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// through names a file in an open folder by a path from the root, for calls that take no
// folder. The path may not begin with "@": that is resolved before.
// /proc/self would have the open files of the first thread, which may be that of a process.
func through(dir int, path string) string {
	if path == "" {
		return "" // ENOENT, and not the folder
	}
	return fmt.Sprintf("/proc/thread-self/fd/%d/%s", dir, path)
}

func chmod(s *side, c *call) answer {
	return ownedOnPath(s, c, func(dir int, path string) error { return unix.Fchmodat(dir, path, uint32(c.mode), 0) })
}

// asOwned runs a call that is the owner's on what is in a slot. Who that is the kernel does not ask for
// an open file, but goes by what it last heard: fstat has it hear.
func asOwned(s *side, c *call, f func(fd int) error) answer {
	return onSlot(s, c, func(fd int) (int, error) {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return 0, err
		}
		return 0, f(fd)
	})
}

// ownedOnPath does the same for a path that ends in . or .., which the kernel does not look up either.
func ownedOnPath(s *side, c *call, f func(dir int, path string) error) answer {
	return onPath(s, c, func(dir int, path string) error {
		if base := filepath.Base(path); base == "." || base == ".." {
			var st unix.Stat_t
			unix.Fstatat(dir, path, &st, 0)
		}
		return f(dir, path)
	})
}

func fchmod(s *side, c *call) answer {
	return asOwned(s, c, func(fd int) error { return unix.Fchmod(fd, uint32(c.mode)) })
}

// ownsNobody: a chown of nothing, which on Linux changes the change time and the set-id bits, and here
// nothing. POSIX leaves that open.
func (c *call) ownsNobody() bool { return c.uid == -1 && c.gid == -1 }

func chown(s *side, c *call) answer {
	if c.ownsNobody() {
		return skip
	}
	return ownedOnPath(s, c, func(dir int, path string) error {
		return unix.Fchownat(dir, path, int(c.uid), int(c.gid), int(c.flags))
	})
}

func fchown(s *side, c *call) answer {
	if c.ownsNobody() {
		return skip
	}
	return asOwned(s, c, func(fd int) error { return unix.Fchown(fd, int(c.uid), int(c.gid)) })
}

func timespec(ns int64) unix.Timespec {
	switch ns {
	case timeOmit:
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	case timeNow:
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	}
	sec := ns / 1e9
	if ns%1e9 < 0 {
		sec--
	}
	return unix.Timespec{Sec: sec, Nsec: ns - sec*1e9}
}

func utimens(s *side, c *call) answer {
	return ownedOnPath(s, c, func(dir int, path string) error {
		return unix.UtimesNanoAt(dir, path, []unix.Timespec{timespec(c.atime), timespec(c.mtime)}, int(c.flags))
	})
}

func futimens(s *side, c *call) answer {
	return asOwned(s, c, func(fd int) error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/thread-self/fd/%d", fd), []unix.Timespec{timespec(c.atime), timespec(c.mtime)}, 0)
	})
}

// stat asks as the worker, who may lack the right to search; what it says is compared by
// looking.
func stat(s *side, c *call) answer {
	var st unix.Stat_t
	a := onPath(s, c, func(dir int, path string) error { return unix.Fstatat(dir, path, &st, int(c.flags)) })
	if a.errno == 0 && !a.skipped {
		a.data = about(&st)
	}
	return a
}

func fstat(s *side, c *call) answer {
	var st unix.Stat_t
	a := onSlot(s, c, func(fd int) (int, error) { return 0, unix.Fstat(fd, &st) })
	if a.errno == 0 && !a.skipped {
		a.data = about(&st)
	}
	return a
}

// about is what must be the same of an inode on both sides.
func about(st *unix.Stat_t) string {
	size := st.Size
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		size = 0
	}
	return fmt.Sprintf("mode %o nlink %d uid %d gid %d size %d rdev %#x", st.Mode, st.Nlink, st.Uid, st.Gid, size, st.Rdev)
}

func access(s *side, c *call) answer {
	return onPath(s, c, func(dir int, path string) error { return unix.Faccessat2(dir, path, uint32(c.mode), int(c.flags)) })
}

func setxattr(s *side, c *call) answer {
	return onPath(s, c, func(dir int, path string) error {
		return unix.Setxattr(through(dir, path), c.name, pattern(c.fill, c.size), int(c.flags))
	})
}

func lsetxattr(s *side, c *call) answer {
	return onPath(s, c, func(dir int, path string) error {
		return unix.Lsetxattr(through(dir, path), c.name, pattern(c.fill, c.size), int(c.flags))
	})
}

func fsetxattr(s *side, c *call) answer {
	return onSlot(s, c, func(fd int) (int, error) {
		return 0, unix.Fsetxattr(fd, c.name, pattern(c.fill, c.size), int(c.flags))
	})
}

func getxattr(s *side, c *call) answer {
	dir, path, ok := s.at(c.mount, c.path)
	if !ok {
		return skip
	}
	value := make([]byte, c.size)
	n, err := unix.Getxattr(through(dir, path), c.name, value)
	return valued(n, err, value)
}

func fgetxattr(s *side, c *call) answer {
	if !s.slots[c.slot].used {
		return skip
	}
	value := make([]byte, c.size)
	n, err := unix.Fgetxattr(s.slots[c.slot].fd, c.name, value)
	return valued(n, err, value)
}

func valued(n int, err error, value []byte) answer {
	a := result(n, err)
	a.data = string(value[:max(0, min(n, len(value)))])
	return a
}

func listxattr(s *side, c *call) answer {
	dir, path, ok := s.at(c.mount, c.path)
	if !ok {
		return skip
	}
	return attributeNames(func(to []byte) (int, error) { return unix.Listxattr(through(dir, path), to) })
}

func flistxattr(s *side, c *call) answer {
	if !s.slots[c.slot].used {
		return skip
	}
	return attributeNames(func(to []byte) (int, error) { return unix.Flistxattr(s.slots[c.slot].fd, to) })
}

// attributeNames sorts them: their order is the filesystem's.
func attributeNames(list func(to []byte) (int, error)) answer {
	names := make([]byte, 4096)
	n, err := list(names)
	if err != nil {
		return result(0, err)
	}
	split := strings.Split(string(names[:n]), "\x00")
	slices.Sort(split)
	return answer{n: int64(n), data: strings.Join(split, " ")}
}

func removexattr(s *side, c *call) answer {
	return onPath(s, c, func(dir int, path string) error { return unix.Removexattr(through(dir, path), c.name) })
}

func fremovexattr(s *side, c *call) answer {
	return onSlot(s, c, func(fd int) (int, error) { return 0, unix.Fremovexattr(fd, c.name) })
}
