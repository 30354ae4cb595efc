package posix

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watched are the events of a folder that inotify tells of, in the order of the answer.
var watched = []struct {
	mask uint32
	name string
}{
	{unix.IN_CREATE, "CREATE"}, {unix.IN_DELETE, "DELETE"}, {unix.IN_MOVED_FROM, "FROM"}, {unix.IN_MOVED_TO, "TO"}, {unix.IN_MODIFY, "MODIFY"},
}

// events reads what an inotify file has to tell, without waiting.
func events(fd int) (string, error) {
	buffer := make([]byte, 4096)
	n, err := unix.Read(fd, buffer)
	var seen []string
	for rest := buffer[:max(n, 0)]; len(rest) > 0; {
		event := (*unix.InotifyEvent)(unsafe.Pointer(&rest[0]))
		end := unix.SizeofInotifyEvent + int(event.Len)
		name, _, _ := bytes.Cut(rest[unix.SizeofInotifyEvent:end], []byte{0})
		for _, kind := range watched {
			if event.Mask&kind.mask != 0 {
				seen = append(seen, kind.name+":"+string(name))
			}
		}
		rest = rest[end:]
	}
	return list(seen), err
}

// folderCalls read folders.
var folderCalls = map[string]call{
	// watch PATH opens an inotify file for a folder: the next of #0, #1, ...
	"watch": func(w *world, a *arguments) (string, error) {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return "", err
		}
		w.fds = append(w.fds, fd)
		mask := uint32(0)
		for _, kind := range watched {
			mask |= kind.mask
		}
		_, err = unix.InotifyAddWatch(fd, a.text(), mask)
		return "", err
	},
	"events": func(_ *world, a *arguments) (string, error) { return events(a.fd()) },
	// list #N gives the names from the file's offset on, sorted, without "." and "..".
	"list": func(_ *world, a *arguments) (string, error) {
		fd := a.fd()
		var names []string
		for buffer := make([]byte, 4096); ; {
			n, err := unix.Getdents(fd, buffer)
			if n <= 0 || err != nil {
				slices.Sort(names)
				return list(names), err
			}
			_, _, more := unix.ParseDirent(buffer[:n], -1, nil)
			for _, name := range more {
				names = append(names, escape([]byte(name)))
			}
		}
	},
	// getdents #N SIZE, for its errnos
	"getdents": func(_ *world, a *arguments) (string, error) {
		fd := a.fd()
		n, err := unix.Getdents(fd, make([]byte, a.number()))
		if n == 0 && err == nil {
			return "END", nil
		}
		return "", err
	},
}

var xattrFlags = map[string]int{"XATTR_CREATE": unix.XATTR_CREATE, "XATTR_REPLACE": unix.XATTR_REPLACE}

// xattrCalls are about extended attributes; #N has the calls with f before their name.
var xattrCalls = map[string]call{
	// setxattr PATH NAME VALUE [FLAGS]
	"setxattr": func(_ *world, a *arguments) (string, error) {
		return "", unix.Setxattr(a.path(), a.text(), []byte(a.text()), optionalFlags(a))
	},
	"lsetxattr": func(_ *world, a *arguments) (string, error) {
		return "", unix.Lsetxattr(a.text(), a.text(), []byte(a.text()), optionalFlags(a))
	},
	// getxattr PATH NAME [SIZE]: of size 0 it gives the size.
	"getxattr": func(_ *world, a *arguments) (string, error) {
		path, name := a.path(), a.text()
		return value(a, func(buffer []byte) (int, error) { return unix.Getxattr(path, name, buffer) })
	},
	"lgetxattr": func(_ *world, a *arguments) (string, error) {
		path, name := a.text(), a.text()
		return value(a, func(buffer []byte) (int, error) { return unix.Lgetxattr(path, name, buffer) })
	},
	// listxattr PATH [SIZE] gives the names sorted.
	"listxattr": func(_ *world, a *arguments) (string, error) {
		path := a.path()
		buffer := make([]byte, 1<<17)
		if a.more() {
			buffer = buffer[:a.number()]
		}
		n, err := unix.Listxattr(path, buffer)
		if err != nil || len(buffer) == 0 {
			return fmt.Sprint(n), err
		}
		names := strings.FieldsFunc(string(buffer[:n]), func(r rune) bool { return r == 0 })
		slices.Sort(names)
		return list(names), nil
	},
	"removexattr":  func(_ *world, a *arguments) (string, error) { return "", unix.Removexattr(a.path(), a.text()) },
	"lremovexattr": func(_ *world, a *arguments) (string, error) { return "", unix.Lremovexattr(a.text(), a.text()) },
}

func optionalFlags(a *arguments) int {
	if !a.more() {
		return 0
	}
	return a.flags(xattrFlags)
}

func value(a *arguments, get func([]byte) (int, error)) (string, error) {
	buffer := make([]byte, 1<<16)
	if a.more() {
		buffer = buffer[:a.number()]
	}
	n, err := get(buffer)
	if err != nil || len(buffer) == 0 {
		return fmt.Sprint(n), err
	}
	return escape(bytes.Clone(buffer[:n])), nil
}

var flockOperations = map[string]int{"LOCK_SH": unix.LOCK_SH, "LOCK_EX": unix.LOCK_EX, "LOCK_UN": unix.LOCK_UN, "LOCK_NB": unix.LOCK_NB}

var lockTypes = map[string]int{"F_RDLCK": unix.F_RDLCK, "F_WRLCK": unix.F_WRLCK, "F_UNLCK": unix.F_UNLCK}

// lockCalls lock without waiting.
var lockCalls = map[string]call{
	// flock #N OPERATION
	"flock": func(_ *world, a *arguments) (string, error) {
		return "", unix.Flock(a.fd(), a.flags(flockOperations))
	},
	// setlk #N TYPE START LENGTH
	"setlk": func(_ *world, a *arguments) (string, error) {
		return recordLock(a, unix.F_SETLK)
	},
	// ofd_setlk #N TYPE START LENGTH
	"ofd_setlk": func(_ *world, a *arguments) (string, error) {
		return recordLock(a, unix.F_OFD_SETLK)
	},
	// ofd_getlk #N TYPE START LENGTH gives what is in the way.
	"ofd_getlk": func(_ *world, a *arguments) (string, error) {
		return recordLock(a, unix.F_OFD_GETLK)
	},
	// setlease #N TYPE
	"setlease": func(_ *world, a *arguments) (string, error) {
		_, err := unix.FcntlInt(uintptr(a.fd()), unix.F_SETLEASE, a.flags(lockTypes))
		return "", err
	},
	// getlk #N TYPE START LENGTH
	"getlk": func(_ *world, a *arguments) (string, error) {
		return recordLock(a, unix.F_GETLK)
	},
}

func recordLock(a *arguments, command int) (string, error) {
	fd := a.fd()
	lock := unix.Flock_t{Type: int16(a.flags(lockTypes)), Start: a.number(), Len: a.number()}
	err := unix.FcntlFlock(uintptr(fd), command, &lock)
	if err != nil || command == unix.F_SETLK || command == unix.F_OFD_SETLK {
		return "", err
	}
	for name, number := range lockTypes {
		if int(lock.Type) == number && number != unix.F_UNLCK {
			return fmt.Sprintf("%s %d %d", name, lock.Start, lock.Len), nil
		}
	}
	return "free", nil
}
