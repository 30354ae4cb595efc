package fusefs

import (
	"context"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
)

// File handles (name_to_handle_at, open_by_handle_at, and thereby the export by
// NFS) hold a node and its generation. To open one that it has forgotten, the
// kernel looks up "." in the node, whatever its type; to connect a directory with
// the root, it looks up ".." and reads the parent. Inode numbers are never used
// again, so a handle outlives this mount and the servers, and never opens another
// file than the one it was made of. The kernel lets only those use handles who may
// search and read everything.

// openHandle gives the inode of a handle. One without a name cannot be opened, as
// on a local filesystem; one that is open here is known to the kernel.
func (s *fileSystem) openHandle(ctx context.Context, ino proto.InodeID) (client.Attr, error) {
	attr, err := s.backend.GetAttr(ctx, ino)
	if err == nil && attr.Nlink == 0 {
		err = stale("open by handle", ino, "it was removed")
	}
	return attr, err
}

// parentOf gives the directory that another one is in. A path that does not lead
// through the root of the mount is Stale: its node would stand for another inode.
func (s *fileSystem) parentOf(ctx context.Context, ino proto.InodeID) (client.Attr, error) {
	if ino == s.root {
		return s.backend.GetAttr(ctx, ino)
	}
	attr, err := s.backend.Lookup(ctx, privileged, ino, "..")
	if err == nil && (attr.Inode == ino || attr.Inode == proto.RootInode && s.root != proto.RootInode) {
		err = stale("look up parent", ino, "it was removed, or is outside the mounted folder")
	}
	return attr, err
}

func stale(op string, ino proto.InodeID, detail string) error {
	return proto.E(proto.Stale, op, "inode "+ino.String(), detail)
}

// generation is what the kernel compares with a handle's. It takes that of the root
// to be 0.
func (s *fileSystem) generation(ino proto.InodeID) uint64 {
	if ino == s.root {
		return 0
	}
	return uint64(ino.Generation())
}
