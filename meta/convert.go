package meta

import (
	"fmt"
	"syscall"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Between the wire's types and the state's.

func credOf(c *pb.Caller) state.Cred {
	return state.Cred{UID: c.GetUid(), GID: c.GetGid(), Groups: c.GetGroups()}
}

func attrOf(a state.Attr) *pb.Attr {
	return &pb.Attr{
		Inode: uint64(a.Inode), Mode: a.Mode, Nlink: a.Nlink, Uid: a.UID, Gid: a.GID, Rdev: a.Rdev,
		Size: a.Size, Blocks: a.Blocks, Change: a.Change, Plain: a.Plain,
		AtimeSec: a.Atime.Sec, AtimeNsec: a.Atime.Nsec, MtimeSec: a.Mtime.Sec, MtimeNsec: a.Mtime.Nsec,
		CtimeSec: a.Ctime.Sec, CtimeNsec: a.Ctime.Nsec, BtimeSec: a.Btime.Sec, BtimeNsec: a.Btime.Nsec,
	}
}

// timeOf reads a change of a time; set is false when there is none, and now is true
// when the master's clock is meant.
func timeOf(c *pb.TimeChange) (t state.Time, set, now bool, kind proto.Kind) {
	switch {
	case c == nil:
		return state.Time{}, false, false, proto.OK
	case c.Now:
		return state.Time{}, true, true, proto.OK
	case c.Nsec >= 1e9:
		return state.Time{}, false, false, proto.Invalid
	}
	return state.Time{Sec: c.Sec, Nsec: c.Nsec}, true, false, proto.OK
}

// accessMask gives the permissions that open(2) flags ask for: 4 read, 2 write, 1 execute.
func accessMask(flags uint32) uint32 {
	const forExec = 0x20 // FMODE_EXEC of Linux, which FUSE passes on for execve(2)
	var mask uint32
	switch flags & syscall.O_ACCMODE {
	case syscall.O_RDONLY:
		mask = 4
		if flags&forExec != 0 {
			mask = 1
		}
	case syscall.O_WRONLY:
		mask = 2
	default:
		mask = 6
	}
	if flags&syscall.O_TRUNC != 0 {
		mask |= 2
	}
	return mask
}

func forWriting(flags uint32) bool { return flags&syscall.O_ACCMODE != syscall.O_RDONLY }

// Type bits of a mode.
const (
	typeMask  = syscall.S_IFMT
	directory = syscall.S_IFDIR
	regular   = syscall.S_IFREG
	symlink   = syscall.S_IFLNK
	permBits  = 0o7777
)

func inodeName(ino uint64) string { return fmt.Sprintf("inode %d", ino) }

func entryName(parent uint64, name []byte) string {
	if len(name) > proto.MaxName {
		name = name[:proto.MaxName]
	}
	return fmt.Sprintf("%q in inode %d", name, parent)
}
