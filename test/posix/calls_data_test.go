package posix

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

var whences = map[string]int{
	"SEEK_SET": unix.SEEK_SET, "SEEK_CUR": unix.SEEK_CUR, "SEEK_END": unix.SEEK_END,
	"SEEK_DATA": unix.SEEK_DATA, "SEEK_HOLE": unix.SEEK_HOLE,
}

var fallocateModes = map[string]int{
	"KEEP_SIZE": unix.FALLOC_FL_KEEP_SIZE, "PUNCH_HOLE": unix.FALLOC_FL_PUNCH_HOLE, "ZERO_RANGE": unix.FALLOC_FL_ZERO_RANGE,
	"COLLAPSE_RANGE": unix.FALLOC_FL_COLLAPSE_RANGE, "INSERT_RANGE": unix.FALLOC_FL_INSERT_RANGE, "UNSHARE_RANGE": unix.FALLOC_FL_UNSHARE_RANGE,
}

var mapFlags = map[string]int{
	"PROT_READ": unix.PROT_READ, "PROT_WRITE": unix.PROT_WRITE, "PROT_EXEC": unix.PROT_EXEC,
	"MAP_SHARED": unix.MAP_SHARED, "MAP_PRIVATE": unix.MAP_PRIVATE, "MS_SYNC": unix.MS_SYNC,
}

var writeFlags = map[string]int{"RWF_APPEND": unix.RWF_APPEND, "RWF_DSYNC": unix.RWF_DSYNC, "RWF_SYNC": unix.RWF_SYNC, "RWF_NOAPPEND": unix.RWF_NOAPPEND}

// dataCalls read and write. They give the bytes read, or how many were written.
var dataCalls = map[string]call{
	// read #N COUNT, and read PATH COUNT for all at once
	"read": func(_ *world, a *arguments) (string, error) {
		fd, count := a.fd(), a.number()
		return bytesRead(count, func(buffer []byte) (int, error) { return unix.Read(fd, buffer) })
	},
	// pread #N COUNT OFFSET
	"pread": func(_ *world, a *arguments) (string, error) {
		fd, count, offset := a.fd(), a.number(), a.number()
		return bytesRead(count, func(buffer []byte) (int, error) { return unix.Pread(fd, buffer, offset) })
	},
	// write #N DATA
	"write": func(_ *world, a *arguments) (string, error) {
		return count(unix.Write(a.fd(), []byte(a.text())))
	},
	// pwrite #N DATA OFFSET
	"pwrite": func(_ *world, a *arguments) (string, error) {
		return count(unix.Pwrite(a.fd(), []byte(a.text()), a.number()))
	},
	// pwritev2 #N DATA OFFSET FLAGS
	"pwritev2": func(_ *world, a *arguments) (string, error) {
		return count(unix.Pwritev2(a.fd(), [][]byte{[]byte(a.text())}, a.number(), a.flags(writeFlags)))
	},
	// lseek #N OFFSET WHENCE gives the offset.
	"lseek": func(_ *world, a *arguments) (string, error) {
		at, err := unix.Seek(a.fd(), a.number(), a.flags(whences))
		return fmt.Sprint(at), err
	},
	"fsync":     func(_ *world, a *arguments) (string, error) { return "", unix.Fsync(a.fd()) },
	"fdatasync": func(_ *world, a *arguments) (string, error) { return "", unix.Fdatasync(a.fd()) },
	"syncfs":    func(_ *world, a *arguments) (string, error) { return "", unix.Syncfs(a.fd()) },
	// fallocate #N MODE OFFSET LENGTH
	"fallocate": func(_ *world, a *arguments) (string, error) {
		return "", unix.Fallocate(a.fd(), uint32(a.flags(fallocateModes)), a.number(), a.number())
	},
	// copy_file_range #FROM OFFSET #TO OFFSET LENGTH [FLAGS]
	"copy_file_range": func(_ *world, a *arguments) (string, error) {
		in, inOffset := a.fd(), a.number()
		out, outOffset := a.fd(), a.number()
		length, flags := a.number(), 0
		if a.more() {
			flags = a.flags(nil)
		}
		return count(unix.CopyFileRange(in, &inOffset, out, &outOffset, int(length), flags))
	},
	// sendfile #TO #FROM OFFSET LENGTH
	"sendfile": func(_ *world, a *arguments) (string, error) {
		out, in, offset := a.fd(), a.fd(), a.number()
		return count(unix.Sendfile(out, in, &offset, int(a.number())))
	},
	// mmap #N LENGTH PROT FLAGS [DATA]: data is written through the mapping and synced;
	// without it the mapping is read.
	"mmap": func(_ *world, a *arguments) (string, error) {
		fd, length, prot, flags := a.fd(), a.number(), a.flags(mapFlags), a.flags(mapFlags)
		mapping, err := unix.Mmap(fd, 0, int(length), prot, flags)
		if err != nil {
			return "", err
		}
		defer unix.Munmap(mapping)
		if !a.more() {
			return escape(mapping), nil
		}
		copy(mapping, a.text())
		return "", unix.Msync(mapping, unix.MS_SYNC)
	},
	// setfl #N FLAGS, as fcntl F_SETFL
	"setfl": func(_ *world, a *arguments) (string, error) {
		_, err := unix.FcntlInt(uintptr(a.fd()), unix.F_SETFL, a.flags(openFlags))
		return "", err
	},
	// ioctl #N, one that no filesystem knows
	"ioctl": func(_ *world, a *arguments) (string, error) {
		_, err := unix.IoctlGetInt(a.fd(), 0x7a7a)
		return "", err
	},
	// clone #TO #FROM, as ioctl FICLONE
	"clone": func(_ *world, a *arguments) (string, error) { return "", unix.IoctlFileClone(a.fd(), a.fd()) },
	// limit SIZE of any file, as ulimit -f, until the end of the case
	"limit": func(_ *world, a *arguments) (string, error) { return "", limitFileSize(uint64(a.number())) },
	// direct-write #N COUNT OFFSET writes zeros from memory that O_DIRECT accepts everywhere.
	"direct-write": func(_ *world, a *arguments) (string, error) {
		fd, length := a.fd(), a.number()
		return count(unix.Pwrite(fd, aligned(int(length)), a.number()))
	},
}

// limitFileSize leaves the hard limit alone, to be lifted again.
func limitFileSize(bytes uint64) error {
	return unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY})
}

// aligned gives memory that begins at a page.
func aligned(n int) []byte {
	const page = 4096
	memory := make([]byte, n+page)
	skip := int(-uintptr(unsafe.Pointer(&memory[0])) % page)
	return memory[skip : skip+n]
}

func bytesRead(count int64, read func([]byte) (int, error)) (string, error) {
	buffer := make([]byte, count)
	n, err := read(buffer)
	if err == nil && n == 0 {
		return "END", nil
	}
	return escape(buffer[:max(n, 0)]), err
}

func count(n int, err error) (string, error) { return fmt.Sprint(n), err }
