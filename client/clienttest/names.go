package clienttest

import (
	"context"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// inode of the master; everything is guarded by Cluster.mu, which intercept
// holds while a call is carried out.
type inode struct {
	attr    *pb.Attr
	entries map[string]uint64 // of a directory
	parent  uint64
	target  []byte
	xattrs  map[string][]byte
	chunks  map[uint64]*chunk // by index
}

func newInode(id uint64, mode uint32) *inode {
	i := &inode{attr: &pb.Attr{Inode: id, Mode: mode, Nlink: 1}, entries: map[string]uint64{}, xattrs: map[string][]byte{}, chunks: map[uint64]*chunk{}, parent: id}
	i.touch()
	i.attr.BtimeSec, i.attr.AtimeSec = i.attr.CtimeSec, i.attr.CtimeSec
	i.modified()
	i.attr.Change = 1
	return i
}

func (i *inode) touch() {
	now := time.Now()
	i.attr.CtimeSec, i.attr.CtimeNsec = now.Unix(), uint32(now.Nanosecond())
	i.attr.Change++
}

func (i *inode) modified() { i.attr.MtimeSec, i.attr.MtimeNsec = i.attr.CtimeSec, i.attr.CtimeNsec }

func (i *inode) is(kind uint32) bool { return i.attr.Mode&unix.S_IFMT == kind }

func (i *inode) reply() *pb.AttrReply { return &pb.AttrReply{Attr: i.copyAttr()} }

func (i *inode) copyAttr() *pb.Attr {
	a := i.attr
	return &pb.Attr{
		Inode: a.Inode, Mode: a.Mode, Nlink: a.Nlink, Uid: a.Uid, Gid: a.Gid, Rdev: a.Rdev, Size: a.Size, Blocks: i.blocks(),
		AtimeSec: a.AtimeSec, AtimeNsec: a.AtimeNsec, MtimeSec: a.MtimeSec, MtimeNsec: a.MtimeNsec,
		CtimeSec: a.CtimeSec, CtimeNsec: a.CtimeNsec, BtimeSec: a.BtimeSec, BtimeNsec: a.BtimeNsec, Change: a.Change,
	}
}

func (c *Cluster) inode(id uint64) (*inode, error) {
	if i := c.inodes[id]; i != nil {
		return i, nil
	}
	return nil, proto.Stale
}

func (c *Cluster) dir(id uint64) (*inode, error) {
	i, err := c.inode(id)
	if err == nil && !i.is(unix.S_IFDIR) {
		return nil, proto.NotDir
	}
	return i, err
}

func (c *Cluster) entry(parent uint64, name []byte) (*inode, error) {
	dir, err := c.dir(parent)
	if err != nil {
		return nil, err
	}
	if id, ok := dir.entries[string(name)]; ok {
		return c.inode(id)
	}
	return nil, proto.NotFound
}

// make adds an inode under a new name.
func (c *Cluster) make(parent uint64, name []byte, mode uint32, who *pb.Caller) (*inode, error) {
	dir, err := c.dir(parent)
	switch {
	case err != nil:
		return nil, err
	case len(name) > proto.MaxName:
		return nil, proto.NameTooLong
	case dir.entries[string(name)] != 0:
		return nil, proto.Exists
	}
	c.nextID++
	i := newInode(c.nextID, mode&^who.Umask)
	i.attr.Uid, i.attr.Gid = who.Uid, who.Gid
	i.parent = parent
	c.inodes[i.attr.Inode] = i
	dir.entries[string(name)] = i.attr.Inode
	dir.touch()
	return i, nil
}

func (c *Cluster) Lookup(_ context.Context, r *pb.LookupRequest) (*pb.AttrReply, error) {
	i, err := c.entry(r.Parent, r.Name)
	if err == proto.NotFound && r.Absent {
		return &pb.AttrReply{}, nil
	}
	if err != nil {
		return nil, err
	}
	reply := i.reply()
	if r.First {
		reply.First = c.first(i)
	}
	return reply, nil
}

// first is where the first chunk of a file is.
func (c *Cluster) first(i *inode) *pb.ChunkLocation {
	if ch := i.chunks[0]; ch != nil && ch.committed {
		return c.location(ch)
	}
	return nil
}

// packed is a location as a page of a directory has it.
func packed(page *pb.ReadDirReply, l *pb.ChunkLocation) *pb.FirstChunk {
	if l == nil {
		return nil
	}
	first := &pb.FirstChunk{Chunk: l.Chunk, Version: l.Version, Shared: l.Shared}
	for _, n := range l.Chain {
		first.Chain = append(first.Chain, uint32(len(page.Nodes)))
		page.Nodes = append(page.Nodes, n)
	}
	return first
}

func (c *Cluster) GetAttr(_ context.Context, r *pb.GetAttrRequest) (*pb.AttrReply, error) {
	i, err := c.inode(r.Inode)
	if err != nil {
		return nil, err
	}
	return i.reply(), nil
}

func (c *Cluster) SetAttr(_ context.Context, r *pb.SetAttrRequest) (*pb.AttrReply, error) {
	i, err := c.inode(r.Inode)
	if err != nil {
		return nil, err
	}
	i.touch()
	if r.Mode != nil {
		i.attr.Mode = i.attr.Mode&unix.S_IFMT | *r.Mode
	}
	if r.Uid != nil {
		i.attr.Uid = *r.Uid
	}
	if r.Gid != nil {
		i.attr.Gid = *r.Gid
	}
	if r.Size != nil {
		c.truncate(i, *r.Size)
	}
	if r.Mtime != nil {
		i.setMtime(r.Mtime)
	}
	if t := r.Atime; t != nil {
		i.attr.AtimeSec, i.attr.AtimeNsec = t.Sec, t.Nsec
	}
	return i.reply(), nil
}

func (i *inode) setMtime(t *pb.TimeChange) {
	if i.modified(); !t.Now {
		i.attr.MtimeSec, i.attr.MtimeNsec = t.Sec, t.Nsec
	}
}

func (c *Cluster) truncate(i *inode, size uint64) {
	i.attr.Size = size
	i.modified()
	for index := range i.chunks {
		if index*c.opts.ChunkSize >= size {
			c.free(i, index)
		}
	}
}

func (c *Cluster) ReadDir(_ context.Context, r *pb.ReadDirRequest) (*pb.ReadDirReply, error) {
	reply, err := c.page(r, r.Inode, r.Cookie, &pb.ReadDirReply{})
	if err != nil || !reply.End {
		return reply, err
	}
	dirs, most := r.Also, len(r.Also)
	if r.Deep > 0 {
		dirs, most = append(directories(reply), dirs...), int(r.Deep)
	}
	for ; len(dirs) > 0 && len(reply.Also) < most; dirs = dirs[1:] {
		page, err := c.page(r, dirs[0], 0, reply)
		if err != nil || !page.End {
			continue
		}
		page.Inode = dirs[0]
		reply.Also = append(reply.Also, page)
		if r.Deep > 0 {
			dirs = append(dirs, directories(page)...)
		}
	}
	return reply, nil
}

func directories(page *pb.ReadDirReply) (dirs []uint64) {
	for _, e := range page.Entries {
		if e.Type == unix.S_IFDIR {
			dirs = append(dirs, e.Inode)
		}
	}
	return dirs
}

// page lists a directory; nodes are noted in the answer that it is for.
func (c *Cluster) page(r *pb.ReadDirRequest, ino, cookie uint64, answer *pb.ReadDirReply) (*pb.ReadDirReply, error) {
	dir, err := c.dir(ino)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(dir.entries))
	for name := range dir.entries {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return int(int64(dir.entries[a]) - int64(dir.entries[b])) })
	reply := &pb.ReadDirReply{}
	if ino == r.Inode {
		reply = answer
	}
	reply.Parent, reply.End = dir.parent, true
	for _, name := range names {
		id := dir.entries[name]
		if id+3 <= cookie {
			continue
		}
		if len(reply.Entries) == 10 { // small pages, so that callers must go on
			reply.End = false
			break
		}
		e := &pb.DirEntry{Name: []byte(name), Inode: id, Type: c.inodes[id].attr.Mode & unix.S_IFMT, Cookie: id + 3}
		if r.Attrs {
			e.Attr = c.inodes[id].copyAttr()
			if r.First {
				e.First = packed(answer, c.first(c.inodes[id]))
			}
		}
		reply.Entries = append(reply.Entries, e)
	}
	return reply, nil
}

func (c *Cluster) ReadLink(_ context.Context, r *pb.ReadLinkRequest) (*pb.ReadLinkReply, error) {
	i, err := c.inode(r.Inode)
	if err != nil {
		return nil, err
	}
	return &pb.ReadLinkReply{Target: i.target}, nil
}

func (c *Cluster) Mkdir(_ context.Context, r *pb.MkdirRequest) (*pb.AttrReply, error) {
	i, err := c.make(r.Parent, r.Name, unix.S_IFDIR|r.Mode, r.Caller)
	if err != nil {
		return nil, err
	}
	return i.reply(), nil
}

// Link implements pb.MasterServer.
func (c *Cluster) Link(_ context.Context, r *pb.LinkRequest) (*pb.AttrReply, error) {
	i, err := c.inode(r.Inode)
	if err != nil {
		return nil, err
	}
	dir, err := c.dir(r.Parent)
	switch {
	case err != nil:
		return nil, err
	case dir.entries[string(r.Name)] != 0:
		return nil, proto.Exists
	}
	dir.entries[string(r.Name)] = r.Inode
	dir.touch()
	i.attr.Nlink++
	i.touch()
	return i.reply(), nil
}

func (c *Cluster) Symlink(_ context.Context, r *pb.SymlinkRequest) (*pb.AttrReply, error) {
	i, err := c.make(r.Parent, r.Name, unix.S_IFLNK|0o777, r.Caller)
	if err != nil {
		return nil, err
	}
	i.target = r.Target
	i.attr.Size = uint64(len(r.Target))
	return i.reply(), nil
}

func (c *Cluster) Unlink(_ context.Context, r *pb.UnlinkRequest) (*pb.UnlinkReply, error) {
	i, err := c.entry(r.Parent, r.Name)
	switch {
	case err != nil:
		return nil, err
	case i.is(unix.S_IFDIR):
		return nil, proto.IsDir
	}
	delete(c.inodes[r.Parent].entries, string(r.Name))
	c.inodes[r.Parent].touch()
	c.loseName(i)
	return &pb.UnlinkReply{Inode: i.attr.Inode, Nlink: i.attr.Nlink}, nil
}

// loseName takes a name from a file.
func (c *Cluster) loseName(i *inode) {
	i.attr.Nlink--
	i.touch()
	c.reap(i)
}

// reap frees what has no name and is not open. Leases on it are asked for first, which may
// hide opens.
func (c *Cluster) reap(i *inode) {
	for _, s := range c.sessions {
		if s.opens[i.attr.Inode] > 0 || s.here[i.attr.Inode] {
			return
		}
	}
	if i.attr.Nlink == 0 && !c.recall(nil, i.attr.Inode, pb.LeaseMode_LEASE_NONE, true) {
		c.truncate(i, 0)
		delete(c.inodes, i.attr.Inode)
	}
}

func (c *Cluster) Rmdir(_ context.Context, r *pb.UnlinkRequest) (*pb.UnlinkReply, error) {
	i, err := c.entry(r.Parent, r.Name)
	switch {
	case err != nil:
		return nil, err
	case !i.is(unix.S_IFDIR):
		return nil, proto.NotDir
	case len(i.entries) > 0:
		return nil, proto.NotEmpty
	}
	delete(c.inodes[r.Parent].entries, string(r.Name))
	c.inodes[r.Parent].touch()
	delete(c.inodes, i.attr.Inode)
	return &pb.UnlinkReply{Inode: i.attr.Inode}, nil
}

func (c *Cluster) Rename(_ context.Context, r *pb.RenameRequest) (*pb.RenameReply, error) {
	i, err := c.entry(r.Parent, r.Name)
	if err != nil {
		return nil, err
	}
	to, err := c.dir(r.NewParent)
	if err != nil {
		return nil, err
	}
	reply := &pb.RenameReply{Inode: i.attr.Inode}
	delete(c.inodes[r.Parent].entries, string(r.Name))
	c.inodes[r.Parent].touch()
	if to != c.inodes[r.Parent] {
		to.touch()
	}
	if old := c.inodes[to.entries[string(r.NewName)]]; old != nil && old != i {
		reply.Replaced = old.attr.Inode
		c.loseName(old)
	}
	to.entries[string(r.NewName)] = i.attr.Inode
	i.touch()
	return reply, nil
}

func (c *Cluster) GetXattr(_ context.Context, r *pb.GetXattrRequest) (*pb.GetXattrReply, error) {
	i, err := c.inode(r.Inode)
	if err != nil {
		return nil, err
	}
	value, ok := i.xattrs[string(r.Name)]
	if !ok {
		return nil, proto.NoAttr
	}
	return &pb.GetXattrReply{Value: value}, nil
}

func (c *Cluster) ListXattr(_ context.Context, r *pb.GetAttrRequest) (*pb.ListXattrReply, error) {
	i, err := c.inode(r.Inode)
	if err != nil {
		return nil, err
	}
	reply := &pb.ListXattrReply{}
	for name := range i.xattrs {
		reply.Names = append(reply.Names, []byte(name))
	}
	slices.SortFunc(reply.Names, func(a, b []byte) int { return strings.Compare(string(a), string(b)) })
	return reply, nil
}

func (c *Cluster) SetXattr(_ context.Context, r *pb.SetXattrRequest) (*pb.AttrReply, error) {
	i, err := c.inode(r.Inode)
	if err != nil {
		return nil, err
	}
	i.xattrs[string(r.Name)] = r.Value
	i.touch()
	return i.reply(), nil
}

func (c *Cluster) StatFS(context.Context, *pb.StatFSRequest) (*pb.StatFSReply, error) {
	return &pb.StatFSReply{TotalBytes: 1 << 40, FreeBytes: 1 << 39, Inodes: uint64(len(c.inodes)), FreeInodes: 1 << 30}, nil
}

func (c *Cluster) Status(context.Context, *pb.StatusRequest) (*pb.StatusReply, error) {
	return &pb.StatusReply{Cluster: c.id.String(), ChunkSize: c.opts.ChunkSize}, nil
}
