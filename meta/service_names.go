package meta

import (
	"context"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// The calls that make, move and remove names.

// absent is the check before a name is made: the parent takes it, and it is free.
func (r *request) absent(st *state.State, parent proto.InodeID, name []byte) proto.Kind {
	switch _, kind := st.Lookup(parent, name, r.cred); kind {
	case proto.OK:
		return proto.Exists
	case proto.NotFound:
		r.name(parent)
		return st.Access(parent, r.cred, 2|1)
	default:
		return kind
	}
}

// removable is the check before a name is taken away.
func (r *request) removable(st *state.State, parent proto.InodeID, name []byte) proto.Kind {
	attr, kind := st.Lookup(parent, name, r.cred)
	if kind != proto.OK {
		return kind
	}
	r.name(parent)
	r.name(attr.Inode)
	return st.Access(parent, r.cred, 2|1)
}

// makeNode carries a Make out that is no file to be opened.
func (m *Master) makeNode(ctx context.Context, caller *pb.Caller, op string, c *state.Make) (*pb.AttrReply, error) {
	r, leave, err := m.enterChange(ctx, caller, op, entryName(uint64(c.Parent), c.Name))
	if err != nil {
		return nil, err
	}
	defer leave()
	c.Header = m.header(r)
	result, err := m.change(ctx, r, c, func(st *state.State) proto.Kind { return r.absent(st, c.Parent, c.Name) })
	if err != nil {
		return nil, err
	}
	return m.named(r, c.Parent, c.Name, result.Attr), nil
}

// named is the answer to a change that gave an inode a name.
func (m *Master) named(r *request, parent proto.InodeID, name []byte, attr state.Attr) *pb.AttrReply {
	change := m.attestName(r, parent, name, &attr)
	return &pb.AttrReply{Attr: attrOf(attr), Grants: r.grants, ParentChange: change}
}

// Mkdir makes a directory.
func (m *Master) Mkdir(ctx context.Context, req *pb.MkdirRequest) (*pb.AttrReply, error) {
	return m.makeNode(ctx, req.Caller, "mkdir", &state.Make{
		Parent: proto.InodeID(req.Parent), Name: req.Name,
		Mode: directory | req.Mode&permBits, Umask: req.Caller.GetUmask(),
	})
}

// Mknod makes a file, FIFO, socket or device.
func (m *Master) Mknod(ctx context.Context, req *pb.MknodRequest) (*pb.AttrReply, error) {
	if kind := req.Mode & typeMask; kind == directory || kind == symlink {
		return nil, proto.E(proto.Invalid, "mknod", entryName(req.Parent, req.Name), "directories and symlinks have calls of their own")
	}
	return m.makeNode(ctx, req.Caller, "mknod", &state.Make{
		Parent: proto.InodeID(req.Parent), Name: req.Name, Rdev: req.Rdev,
		Mode: req.Mode & (typeMask | permBits), Umask: req.Caller.GetUmask(),
	})
}

// Symlink makes a symlink.
func (m *Master) Symlink(ctx context.Context, req *pb.SymlinkRequest) (*pb.AttrReply, error) {
	return m.makeNode(ctx, req.Caller, "symlink", &state.Make{
		Parent: proto.InodeID(req.Parent), Name: req.Name, Mode: symlink | 0o777, Target: req.Target,
	})
}

// Link gives an inode another name.
func (m *Master) Link(ctx context.Context, req *pb.LinkRequest) (*pb.AttrReply, error) {
	r, leave, err := m.enterChange(ctx, req.Caller, "link", entryName(req.Parent, req.Name))
	if err != nil {
		return nil, err
	}
	defer leave()
	c := &state.Link{Header: m.header(r), Inode: proto.InodeID(req.Inode), Parent: proto.InodeID(req.Parent), Name: req.Name}
	result, err := m.change(ctx, r, c, func(st *state.State) proto.Kind {
		r.name(c.Inode)
		return r.absent(st, c.Parent, c.Name)
	})
	if err != nil {
		return nil, err
	}
	return m.named(r, c.Parent, c.Name, result.Attr), nil
}

// Unlink takes the name of anything but a directory away.
func (m *Master) Unlink(ctx context.Context, req *pb.UnlinkRequest) (*pb.UnlinkReply, error) {
	return m.unlink(ctx, req, "unlink", false)
}

// Rmdir removes an empty directory.
func (m *Master) Rmdir(ctx context.Context, req *pb.UnlinkRequest) (*pb.UnlinkReply, error) {
	return m.unlink(ctx, req, "rmdir", true)
}

func (m *Master) unlink(ctx context.Context, req *pb.UnlinkRequest, op string, dir bool) (*pb.UnlinkReply, error) {
	r, leave, err := m.enterChange(ctx, req.Caller, op, entryName(req.Parent, req.Name))
	if err != nil {
		return nil, err
	}
	defer leave()
	c := &state.Unlink{Header: m.header(r), Parent: proto.InodeID(req.Parent), Name: req.Name, Dir: dir}
	result, err := m.change(ctx, r, c, func(st *state.State) proto.Kind { return r.removable(st, c.Parent, c.Name) })
	if err != nil {
		return nil, err
	}
	reply := &pb.UnlinkReply{Inode: uint64(result.Inode), Nlink: result.Nlink}
	m.machine.read(func(st *state.State) { reply.ParentChange = changeWithout(st, c.Parent, c.Name) })
	return reply, nil
}

// Rename moves a name, or swaps two.
func (m *Master) Rename(ctx context.Context, req *pb.RenameRequest) (*pb.RenameReply, error) {
	r, leave, err := m.enterChange(ctx, req.Caller, "rename", entryName(req.Parent, req.Name)+" to "+entryName(req.NewParent, req.NewName))
	if err != nil {
		return nil, err
	}
	defer leave()
	if req.NoReplace && req.Exchange {
		return nil, r.fail(proto.Invalid, "no-replace and exchange exclude each other") // L14
	}
	c := &state.Rename{
		Header: m.header(r), Parent: proto.InodeID(req.Parent), Name: req.Name,
		NewParent: proto.InodeID(req.NewParent), NewName: req.NewName, NoReplace: req.NoReplace, Exchange: req.Exchange,
	}
	result, err := m.change(ctx, r, c, func(st *state.State) proto.Kind {
		if target, kind := st.Lookup(c.NewParent, c.NewName, r.cred); kind == proto.OK {
			r.name(target.Inode)
		}
		r.name(c.NewParent)
		return r.removable(st, c.Parent, c.Name)
	})
	if err != nil {
		return nil, err
	}
	reply := &pb.RenameReply{Inode: uint64(result.Inode), Replaced: uint64(result.Replaced)}
	m.machine.read(func(st *state.State) { renamed(st, c, reply) })
	return reply, nil
}
