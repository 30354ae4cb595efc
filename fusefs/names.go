package fusefs

import (
	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const maxName = proto.MaxName

// Lookup implements fuse.RawFileSystem.
func (s *fileSystem) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	ctx := s.begin(cancel, in)
	defer ctx.end()
	var attr client.Attr
	var err error
	var at entry
	switch name {
	case ".":
		attr, err = s.openHandle(ctx, s.inode(in.NodeId))
	case "..":
		attr, err = s.parentOf(ctx, s.inode(in.NodeId))
	default:
		at = entry{s.inode(in.NodeId), name}
		attr, err = s.backend.Find(ctx, s.cred(&in.Caller, 0), at.dir, name)
	}
	if err != nil {
		return s.absent(out, at, err)
	}
	s.fillEntry(out, at, &attr)
	s.notePlain(ctx, &attr)
	return fuse.OK
}

// absent answers a lookup that found nothing. Under a lease the kernel may keep that.
func (s *fileSystem) absent(out *fuse.EntryOut, at entry, err error) fuse.Status {
	if proto.KindOf(err) != proto.NotFound || at == (entry{}) || !s.expires || s.backend.CacheTTL() > 0 {
		return status(err)
	}
	ttl := s.backend.EntryTTL(at.dir, at.name, 0)
	if ttl == 0 {
		return status(err)
	}
	*out = fuse.EntryOut{}
	out.SetEntryTimeout(ttl)
	return fuse.OK
}

// Forget implements fuse.RawFileSystem. Nothing is kept for a node: its number is
// the inode's, and those are never used again.
func (s *fileSystem) Forget(node, lookups uint64) {}

// Mkdir implements fuse.RawFileSystem.
func (s *fileSystem) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	attr, err := s.backend.Mkdir(ctx, s.cred(&in.Caller, in.Umask), s.inode(in.NodeId), name, in.Mode)
	return s.newEntry(out, &in.InHeader, name, &attr, err)
}

// Mknod implements fuse.RawFileSystem.
func (s *fileSystem) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	attr, err := s.backend.Mknod(ctx, s.cred(&in.Caller, in.Umask), s.inode(in.NodeId), name, in.Mode, in.Rdev)
	return s.newEntry(out, &in.InHeader, name, &attr, err)
}

// Symlink implements fuse.RawFileSystem.
func (s *fileSystem) Symlink(cancel <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	ctx := s.begin(cancel, in)
	defer ctx.end()
	attr, err := s.backend.Symlink(ctx, s.cred(&in.Caller, 0), s.inode(in.NodeId), name, target)
	return s.newEntry(out, in, name, &attr, err)
}

// Readlink implements fuse.RawFileSystem. The kernel caches the answer: the
// target of a symlink never changes.
func (s *fileSystem) Readlink(cancel <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	ctx := s.begin(cancel, in)
	defer ctx.end()
	target, err := s.backend.ReadLink(ctx, s.inode(in.NodeId))
	if err != nil {
		return nil, status(err)
	}
	return []byte(target), fuse.OK
}

// Link implements fuse.RawFileSystem.
func (s *fileSystem) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	attr, err := s.backend.Link(ctx, s.cred(&in.Caller, 0), s.inode(in.Oldnodeid), s.inode(in.NodeId), name)
	return s.newEntry(out, &in.InHeader, name, &attr, err)
}

// Unlink implements fuse.RawFileSystem.
func (s *fileSystem) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	ctx := s.begin(cancel, in)
	defer ctx.end()
	return s.changed(s.backend.Unlink(ctx, s.cred(&in.Caller, 0), s.inode(in.NodeId), name))
}

// Rmdir implements fuse.RawFileSystem.
func (s *fileSystem) Rmdir(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	ctx := s.begin(cancel, in)
	defer ctx.end()
	return s.changed(s.backend.Rmdir(ctx, s.cred(&in.Caller, 0), s.inode(in.NodeId), name))
}

// Rename implements fuse.RawFileSystem. A flag that is not known is refused (L14).
func (s *fileSystem) Rename(cancel <-chan struct{}, in *fuse.RenameIn, name, newName string) fuse.Status {
	switch in.Flags {
	case 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE:
	default:
		return fuse.EINVAL
	}
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	return s.changed(s.backend.Rename(ctx, s.cred(&in.Caller, 0), s.inode(in.NodeId), name, s.inode(in.Newdir), newName, in.Flags))
}
