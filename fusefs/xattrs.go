package fusefs

import (
	"context"
	"strings"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Access control lists come and go as extended attributes. The kernel reads them by
// itself to check permissions, and keeps them as long as it keeps the mode; what
// setting one does to the mode, and what a new file inherits, is the master's affair.

// askedByKernel tells the names that the kernel asks for by itself.
func askedByKernel(name string) bool {
	return name == capabilityXattr || strings.HasPrefix(name, "system.posix_acl_")
}

// getXattr reads an extended attribute. That a file has none it may know without asking.
func (s *fileSystem) getXattr(ctx context.Context, cred client.Cred, ino proto.InodeID, name string) ([]byte, error) {
	if askedByKernel(name) && s.plain.has(ino, s.now()) {
		return nil, proto.NoAttr
	}
	return s.backend.GetXattr(ctx, cred, ino, name)
}

// GetXAttr implements fuse.RawFileSystem. An empty buffer asks for the size.
func (s *fileSystem) GetXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if name == DescriptionXattr && in.NodeId == fuse.FUSE_ROOT_ID {
		s.remounted() // who remounts asks for it afterwards
		return fill(dest, s.description)
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
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	ino := s.inode(in.NodeId)
	err := s.backend.SetXattr(ctx, s.cred(&in.Caller, 0), ino, name, value, in.Flags)
	result := s.changed(err)
	s.plain.set(ino)
	if name == capabilityXattr {
		s.capabilitySets.Add(1)
	}
	return result
}

// RemoveXAttr implements fuse.RawFileSystem.
func (s *fileSystem) RemoveXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	ctx := s.begin(cancel, in)
	defer ctx.end()
	return s.changed(s.backend.RemoveXattr(ctx, s.cred(&in.Caller, 0), s.inode(in.NodeId), name))
}
