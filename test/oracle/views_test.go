package oracle

import (
	"golang.org/x/sys/unix"
)

// Shared mappings of files. The kernel passes on what was stored when it likes, at the latest
// with msync, so that every store is one with its msync.

// mapFile maps a part of what is in a slot, for reading and, if it was opened for it, writing.
func mapFile(s *side, c *call) answer {
	f := s.slots[c.slot]
	if !f.used {
		return skip
	}
	memory, err := unix.Mmap(f.fd, c.at, viewSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return result(0, err)
	}
	fd, err := unix.FcntlInt(uintptr(f.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return result(0, err)
	}
	s.unmap(int(c.other))
	s.views[c.other] = view{memory: memory, fd: fd, at: c.at, mount: f.mount, kind: f.kind}
	return answer{}
}

func unmapFile(s *side, c *call) answer { return s.unmap(int(c.other)) }

func (s *side) unmap(i int) answer {
	v := s.views[i]
	if v.memory == nil {
		return skip
	}
	s.views[i] = view{}
	if err := unix.Close(v.fd); err != nil {
		return result(0, err)
	}
	return result(0, unix.Munmap(v.memory))
}

// load reads from a mapping: as many bytes as are within pages of the file. The kernel copies them,
// so that what would be a SIGBUS is a shorter count. It goes by the size that it last heard: fstat has
// it hear.
func load(s *side, c *call) answer {
	v := s.views[c.other]
	var st unix.Stat_t
	if v.memory == nil || v.kind != unix.S_IFREG || unix.Fstat(v.fd, &st) != nil {
		return skip
	}
	part := v.memory[c.at:min(viewSize, c.at+c.size)]
	n, err := unix.Pwrite(s.buffer, part, 0)
	if err != nil {
		return result(0, err)
	}
	data := make([]byte, n)
	if n, err = unix.Pread(s.buffer, data, 0); err != nil {
		return result(0, err)
	}
	return answer{n: int64(n), data: string(data)}
}

// store writes to a mapping, and then msync. Bytes behind the end of the file are nobody's: it
// stops there.
func store(s *side, c *call) answer {
	v := s.views[c.other]
	if v.memory == nil || v.kind != unix.S_IFREG {
		return skip
	}
	if _, err := unix.Pwrite(s.buffer, pattern(c.fill, c.size), 0); err != nil {
		return result(0, err)
	}
	part := v.memory[c.at:min(viewSize, c.at+c.size)]
	var st unix.Stat_t
	if err := unix.Fstat(v.fd, &st); err != nil {
		return result(0, err)
	}
	n := int(min(int64(len(part)), st.Size-v.at-c.at))
	if n <= 0 {
		return answer{}
	}
	n, err := unix.Pread(s.buffer, part[:n], 0)
	if err != nil {
		return result(0, err)
	}
	return result(n, unix.Msync(v.memory, unix.MS_SYNC))
}
