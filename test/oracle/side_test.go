package oracle

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// slots is how many files a program can have open, and views how many mappings.
const (
	slots    = 8
	views    = 3
	viewSize = 64 << 10
)

// side is one of the two worlds that a program runs in.
type side struct {
	roots  [2]int // the program's folder through both mounts; the same twice on the local side
	local  bool
	slots  [slots]slot
	views  [views]view
	buffer int // a memfd, for bytes that go to and from mappings without a SIGBUS

	processes processes
	letGo     map[openFile]bool // closed with locks of their own
}

// slot is an open file.
type slot struct {
	used  bool
	fd    int
	mount int
	kind  uint32 // S_IFMT of what it is
	inode uint64

	copies [ofMount]int // descriptors of processes of the mount that have it, too; 0: none
	locked bool         // it has had locks that are its own
}

// view is a shared mapping.
type view struct {
	memory []byte
	fd     int   // the file, open as long as the mapping is
	at     int64 // where in the file it begins
	mount  int
	kind   uint32
}

// answer is all that a call gives back.
type answer struct {
	n       int64
	errno   syscall.Errno
	data    string
	skipped bool // there was nothing to call
}

var skip = answer{skipped: true}

// result is the answer of a call that gave an error, or n.
func result(n int, err error) answer {
	if err != nil {
		return answer{errno: err.(syscall.Errno)}
	}
	return answer{n: int64(n)}
}

// at gives the folder that a path is relative to, and the rest of the path. ok is false if
// that is an empty slot, or one of another mount than the call's.
func (s *side) at(mount int, path string) (dir int, rest string, ok bool) {
	if len(path) < 3 || path[0] != '@' || path[2] != '/' {
		// An absolute path would leave the program's folder.
		return s.roots[mount], relative(path), true
	}
	from := s.slots[path[1]-'0']
	return from.fd, relative(path[3:]), from.used && from.mount == mount
}

func relative(path string) string {
	if strings.HasPrefix(path, "/") {
		return "." + path
	}
	return path
}

// put fills a slot, and closes what was in it.
func (s *side) put(i int64, fd, mount int) {
	s.empty(i)
	var st unix.Stat_t
	unix.Fstat(fd, &st)
	s.slots[i] = slot{used: true, fd: fd, mount: mount, kind: st.Mode & unix.S_IFMT, inode: st.Ino}
}

// empty closes what is in a slot.
func (s *side) empty(i int64) answer {
	f := s.slots[i]
	if !f.used {
		return skip
	}
	for process := range f.copies {
		s.leave(i, int64(process))
	}
	s.slots[i] = slot{}
	if f.locked {
		s.letGo[openFile{f.mount, f.inode}] = true
	}
	return result(0, unix.Close(f.fd))
}

// end closes all that the program has left open.
func (s *side) end() {
	for i := range s.slots {
		s.empty(int64(i))
	}
	for i := range s.views {
		s.unmap(i)
	}
	for i, root := range s.roots {
		if i == 0 || !s.local {
			unix.Close(root)
		}
	}
	unix.Close(s.buffer)
}

// pattern is what a call writes.
func pattern(fill, size int64) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(fill + int64(i)*(1+fill%7))
	}
	return data
}
