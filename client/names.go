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
	attr, exact, err := c.lookupOrFind(ctx, cred, parent, name)
	if err == nil && !exact {
		attr, err = c.GetAttr(ctx, attr.Inode)
	}
	return attr, err
}

// Find is Lookup for who only goes on from there: size, links, times and change of a
// directory may be those from before this client's last changes in it. AttrTTL is 0 then.
func (c *Client) Find(ctx context.Context, cred Cred, parent proto.InodeID, name string) (Attr, error) {
	attr, _, err := c.lookupOrFind(ctx, cred, parent, name)
	return attr, err
}

func (c *Client) lookupOrFind(ctx context.Context, cred Cred, parent proto.InodeID, name string) (attr Attr, exact bool, err error) {
	if known, ok := c.cachedName(cred, parent, name); ok {
		if known.absent {
			return Attr{}, false, proto.NotFound
		}
		return known.attr, !known.loose, nil
	}
	absent := c.leases.enabled() && name != ".."
	began, asked := c.leases.begin(), c.locations.asking()
	reply, err := ask(ctx, c, cred, "lookup", inDir(parent, name), func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.Lookup(ctx, &pb.LookupRequest{Caller: who, Parent: uint64(parent), Name: []byte(name), Absent: absent, First: absent})
	})
	if err != nil {
		return Attr{}, false, err
	}
	c.leases.admit(began, reply.Grants)
	if name != ".." {
		c.leases.noteName(began, reply.Grants, parent, name, proto.InodeID(reply.Attr.GetInode()), reply.ParentChange)
		defer c.readAlong(ctx, parent, false)
	}
	if reply.Attr == nil {
		return Attr{}, false, proto.NotFound
	}
	first := location{}
	if reply.First != nil {
		first = locationOf(reply.First)
	}
	return c.learnedFile(began, asked, reply.Grants, reply.Attr, first), true, nil
}

// cachedName is Lookup where no call is needed. Who may search the directory the kernel
// has checked; others than the kernel ask the master, unless nobody is denied anything.
func (c *Client) cachedName(cred Cred, parent proto.InodeID, name string) (found foundName, ok bool) {
	if !c.opts.PermissionsChecked && cred.UID != 0 || len(name) > proto.MaxName || name == "." || name == ".." {
		return foundName{}, false
	}
	found, ok = c.leases.lookup(parent, name)
	if ok && !found.absent && !found.loose {
		found.attr, ok = c.cachedAttr(found.attr.Inode)
	}
	return found, ok
}

// GetAttr reads the attributes of an inode.
func (c *Client) GetAttr(ctx context.Context, ino proto.InodeID) (Attr, error) {
	if attr, ok := c.cachedAttr(ino); ok {
		return attr, nil
	}
	began := c.leases.begin()
	reply, err := c.sendGetAttr(ctx, ino)
	if err != nil {
		return Attr{}, err
	}
	return c.learned(began, reply.Grants, reply.Attr), nil
}

// sendGetAttr asks for the attributes as the master has them.
func (c *Client) sendGetAttr(ctx context.Context, ino proto.InodeID) (*pb.AttrReply, error) {
	return ask(ctx, c, c.cred, "getattr", inodeName(ino), func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.GetAttr(ctx, &pb.GetAttrRequest{Caller: who, Inode: uint64(ino)})
	})
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
	if attr, at, done := c.setAttrHere(cred, ino, set); done {
		if set.Mtime != nil {
			c.forgetMtime(ino)
		}
		return c.changedHere(attr, at), nil
	}
	own := c.leases.changingModes(ino)
	reply, _, err := change(ctx, c, cred, "setattr", inodeName(ino), func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.SetAttr(ctx, &pb.SetAttrRequest{
			Caller: who, Inode: uint64(ino),
			Mode: set.Mode, Uid: set.UID, Gid: set.GID, Size: set.Size,
			Atime: set.Atime.wire(), Mtime: set.Mtime.wire(),
			DropSetIds: set.DropSetIDs, DropCapability: set.DropCapability,
		})
	})
	own.ended(reply.GetGrants(), err)
	if err != nil {
		return Attr{}, err
	}
	if set.Mtime != nil {
		c.forgetMtime(ino)
	}
	return c.learnedOwn(own, reply.Grants, reply.Attr), nil
}

// ReadDir lists entries behind a cookie (0: from the start), with attributes if asked.
func (c *Client) ReadDir(ctx context.Context, cred Cred, ino proto.InodeID, cookie uint64, attrs bool) (DirPage, error) {
	req := &pb.ReadDirRequest{Inode: uint64(ino), Cookie: cookie, MaxEntries: pageEntries, Attrs: attrs}
	if cookie == 0 {
		if page, ok := c.listedHere(cred, ino, attrs); ok {
			c.accesses.note(ino, nil, time.Now())
			return page, nil
		}
		req.Also, req.Deep, req.Alone = c.leases.walkOn(ino)
	}
	page, err := c.readPage(ctx, cred, req)
	if err == nil {
		c.accesses.note(ino, nil, time.Now())
	}
	return page, err
}

// readPage carries a listing out and caches what it tells.
func (c *Client) readPage(ctx context.Context, cred Cred, req *pb.ReadDirRequest) (DirPage, error) {
	ino := proto.InodeID(req.Inode)
	req.MaxBytes, req.First = pageBytes, req.Attrs && c.leases.enabled()
	began, asked := c.leases.begin(), c.locations.asking()
	reply, err := ask(ctx, c, cred, "readdir", inodeName(ino), func(ctx context.Context, who *pb.Caller) (*pb.ReadDirReply, error) {
		req.Caller = who
		return c.master.ReadDir(ctx, req)
	})
	if err != nil {
		return DirPage{}, err
	}
	c.leases.admit(began, reply.Grants)
	firsts := newPageOfFirsts(reply.Nodes)
	learn := func(dir proto.InodeID, reply *pb.ReadDirReply, g *pb.Grants) []DirEntry {
		entries := make([]DirEntry, 0, len(reply.Entries))
		for _, e := range reply.Entries {
			entry := DirEntry{Name: string(e.Name), Inode: proto.InodeID(e.Inode), Type: e.Type, Cookie: e.Cookie}
			if e.Attr != nil {
				attr := c.learnedFile(began, asked, g, e.Attr, firsts.unpack(e.First))
				entry.Attr = &attr
			}
			entries = append(entries, entry)
		}
		c.leases.noteListing(began, g, dir, req.Cookie, reply, entries)
		return entries
	}
	page := DirPage{End: reply.End, Parent: proto.InodeID(reply.Parent), Entries: learn(ino, reply, reply.Grants)}
	for _, other := range reply.Also {
		learn(proto.InodeID(other.Inode), other, reply.Grants)
	}
	return page, nil
}

// ReadLink reads the target of a symlink.
func (c *Client) ReadLink(ctx context.Context, ino proto.InodeID) (string, error) {
	if target, ok := c.leases.target(ino); ok {
		c.accesses.note(ino, nil, time.Now())
		return target, nil
	}
	began := c.leases.begin()
	reply, err := ask(ctx, c, c.cred, "readlink", inodeName(ino), func(ctx context.Context, who *pb.Caller) (*pb.ReadLinkReply, error) {
		return c.master.ReadLink(ctx, &pb.ReadLinkRequest{Caller: who, Inode: uint64(ino)})
	})
	if err != nil {
		return "", err
	}
	c.accesses.note(ino, nil, time.Now())
	c.leases.admit(began, reply.Grants)
	c.leases.noteTarget(began, reply.Grants, ino, string(reply.Target))
	return string(reply.Target), nil
}

// Mkdir makes a directory.
func (c *Client) Mkdir(ctx context.Context, cred Cred, parent proto.InodeID, name string, mode uint32) (Attr, error) {
	if attr, done := c.makeNodeHere(ctx, cred, parent, name, node{mode: unix.S_IFDIR | mode&0o7777}); done {
		return attr, nil
	}
	return c.makeName(ctx, cred, "mkdir", parent, name, func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.Mkdir(ctx, &pb.MkdirRequest{Caller: who, Parent: uint64(parent), Name: []byte(name), Mode: mode})
	})
}

// Mknod makes a regular file, FIFO, socket or device: mode has the type bits.
func (c *Client) Mknod(ctx context.Context, cred Cred, parent proto.InodeID, name string, mode, rdev uint32) (Attr, error) {
	if attr, done := c.makeNodeHere(ctx, cred, parent, name, node{mode: mode & (unix.S_IFMT | 0o7777), rdev: rdev}); done {
		return attr, nil
	}
	return c.makeName(ctx, cred, "mknod", parent, name, func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.Mknod(ctx, &pb.MknodRequest{Caller: who, Parent: uint64(parent), Name: []byte(name), Mode: mode, Rdev: rdev})
	})
}

// Symlink makes a symlink that holds target.
func (c *Client) Symlink(ctx context.Context, cred Cred, parent proto.InodeID, name, target string) (Attr, error) {
	if attr, done := c.makeNodeHere(ctx, cred, parent, name, node{mode: unix.S_IFLNK | 0o777, target: target}); done {
		return attr, nil
	}
	return c.makeName(ctx, cred, "symlink", parent, name, func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.Symlink(ctx, &pb.SymlinkRequest{Caller: who, Parent: uint64(parent), Name: []byte(name), Target: []byte(target)})
	})
}

// Link gives an inode another name.
func (c *Client) Link(ctx context.Context, cred Cred, ino, parent proto.InodeID, name string) (Attr, error) {
	var attr Attr
	var at mark
	if c.tryHere(ctx, parent, func() (done bool) {
		attr, at, done = c.linkHere(cred, ino, parent, name)
		return done
	}) {
		return c.changedHere(attr, at), nil
	}
	own := c.leases.changing(parent, ino)
	reply, _, err := change(ctx, c, cred, "link", inDir(parent, name), func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.Link(ctx, &pb.LinkRequest{Caller: who, Inode: uint64(ino), Parent: uint64(parent), Name: []byte(name)})
	})
	return c.madeName(own, parent, name, reply, err)
}

func (c *Client) makeName(ctx context.Context, cred Cred, op string, parent proto.InodeID, name string, fn func(context.Context, *pb.Caller) (*pb.AttrReply, error)) (Attr, error) {
	own := c.leases.changing(parent)
	reply, _, err := change(ctx, c, cred, op, inDir(parent, name), fn)
	attr, err := c.madeName(own, parent, name, reply, err)
	if err == nil {
		c.wantDir(ctx, parent)
	}
	return attr, err
}

// madeName takes in the answer to a call that made a name.
func (c *Client) madeName(own *ownChange, parent proto.InodeID, name string, reply *pb.AttrReply, err error) (Attr, error) {
	own.ended(reply.GetGrants(), err)
	if err != nil {
		return Attr{}, err
	}
	attr := c.learnedOwn(own, reply.Grants, reply.Attr)
	own.name(reply.Grants, parent, name, attr.Inode, reply.ParentChange)
	if attr.isDir() {
		own.made(reply.Grants, &attr)
	}
	return attr, nil
}

// Unlink removes the name of what is not a directory.
func (c *Client) Unlink(ctx context.Context, cred Cred, parent proto.InodeID, name string) error {
	return c.removeName(ctx, cred, "unlink", parent, name, func(ctx context.Context, request *pb.UnlinkRequest) (*pb.UnlinkReply, error) {
		return c.master.Unlink(ctx, request)
	})
}

// Rmdir removes an empty directory.
func (c *Client) Rmdir(ctx context.Context, cred Cred, parent proto.InodeID, name string) error {
	return c.removeName(ctx, cred, "rmdir", parent, name, func(ctx context.Context, request *pb.UnlinkRequest) (*pb.UnlinkReply, error) {
		return c.master.Rmdir(ctx, request)
	})
}

func (c *Client) removeName(ctx context.Context, cred Cred, op string, parent proto.InodeID, name string, fn func(context.Context, *pb.UnlinkRequest) (*pb.UnlinkReply, error)) error {
	here := func() bool { return c.removeHere(cred, parent, name, op == "rmdir") }
	if c.tryHere(ctx, parent, here) || c.takeOver(ctx, parent) && c.tryHere(ctx, parent, here) {
		return nil
	}
	own := c.leases.changing(append(c.leases.known(parent, name), parent)...)
	defer c.leases.leave(placeOf{parent, name})()
	reply, _, err := change(ctx, c, cred, op, inDir(parent, name), func(ctx context.Context, who *pb.Caller) (*pb.UnlinkReply, error) {
		return fn(ctx, &pb.UnlinkRequest{Caller: who, Parent: uint64(parent), Name: []byte(name)})
	})
	own.ended(nil, err)
	if err != nil {
		return err
	}
	own.name(nil, parent, name, 0, reply.ParentChange)
	own.forget(proto.InodeID(reply.Inode))
	c.wantFiles(ctx, parent)
	return nil
}

// Rename moves a name. Flags are those of renameat2(2): RENAME_NOREPLACE and
// RENAME_EXCHANGE; any other is Invalid (L14).
func (c *Client) Rename(ctx context.Context, cred Cred, parent proto.InodeID, name string, newParent proto.InodeID, newName string, flags uint32) error {
	subject := inDir(parent, name) + " to " + inDir(newParent, newName)
	noReplace, exchange := flags&unix.RENAME_NOREPLACE != 0, flags&unix.RENAME_EXCHANGE != 0
	if flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 || noReplace && exchange {
		return proto.E(proto.Invalid, "rename", subject, "these flags are not supported")
	}
	if !exchange && c.tryHere(ctx, parent, func() bool { return c.renameHere(cred, parent, name, newParent, newName, noReplace) }) {
		return nil
	}
	sole := c.leases.soleName(parent, name)
	own := c.leases.changing(append(append(c.leases.known(parent, name), c.leases.known(newParent, newName)...), parent, newParent)...)
	defer c.leases.leave(placeOf{parent, name}, placeOf{newParent, newName})()
	reply, _, err := change(ctx, c, cred, "rename", subject, func(ctx context.Context, who *pb.Caller) (*pb.RenameReply, error) {
		return c.master.Rename(ctx, &pb.RenameRequest{
			Caller: who, Parent: uint64(parent), Name: []byte(name),
			NewParent: uint64(newParent), NewName: []byte(newName), NoReplace: noReplace, Exchange: exchange,
		})
	})
	own.ended(nil, err)
	if err != nil {
		return err
	}
	moved, replaced, left := proto.InodeID(reply.Inode), proto.InodeID(reply.Replaced), proto.InodeID(0)
	if exchange {
		left = replaced
	}
	if !sole && replaced == 0 { // if both are names of one file, nothing has happened
		reply.ParentChange, reply.NewParentChange = 0, 0
	}
	if parent != newParent || name != newName {
		own.name(nil, parent, name, left, reply.ParentChange)
		own.name(nil, newParent, newName, moved, reply.NewParentChange)
		c.leases.movedNames(placeOf{parent, name}, placeOf{newParent, newName})
	}
	own.forget(moved)
	own.forget(replaced)
	c.wantFiles(ctx, parent)
	if newParent != parent {
		c.wantDir(ctx, newParent)
	}
	return nil
}

// GetXattr reads an extended attribute; NoAttr if it is not there.
func (c *Client) GetXattr(ctx context.Context, cred Cred, ino proto.InodeID, name string) ([]byte, error) {
	if c.leases.lacks(ino, name) {
		return nil, proto.NoAttr
	}
	began := c.leases.begin()
	reply, err := ask(ctx, c, cred, "getxattr", inodeName(ino)+" "+name, func(ctx context.Context, who *pb.Caller) (*pb.GetXattrReply, error) {
		return c.master.GetXattr(ctx, &pb.GetXattrRequest{Caller: who, Inode: uint64(ino), Name: []byte(name)})
	})
	if proto.KindOf(err) == proto.NoAttr {
		c.leases.noteLack(began, ino, name)
	}
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
	own := c.leases.changingModes(ino)
	reply, _, err := change(ctx, c, cred, "setxattr", inodeName(ino)+" "+name, func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.SetXattr(ctx, &pb.SetXattrRequest{
			Caller: who, Inode: uint64(ino), Name: []byte(name), Value: value,
			Create: flags&unix.XATTR_CREATE != 0, Replace: flags&unix.XATTR_REPLACE != 0,
		})
	})
	own.ended(reply.GetGrants(), err)
	if err != nil {
		return err
	}
	c.learnedOwn(own, reply.Grants, reply.Attr)
	return nil
}

// RemoveXattr removes an extended attribute; NoAttr if it is not there.
func (c *Client) RemoveXattr(ctx context.Context, cred Cred, ino proto.InodeID, name string) error {
	own := c.leases.changingModes(ino)
	reply, _, err := change(ctx, c, cred, "removexattr", inodeName(ino)+" "+name, func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return c.master.RemoveXattr(ctx, &pb.RemoveXattrRequest{Caller: who, Inode: uint64(ino), Name: []byte(name)})
	})
	own.ended(reply.GetGrants(), err)
	if err != nil {
		return err
	}
	c.learnedOwn(own, reply.Grants, reply.Attr)
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
