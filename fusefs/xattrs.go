package fusefs

import (
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// isACL tells the names of POSIX access control lists, which are not supported:
// they are refused without asking the master, for ls -l asks for each file.
func isACL(name string) bool { return strings.HasPrefix(name, "system.posix_acl_") }

// GetXAttr implements fuse.RawFileSystem. An empty buffer asks for the size.
func (s *fileSystem) GetXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if isACL(name) {
		return 0, fuse.ENOTSUP
	}
	ctx := s.begin(cancel, in)
	defer ctx.end()
	value, err := s.getXattr(ctx, s.cred(&in.Caller, 0), s.inode(in.NodeId), name)
	if err != nil {
		return 0, status(err)
	}
	return fill(dest, string(value))
}

// ListXAttr implements fuse.RawFileSystem: each name ends with a NUL.
func (s *fileSystem) ListXAttr(cancel <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	ctx := s.begin(cancel, in)
	defer ctx.end()
	names, err := s.backend.ListXattr(ctx, s.cred(&in.Caller, 0), s.inode(in.NodeId))
	if err != nil {
		return 0, status(err)
	}
	var list strings.Builder
	for _, name := range names {
		list.WriteString(name)
		list.WriteByte(0)
	}
	return fill(dest, list.String())
}

// fill copies a value into a buffer that has room for it, and tells its size.
func fill(dest []byte, value string) (uint32, fuse.Status) {
	if len(dest) < len(value) {
		return uint32(len(value)), fuse.ERANGE // go-fuse makes it the size for an empty buffer
	}
	return uint32(copy(dest, value)), fuse.OK
}

// SetXAttr implements fuse.RawFileSystem.
func (s *fileSystem) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, name string, value []byte) fuse.Status {
	if isACL(name) {
		return fuse.ENOTSUP
	}
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	ino := s.inode(in.NodeId)
	err := s.backend.SetXattr(ctx, s.cred(&in.Caller, 0), ino, name, value, in.Flags)
	if name == capabilityXattr {
		s.incapable.clear(ino)
	}
	return s.changed(err)
}

// RemoveXAttr implements fuse.RawFileSystem.
func (s *fileSystem) RemoveXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	if isACL(name) {
		return fuse.ENOTSUP
	}
	ctx := s.begin(cancel, in)
	defer ctx.end()
	return s.changed(s.backend.RemoveXattr(ctx, s.cred(&in.Caller, 0), s.inode(in.NodeId), name))
}
