package oracle

import (
	"golang.org/x/sys/unix"
)

// onSlot runs a call on what is in a slot.
func onSlot(s *side, c *call, f func(fd int) (int, error)) answer {
	if !s.slots[c.slot].used {
		return skip
	}
	n, err := f(s.slots[c.slot].fd)
	return result(n, err)
}

// reading runs a call that reads, and keeps what it read.
func reading(s *side, c *call, f func(fd int, to []byte) (int, error)) answer {
	buffer := make([]byte, c.size)
	a := onSlot(s, c, func(fd int) (int, error) { return f(fd, buffer) })
	if a.n > 0 {
		a.data = string(buffer[:a.n])
	}
	return a
}

func read(s *side, c *call) answer { return reading(s, c, unix.Read) }

func pread(s *side, c *call) answer {
	return reading(s, c, func(fd int, to []byte) (int, error) { return unix.Pread(fd, to, c.at) })
}

func preadv2(s *side, c *call) answer {
	return reading(s, c, func(fd int, to []byte) (int, error) {
		return unix.Preadv2(fd, [][]byte{to[:len(to)/3], to[len(to)/3:]}, c.at, int(c.flags))
	})
}

// write looks where the end is before it appends: bytes go to the end in any case, but the kernel moves
// the position to what it took for the end.
func write(s *side, c *call) answer {
	return onSlot(s, c, func(fd int) (int, error) {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return 0, err
		}
		return unix.Write(fd, pattern(c.fill, c.size))
	})
}

func pwrite(s *side, c *call) answer {
	return onSlot(s, c, func(fd int) (int, error) { return unix.Pwrite(fd, pattern(c.fill, c.size), c.at) })
}

// pwritev2 has the kernel look where the end is before RWF_APPEND: it says an offset to the filesystem,
// not the flag.
func pwritev2(s *side, c *call) answer {
	return onSlot(s, c, func(fd int) (int, error) {
		var st unix.Stat_t
		if c.flags&unix.RWF_APPEND != 0 && unix.Fstat(fd, &st) != nil {
			return 0, unix.EBADF
		}
		data := pattern(c.fill, c.size)
		return unix.Pwritev2(fd, [][]byte{data[:len(data)/3], data[len(data)/3:]}, c.at, int(c.flags))
	})
}

func lseek(s *side, c *call) answer {
	if s.slots[c.slot].kind == unix.S_IFDIR {
		return skip // where entries are is the filesystem's own business
	}
	return onSlot(s, c, func(fd int) (int, error) {
		n, err := unix.Seek(fd, c.at, int(c.flags))
		return int(n), err
	})
}

// seekHoles is lseek with SEEK_DATA or SEEK_HOLE. Where there are holes, filesystems may
// see differently: the answer is checked for truth, against the bytes, and is what
// follows from them. The position of the file stays.
func seekHoles(s *side, c *call) answer {
	if s.slots[c.slot].kind != unix.S_IFREG {
		return skip
	}
	return onSlot(s, c, func(fd int) (int, error) {
		var st unix.Stat_t
		position, err := unix.Seek(fd, 0, unix.SEEK_CUR)
		if err != nil {
			return 0, err
		}
		if err := unix.Fstat(fd, &st); err != nil {
			return 0, err
		}
		whence := unix.SEEK_DATA
		if c.flags == seekHole {
			whence = unix.SEEK_HOLE
		}
		at, err := unix.Seek(fd, c.at, whence)
		if _, e := unix.Seek(fd, position, unix.SEEK_SET); e != nil {
			return 0, e
		}
		if c.at >= st.Size || c.flags == seekHole && err != nil {
			return 0, err // ENXIO
		}
		if err == unix.ENXIO {
			at = st.Size
		} else if err != nil {
			return 0, err
		}
		// A hole reads as zeros, from the offset to the data that was found; behind data comes
		// a hole, or the end.
		from, to := c.at, at
		if c.flags == seekHole {
			from, to = at, min(at+1, st.Size)
		}
		hole := make([]byte, to-from)
		if _, err := unix.Pread(fd, hole, from); err != nil && err != unix.EBADF {
			return 0, err
		}
		for _, b := range hole {
			if b != 0 {
				return int(at), unix.EBADMSG
			}
		}
		return 0, nil
	})
}

func ftruncate(s *side, c *call) answer {
	return onSlot(s, c, func(fd int) (int, error) { return 0, unix.Ftruncate(fd, c.at) })
}

// truncate of the package needs a path from the working directory: the file is named through
// the folder's descriptor.
func truncate(s *side, c *call) answer {
	return onPath(s, c, func(dir int, path string) error { return unix.Truncate(through(dir, path), c.at) })
}

// allocate is fallocate. A tmpfs has no ZERO_RANGE: there, a hole stands for it.
func allocate(s *side, c *call) answer {
	return onSlot(s, c, func(fd int) (int, error) {
		if s.local && c.flags&unix.FALLOC_FL_ZERO_RANGE != 0 {
			return 0, zeroRange(fd, c)
		}
		return 0, unix.Fallocate(fd, uint32(c.flags), c.at, c.size)
	})
}

func zeroRange(fd int, c *call) error {
	if c.flags&^(unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE) != 0 {
		return unix.EOPNOTSUPP
	}
	if err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, c.at, c.size); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if c.flags&unix.FALLOC_FL_KEEP_SIZE == 0 && st.Size < c.at+c.size {
		return unix.Ftruncate(fd, c.at+c.size)
	}
	return nil
}

// copyRange copies from one slot to another, on until nothing more comes; or a while, for a file that
// is copied behind its own beginning grows by that much each time. The kernel goes by the size
// of the source that it knows, and asks nobody: fstat before has it know, as programs do.
func copyRange(s *side, c *call) answer {
	from, to := s.slots[c.slot], s.slots[c.other]
	if !from.used || !to.used || from.mount != to.mount && sameInode(from.fd, to.fd) {
		return skip // the kernel does not know a file by two mounts for one
	}
	return onSlot(s, c, func(fd int) (int, error) {
		done, at, toAt := 0, c.at, c.toAt
		for range 30 {
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				return 0, err
			}
			n, err := unix.CopyFileRange(fd, &at, to.fd, &toAt, int(c.size)-done, 0)
			if err != nil && done == 0 {
				return 0, err
			}
			if done += max(n, 0); n <= 0 || done == int(c.size) {
				break
			}
		}
		return done, nil
	})
}

func sameInode(a, b int) bool {
	var one, other unix.Stat_t
	return unix.Fstat(a, &one) == nil && unix.Fstat(b, &other) == nil && one.Ino == other.Ino
}

func fsync(s *side, c *call) answer {
	return onSlot(s, c, func(fd int) (int, error) { return 0, unix.Fsync(fd) })
}

func fdatasync(s *side, c *call) answer {
	return onSlot(s, c, func(fd int) (int, error) { return 0, unix.Fdatasync(fd) })
}
