package meta

import (
	"context"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// The calls that change one inode.

// exists is the check before an inode is changed.
func (r *request) exists(ino proto.InodeID) func(st *state.State) proto.Kind {
	return func(st *state.State) proto.Kind {
		r.name(ino)
		_, kind := st.Attr(ino)
		return kind
	}
}

// changed is the answer to a change of one inode.
func (m *Master) changed(r *request, ino proto.InodeID, attr state.Attr) *pb.AttrReply {
	m.attestInode(r, ino, &attr)
	return &pb.AttrReply{Attr: attrOf(attr), Grants: r.grants}
}

// SetAttr changes mode, owner, size and times.
func (m *Master) SetAttr(ctx context.Context, req *pb.SetAttrRequest) (*pb.AttrReply, error) {
	r, leave, err := m.enterChange(ctx, req.Caller, "set attributes of", inodeName(req.Inode))
	if err != nil {
		return nil, err
	}
	defer leave()
	c := &state.SetAttr{Header: m.header(r), Inode: proto.InodeID(req.Inode)}
	if kind := fillSetAttr(c, req); kind != proto.OK {
		return nil, r.fail(kind, "")
	}
	if c.Set&(state.SetSize|state.DropSetIDs|state.DropCapability) != 0 && m.sessions.writable(r.session, c.Inode) {
		c.Set |= state.SetOpened
	}
	result, err := m.change(ctx, r, c, r.exists(c.Inode))
	if err != nil {
		return nil, err
	}
	return m.changed(r, c.Inode, result.Attr), nil
}

func fillSetAttr(c *state.SetAttr, req *pb.SetAttrRequest) proto.Kind {
	number := func(mask state.AttrMask, to *uint32, from *uint32) {
		if from != nil {
			c.Set |= mask
			*to = *from
		}
	}
	number(state.SetMode, &c.Mode, req.Mode)
	number(state.SetUID, &c.UID, req.Uid)
	number(state.SetGID, &c.GID, req.Gid)
	if req.Size != nil {
		c.Set |= state.SetSize
		c.Size = *req.Size
	}
	if req.DropSetIds {
		c.Set |= state.DropSetIDs
	}
	if req.DropCapability {
		c.Set |= state.DropCapability
	}
	for _, change := range []struct {
		from       *pb.TimeChange
		to         *state.Time
		given, now state.AttrMask
	}{
		{req.Atime, &c.Atime, state.SetAtime, state.SetAtimeNow},
		{req.Mtime, &c.Mtime, state.SetMtime, state.SetMtimeNow},
	} {
		t, set, now, kind := timeOf(change.from)
		switch {
		case kind != proto.OK:
			return kind
		case now:
			c.Set |= change.now
		case set:
			c.Set |= change.given
			*change.to = t
		}
	}
	return proto.OK
}

// SetXattr sets an extended attribute.
func (m *Master) SetXattr(ctx context.Context, req *pb.SetXattrRequest) (*pb.AttrReply, error) {
	r, leave, err := m.enterChange(ctx, req.Caller, "set attribute of", inodeName(req.Inode))
	if err != nil {
		return nil, err
	}
	defer leave()
	c := &state.SetXattr{
		Header: m.header(r), Inode: proto.InodeID(req.Inode), Name: req.Name, Value: req.Value,
		Create: req.Create, Replace: req.Replace,
	}
	if len(req.Name) > state.MaxXattrName {
		return nil, r.fail(proto.Range, "")
	}
	if len(req.Value) > state.MaxXattrValue {
		return nil, r.fail(proto.TooBig, "")
	}
	result, err := m.change(ctx, r, c, r.exists(c.Inode))
	if err != nil {
		return nil, err
	}
	return m.changed(r, c.Inode, result.Attr), nil
}

// RemoveXattr removes an extended attribute.
func (m *Master) RemoveXattr(ctx context.Context, req *pb.RemoveXattrRequest) (*pb.AttrReply, error) {
	r, leave, err := m.enterChange(ctx, req.Caller, "remove attribute of", inodeName(req.Inode))
	if err != nil {
		return nil, err
	}
	defer leave()
	c := &state.RemoveXattr{Header: m.header(r), Inode: proto.InodeID(req.Inode), Name: req.Name}
	result, err := m.change(ctx, r, c, func(st *state.State) proto.Kind {
		r.name(c.Inode)
		_, kind := st.GetXattr(c.Inode, c.Name, state.Cred{})
		return kind
	})
	if err != nil {
		return nil, err
	}
	return m.changed(r, c.Inode, result.Attr), nil
}
