package client

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Bounds of one page of a directory.
const (
	pageEntries = 4096
	pageBytes   = 256 << 10
)

// DirEntry is one name of a directory.
type DirEntry struct {
	Name   string
	Inode  proto.InodeID
	Type   uint32 // S_IFMT bits of the mode
	Cookie uint64 // stable while the entry lives; 3 <= Cookie < 2^63
	Attr   *Attr  // nil unless asked for
}

// DirPage is some of a directory, in cookie order, without "." and "..".
type DirPage struct {
	Entries []DirEntry
	End     bool          // there are no more behind these
	Parent  proto.InodeID // inode of ".."
}

func inDir(parent proto.InodeID, name string) string {
	return "inode " + parent.String() + "/" + name
}

func inodeName(ino proto.InodeID) string { return "inode " + ino.String() }

// Lookup finds a name in a directory.
func (c *Client) Lookup(ctx context.Context, cred Cred, parent proto.InodeID, name string) (Attr, error) {
	reply, err := ask(ctx, c, cred, "lookup", inDir(parent, name), func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.Lookup(ctx, &pb.LookupRequest{Caller: who, Parent: uint64(parent), Name: []byte(name)})
	})
	if err != nil {
		return Attr{}, err
	}
	return c.learn(reply.Attr), nil
}

// GetAttr reads the attributes of an inode.
func (c *Client) GetAttr(ctx context.Context, ino proto.InodeID) (Attr, error) {
	attr, err := c.serverAttr(ctx, ino)
	if err != nil {
		return Attr{}, err
	}
	return c.learn(attr), nil
}

// serverAttr asks for the attributes as the master has them.
func (c *Client) serverAttr(ctx context.Context, ino proto.InodeID) (*pb.Attr, error) {
	reply, err := ask(ctx, c, c.cred, "getattr", inodeName(ino), func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.GetAttr(ctx, &pb.GetAttrRequest{Caller: who, Inode: uint64(ino)})
	})
	if err != nil {
		return nil, err
	}
	return reply.Attr, nil
}

// SetAttr changes attributes and returns all of them. A change of the size is
// ordered with the unwritten data of this client.
func (c *Client) SetAttr(ctx context.Context, cred Cred, ino proto.InodeID, set SetAttr) (Attr, error) {
	if set.Size == nil && set.Mtime == nil {
		return c.sendSetAttr(ctx, cred, ino, set)
	}
	state := c.acquire(ino)
	defer c.giveBack(state)
	if set.Size != nil {
		return state.truncate(ctx, cred, set)
	}
	if err := state.committing.acquire(ctx, "setattr"); err != nil {
		return Attr{}, err
	}
	defer state.committing.release()
	return c.sendSetAttr(ctx, cred, ino, set)
}

func (c *Client) sendSetAttr(ctx context.Context, cred Cred, ino proto.InodeID, set SetAttr) (Attr, error) {
	if set.Atime != nil {
		if err := c.accesses.forget(ctx, ino); err != nil {
			return Attr{}, err
		}
	}
	reply, _, err := change(ctx, c, cred, "setattr", inodeName(ino), func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.SetAttr(ctx, &pb.SetAttrRequest{
			Caller: who, Inode: uint64(ino),
			Mode: set.Mode, Uid: set.UID, Gid: set.GID, Size: set.Size,
			Atime: set.Atime.wire(), Mtime: set.Mtime.wire(),
			DropSetIds: set.DropSetIDs, DropCapability: set.DropCapability,
		})
	})
	if err != nil {
		return Attr{}, err
	}
	if set.Mtime != nil {
		c.forgetMtime(ino)
	}
	return c.learnOwn(reply.Attr), nil
}

// ReadDir lists entries behind a cookie (0: from the start), with attributes if asked.
func (c *Client) ReadDir(ctx context.Context, cred Cred, ino proto.InodeID, cookie uint64, attrs bool) (DirPage, error) {
	reply, err := ask(ctx, c, cred, "readdir", inodeName(ino), func(ctx context.Context, who *pb.Caller) (*pb.ReadDirReply, error) {
		return c.master.ReadDir(ctx, &pb.ReadDirRequest{
			Caller: who, Inode: uint64(ino), Cookie: cookie,
			MaxEntries: pageEntries, MaxBytes: pageBytes, Attrs: attrs,
		})
	})
	if err != nil {
		return DirPage{}, err
	}
	c.accesses.note(ino, nil, time.Now())
	page := DirPage{End: reply.End, Parent: proto.InodeID(reply.Parent), Entries: make([]DirEntry, 0, len(reply.Entries))}
	for _, e := range reply.Entries {
		entry := DirEntry{Name: string(e.Name), Inode: proto.InodeID(e.Inode), Type: e.Type, Cookie: e.Cookie}
		if e.Attr != nil {
			attr := c.learn(e.Attr)
			entry.Attr = &attr
		}
		page.Entries = append(page.Entries, entry)
	}
	return page, nil
}

// ReadLink reads the target of a symlink.
func (c *Client) ReadLink(ctx context.Context, ino proto.InodeID) (string, error) {
	reply, err := ask(ctx, c, c.cred, "readlink", inodeName(ino), func(ctx context.Context, who *pb.Caller) (*pb.ReadLinkReply, error) {
		return c.master.ReadLink(ctx, &pb.ReadLinkRequest{Caller: who, Inode: uint64(ino)})
	})
	if err != nil {
		return "", err
	}
	c.accesses.note(ino, nil, time.Now())
	return string(reply.Target), nil
}

// Mkdir makes a directory.
func (c *Client) Mkdir(ctx context.Context, cred Cred, parent proto.InodeID, name string, mode uint32) (Attr, error) {
	return c.makeName(ctx, cred, "mkdir", parent, name, func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.Mkdir(ctx, &pb.MkdirRequest{Caller: who, Parent: uint64(parent), Name: []byte(name), Mode: mode})
	})
}

// Mknod makes a regular file, FIFO, socket or device: mode has the type bits.
func (c *Client) Mknod(ctx context.Context, cred Cred, parent proto.InodeID, name string, mode, rdev uint32) (Attr, error) {
	return c.makeName(ctx, cred, "mknod", parent, name, func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.Mknod(ctx, &pb.MknodRequest{Caller: who, Parent: uint64(parent), Name: []byte(name), Mode: mode, Rdev: rdev})
	})
}

// Symlink makes a symlink that holds target.
func (c *Client) Symlink(ctx context.Context, cred Cred, parent proto.InodeID, name, target string) (Attr, error) {
	return c.makeName(ctx, cred, "symlink", parent, name, func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.Symlink(ctx, &pb.SymlinkRequest{Caller: who, Parent: uint64(parent), Name: []byte(name), Target: []byte(target)})
	})
}

// Link gives an inode another name.
func (c *Client) Link(ctx context.Context, cred Cred, ino, parent proto.InodeID, name string) (Attr, error) {
	return c.makeName(ctx, cred, "link", parent, name, func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.Link(ctx, &pb.LinkRequest{Caller: who, Inode: uint64(ino), Parent: uint64(parent), Name: []byte(name)})
	})
}

func (c *Client) makeName(ctx context.Context, cred Cred, op string, parent proto.InodeID, name string, fn func(context.Context, *pb.Caller) (*pb.AttrReply, error)) (Attr, error) {
	reply, _, err := change(ctx, c, cred, op, inDir(parent, name), fn)
	if err != nil {
		return Attr{}, err
	}
	return c.learnOwn(reply.Attr), nil
}

// Unlink removes the name of what is not a directory.
func (c *Client) Unlink(ctx context.Context, cred Cred, parent proto.InodeID, name string) error {
	_, _, err := change(ctx, c, cred, "unlink", inDir(parent, name), func(ctx context.Context, who *pb.Caller) (*pb.UnlinkReply, error) {
		return c.master.Unlink(ctx, &pb.UnlinkRequest{Caller: who, Parent: uint64(parent), Name: []byte(name)})
	})
	return err
}

// Rmdir removes an empty directory.
func (c *Client) Rmdir(ctx context.Context, cred Cred, parent proto.InodeID, name string) error {
	_, _, err := change(ctx, c, cred, "rmdir", inDir(parent, name), func(ctx context.Context, who *pb.Caller) (*pb.UnlinkReply, error) {
		return c.master.Rmdir(ctx, &pb.UnlinkRequest{Caller: who, Parent: uint64(parent), Name: []byte(name)})
	})
	return err
}

// Rename moves a name. Flags are those of renameat2(2): RENAME_NOREPLACE and
// RENAME_EXCHANGE; any other is Invalid (L14).
func (c *Client) Rename(ctx context.Context, cred Cred, parent proto.InodeID, name string, newParent proto.InodeID, newName string, flags uint32) error {
	subject := inDir(parent, name) + " to " + inDir(newParent, newName)
	noReplace, exchange := flags&unix.RENAME_NOREPLACE != 0, flags&unix.RENAME_EXCHANGE != 0
	if flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 || noReplace && exchange {
		return proto.E(proto.Invalid, "rename", subject, "these flags are not supported")
	}
	_, _, err := change(ctx, c, cred, "rename", subject, func(ctx context.Context, who *pb.Caller) (*pb.RenameReply, error) {
		return c.master.Rename(ctx, &pb.RenameRequest{
			Caller: who, Parent: uint64(parent), Name: []byte(name),
			NewParent: uint64(newParent), NewName: []byte(newName), NoReplace: noReplace, Exchange: exchange,
		})
	})
	return err
}

// GetXattr reads an extended attribute; NoAttr if it is not there.
func (c *Client) GetXattr(ctx context.Context, cred Cred, ino proto.InodeID, name string) ([]byte, error) {
	reply, err := ask(ctx, c, cred, "getxattr", inodeName(ino)+" "+name, func(ctx context.Context, who *pb.Caller) (*pb.GetXattrReply, error) {
		return c.master.GetXattr(ctx, &pb.GetXattrRequest{Caller: who, Inode: uint64(ino), Name: []byte(name)})
	})
	if err != nil {
		return nil, err
	}
	return reply.Value, nil
}

// ListXattr names the extended attributes.
func (c *Client) ListXattr(ctx context.Context, cred Cred, ino proto.InodeID) ([]string, error) {
	reply, err := ask(ctx, c, cred, "listxattr", inodeName(ino), func(ctx context.Context, who *pb.Caller) (*pb.ListXattrReply, error) {
		return c.master.ListXattr(ctx, &pb.GetAttrRequest{Caller: who, Inode: uint64(ino)})
	})
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(reply.Names))
	for _, name := range reply.Names {
		names = append(names, string(name))
	}
	return names, nil
}

// SetXattr sets an extended attribute. Flags are XATTR_CREATE and XATTR_REPLACE;
// any other is Invalid.
func (c *Client) SetXattr(ctx context.Context, cred Cred, ino proto.InodeID, name string, value []byte, flags uint32) error {
	if flags&^(unix.XATTR_CREATE|unix.XATTR_REPLACE) != 0 {
		return proto.E(proto.Invalid, "setxattr", inodeName(ino)+" "+name, "these flags are not supported")
	}
	reply, _, err := change(ctx, c, cred, "setxattr", inodeName(ino)+" "+name, func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.SetXattr(ctx, &pb.SetXattrRequest{
			Caller: who, Inode: uint64(ino), Name: []byte(name), Value: value,
			Create: flags&unix.XATTR_CREATE != 0, Replace: flags&unix.XATTR_REPLACE != 0,
		})
	})
	if err != nil {
		return err
	}
	c.learnOwn(reply.Attr)
	return nil
}

// RemoveXattr removes an extended attribute; NoAttr if it is not there.
func (c *Client) RemoveXattr(ctx context.Context, cred Cred, ino proto.InodeID, name string) error {
	reply, _, err := change(ctx, c, cred, "removexattr", inodeName(ino)+" "+name, func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.RemoveXattr(ctx, &pb.RemoveXattrRequest{Caller: who, Inode: uint64(ino), Name: []byte(name)})
	})
	if err != nil {
		return err
	}
	c.learnOwn(reply.Attr)
	return nil
}

// StatFS tells the space of the cluster.
func (c *Client) StatFS(ctx context.Context) (FSStat, error) {
	reply, err := ask(ctx, c, c.cred, "statfs", "", func(ctx context.Context, who *pb.Caller) (*pb.StatFSReply, error) {
		return c.master.StatFS(ctx, &pb.StatFSRequest{Caller: who})
	})
	if err != nil {
		return FSStat{}, err
	}
	return FSStat{TotalBytes: reply.TotalBytes, FreeBytes: reply.FreeBytes, Inodes: reply.Inodes, FreeInodes: reply.FreeInodes}, nil
}
