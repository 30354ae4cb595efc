package client

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// cacheTTL bounds how old an attribute or a name may be that is answered
// without asking the master.
const cacheTTL = time.Second

// Cred is on whose behalf a call is made.
type Cred struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
	Umask    uint32   // taken off the mode of what is made
}

func (c Cred) isZero() bool { return c.UID == 0 && c.GID == 0 && c.Groups == nil && c.Umask == 0 }

// Attr is what stat(2) tells, unwritten data of this client included.
type Attr struct {
	Inode                      proto.InodeID
	Mode                       uint32 // type and permission bits, as st_mode
	Nlink, UID, GID, Rdev      uint32
	Size                       uint64 // bytes
	Blocks                     uint64 // 512-byte units
	Atime, Mtime, Ctime, Btime time.Time
	Change                     uint64 // raised by every change of the inode
	Plain                      bool   // no extended attributes; false: perhaps some

	lease *lease // that covers these; nil: none
}

// SetAttr says which attributes to change: those that are not nil.
type SetAttr struct {
	Mode, UID, GID *uint32
	Size           *uint64 // truncate or extend
	Atime, Mtime   *TimeSet

	// What a file loses by being written to: its set-id bits, and the attribute
	// security.capability.
	DropSetIDs, DropCapability bool
}

// TimeSet is a time to set: the master's clock, or the one given.
type TimeSet struct {
	Now  bool
	Time time.Time
}

// FSStat is the usable space: raw space divided by the number of replicas.
type FSStat struct {
	TotalBytes, FreeBytes uint64
	Inodes, FreeInodes    uint64
}

func attrOf(a *pb.Attr) Attr {
	return Attr{
		Inode: proto.InodeID(a.GetInode()),
		Mode:  a.GetMode(), Nlink: a.GetNlink(), UID: a.GetUid(), GID: a.GetGid(), Rdev: a.GetRdev(),
		Size: a.GetSize(), Blocks: a.GetBlocks(),
		Atime:  time.Unix(a.GetAtimeSec(), int64(a.GetAtimeNsec())),
		Mtime:  time.Unix(a.GetMtimeSec(), int64(a.GetMtimeNsec())),
		Ctime:  time.Unix(a.GetCtimeSec(), int64(a.GetCtimeNsec())),
		Btime:  time.Unix(a.GetBtimeSec(), int64(a.GetBtimeNsec())),
		Change: a.GetChange(), Plain: a.GetPlain(),
	}
}

func (t *TimeSet) wire() *pb.TimeChange {
	switch {
	case t == nil:
		return nil
	case t.Now:
		return &pb.TimeChange{Now: true}
	}
	return timeChange(t.Time)
}

func timeChange(t time.Time) *pb.TimeChange {
	return &pb.TimeChange{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
}

func (a Attr) isRegular() bool { return a.Mode&unix.S_IFMT == unix.S_IFREG }

func (a Attr) isDir() bool { return a.Mode&unix.S_IFMT == unix.S_IFDIR }

func (a Attr) isSymlink() bool { return a.Mode&unix.S_IFMT == unix.S_IFLNK }
