package fusefs

import (
	"time"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// preferredIO is st_blksize: the size of requests in bytes that serves best. More
// than the usual 128 KiB makes cp and the like ask for larger pieces.
const preferredIO = maxWrite

// GetAttr implements fuse.RawFileSystem.
func (s *fileSystem) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	attr, err := s.backend.GetAttr(ctx, s.inode(in.NodeId))
	if err != nil {
		return status(err)
	}
	s.fillAttrOut(out, &attr)
	s.notePlain(ctx, &attr)
	return fuse.OK
}

// SetAttr implements fuse.RawFileSystem: chmod, chown, truncate, utimensat.
func (s *fileSystem) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	ino, set := s.inode(in.NodeId), setAttr(in)
	cred := s.cred(&in.Caller, 0)
	if _, ok := in.GetFh(); ok && !set.DropSetIDs {
		cred = privileged // ftruncate: the descriptor is open for writing, whatever the mode says now
	}
	if in.Valid&^(fuse.FATTR_FH|fuse.FATTR_LOCKOWNER) == 0 {
		return s.chownNothing(ctx, ino, out)
	}
	attr, err := s.backend.SetAttr(ctx, cred, ino, set)
	s.changes.Add(1)
	if err != nil {
		return status(err)
	}
	s.fillAttrOut(out, &attr)
	return fuse.OK
}

// chownNothing is chown with neither owner nor group, the only call that sets nothing.
// It takes the set-id bits of a file all the same, whoever calls.
func (s *fileSystem) chownNothing(ctx *call, ino proto.InodeID, out *fuse.AttrOut) fuse.Status {
	attr, err := s.backend.GetAttr(ctx, ino)
	if err == nil && attr.Mode&unix.S_IFMT == unix.S_IFREG {
		attr, err = s.backend.SetAttr(ctx, privileged, ino, client.SetAttr{DropSetIDs: true})
	}
	s.changes.Add(1)
	if err != nil {
		return status(err)
	}
	s.fillAttrOut(out, &attr)
	return fuse.OK
}

func setAttr(in *fuse.SetAttrIn) (set client.SetAttr) {
	if mode, ok := in.GetMode(); ok {
		set.Mode = &mode
	}
	if uid, ok := in.GetUID(); ok {
		set.UID = &uid
	}
	if gid, ok := in.GetGID(); ok {
		set.GID = &gid
	}
	if size, ok := in.GetSize(); ok {
		set.Size = &size
		set.DropSetIDs = in.Valid&fuse.FATTR_KILL_SUIDGID != 0
	}
	if in.Valid&fuse.FATTR_ATIME != 0 {
		set.Atime = timeSet(in.Valid&fuse.FATTR_ATIME_NOW != 0, in.Atime, in.Atimensec)
	}
	if in.Valid&fuse.FATTR_MTIME != 0 {
		set.Mtime = timeSet(in.Valid&fuse.FATTR_MTIME_NOW != 0, in.Mtime, in.Mtimensec)
	}
	return set
}

// timeSet reads the kernel's form of a time; seconds before 1970 are negative.
func timeSet(now bool, sec uint64, nsec uint32) *client.TimeSet {
	if now {
		return &client.TimeSet{Now: true}
	}
	return &client.TimeSet{Time: time.Unix(int64(sec), int64(nsec))}
}

// Statx implements fuse.RawFileSystem. The kernel asks for it when a program
// wants the time of birth.
func (s *fileSystem) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	attr, err := s.backend.GetAttr(ctx, s.inode(in.NodeId))
	if err != nil {
		return status(err)
	}
	out.SetTimeout(s.backend.AttrTTL(&attr))
	out.Statx = fuse.Statx{
		Mask:      unix.STATX_BASIC_STATS | unix.STATX_BTIME,
		Blksize:   preferredIO,
		Nlink:     attr.Nlink,
		Uid:       attr.UID,
		Gid:       attr.GID,
		Mode:      uint16(attr.Mode),
		Ino:       uint64(attr.Inode),
		Size:      attr.Size,
		Blocks:    attr.Blocks,
		Atime:     statxTime(attr.Atime),
		Btime:     statxTime(attr.Btime),
		Ctime:     statxTime(attr.Ctime),
		Mtime:     statxTime(attr.Mtime),
		RdevMajor: unix.Major(uint64(attr.Rdev)),
		RdevMinor: unix.Minor(uint64(attr.Rdev)),
	}
	s.told.set(&attr)
	return fuse.OK
}

func statxTime(t time.Time) fuse.SxTime {
	return fuse.SxTime{Sec: uint64(t.Unix()), Nsec: uint32(t.Nanosecond())}
}

// statfsBlock is the unit of StatFs in bytes.
const statfsBlock = 4096

// StatFs implements fuse.RawFileSystem.
func (s *fileSystem) StatFs(cancel <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	ctx := s.begin(cancel, in)
	defer ctx.end()
	stat, err := s.backend.StatFS(ctx)
	if err != nil {
		return status(err)
	}
	*out = fuse.StatfsOut{
		Blocks:  stat.TotalBytes / statfsBlock,
		Bfree:   stat.FreeBytes / statfsBlock,
		Bavail:  stat.FreeBytes / statfsBlock,
		Files:   stat.Inodes + stat.FreeInodes,
		Ffree:   stat.FreeInodes,
		Bsize:   statfsBlock,
		Frsize:  statfsBlock,
		NameLen: maxName,
	}
	return fuse.OK
}
