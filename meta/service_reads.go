package meta

import (
	"context"
	"math"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// The calls that only read.

// look enters a reading call and runs fn while nothing changes; as observe has it, fn
// names what it reads and may run several times. The grants are for the answer.
func (m *Master) look(ctx context.Context, caller *pb.Caller, op, subject string, fn func(r *request, st *state.State) proto.Kind) (*pb.Grants, error) {
	r, err := m.enter(caller, op, subject)
	if err != nil {
		return nil, err
	}
	defer m.leave(r)
	err = m.observe(ctx, r, func(st *state.State) proto.Kind { return fn(r, st) })
	return r.grants, err
}

// Lookup finds a name in a directory.
func (m *Master) Lookup(ctx context.Context, req *pb.LookupRequest) (*pb.AttrReply, error) {
	reply, parent := &pb.AttrReply{}, proto.InodeID(req.Parent)
	grants, err := m.look(ctx, req.Caller, "look up", entryName(req.Parent, req.Name), func(r *request, st *state.State) proto.Kind {
		attr, kind := st.Lookup(parent, req.Name, r.cred)
		switch {
		case kind == proto.OK:
			reply.Attr, reply.First = attrOf(attr), nil
			if req.First {
				reply.First = m.first(st, &attr)
			}
			r.name(attr.Inode)
		case kind == proto.NotFound && req.Absent:
			reply.Attr, reply.First = nil, nil
		default:
			return kind
		}
		reply.ParentChange = changeOf(st, parent)
		r.name(parent)
		return proto.OK
	})
	if err != nil {
		return nil, err
	}
	reply.Grants = grants
	return reply, nil
}

// GetAttr gives the attributes of an inode.
func (m *Master) GetAttr(ctx context.Context, req *pb.GetAttrRequest) (*pb.AttrReply, error) {
	var attr state.Attr
	grants, err := m.look(ctx, req.Caller, "get attributes of", inodeName(req.Inode), func(r *request, st *state.State) (kind proto.Kind) {
		if attr, kind = st.Attr(proto.InodeID(req.Inode)); kind == proto.OK {
			r.name(attr.Inode)
		}
		return kind
	})
	if err != nil {
		return nil, err
	}
	return &pb.AttrReply{Attr: attrOf(attr), Grants: grants}, nil
}

// ReadLink gives the target of a symlink.
func (m *Master) ReadLink(ctx context.Context, req *pb.ReadLinkRequest) (*pb.ReadLinkReply, error) {
	var reply pb.ReadLinkReply
	grants, err := m.look(ctx, req.Caller, "read link", inodeName(req.Inode), func(r *request, st *state.State) (kind proto.Kind) {
		if reply.Target, kind = st.ReadLink(proto.InodeID(req.Inode)); kind == proto.OK {
			r.name(proto.InodeID(req.Inode))
		}
		return kind
	})
	if err != nil {
		return nil, err
	}
	reply.Grants = grants
	return &reply, nil
}

// GetXattr gives the value of an extended attribute.
func (m *Master) GetXattr(ctx context.Context, req *pb.GetXattrRequest) (*pb.GetXattrReply, error) {
	var reply pb.GetXattrReply
	_, err := m.look(ctx, req.Caller, "get attribute of", inodeName(req.Inode), func(r *request, st *state.State) (kind proto.Kind) {
		r.name(proto.InodeID(req.Inode))
		reply.Value, kind = st.GetXattr(proto.InodeID(req.Inode), req.Name, r.cred)
		return kind
	})
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// ListXattr gives the names of the extended attributes.
func (m *Master) ListXattr(ctx context.Context, req *pb.GetAttrRequest) (*pb.ListXattrReply, error) {
	var reply pb.ListXattrReply
	_, err := m.look(ctx, req.Caller, "list attributes of", inodeName(req.Inode), func(r *request, st *state.State) (kind proto.Kind) {
		r.name(proto.InodeID(req.Inode))
		reply.Names, kind = st.ListXattr(proto.InodeID(req.Inode), r.cred)
		return kind
	})
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// Bounds of a page of a directory.
const (
	maxDirEntries = 4096
	maxDirBytes   = 1 << 20
	dirEntryBytes = 32  // of an entry beside its name, about
	dirAttrBytes  = 100 // of its attributes, about
	dirFirstBytes = 20  // of its first chunk, about
)

// ReadDir gives a page of a directory's entries, without "." and "..".
func (m *Master) ReadDir(ctx context.Context, req *pb.ReadDirRequest) (*pb.ReadDirReply, error) {
	reply := &pb.ReadDirReply{}
	ino := proto.InodeID(req.Inode)
	grants, err := m.look(ctx, req.Caller, "read directory", inodeName(req.Inode), func(r *request, st *state.State) proto.Kind {
		if kind := st.Access(ino, r.cred, 4); kind != proto.OK {
			return kind
		}
		parent, kind := st.Parent(ino)
		if kind != proto.OK {
			return kind
		}
		if r.name(ino); req.Alone {
			r.alone = ino
		}
		entries, size := bounded(req.MaxEntries, maxDirEntries), bounded(req.MaxBytes, maxDirBytes)
		reply.Reset()
		var nodes nodeList
		reply.Parent, reply.Change, reply.End = uint64(parent), changeOf(st, ino), true
		kind = st.ReadDir(ino, req.Cookie, func(e state.DirEntry) bool {
			cost := dirEntryBytes + len(e.Name)
			entry := &pb.DirEntry{Name: append([]byte(nil), e.Name...), Inode: uint64(e.Inode), Type: e.Type, Cookie: e.Cookie}
			if req.Attrs {
				if attr, kind := st.Attr(e.Inode); kind == proto.OK {
					entry.Attr = attrOf(attr)
					if req.First {
						entry.First = nodes.pack(m.first(st, &attr))
						cost += dirFirstBytes
					}
				}
				cost += dirAttrBytes
			}
			if len(reply.Entries) > 0 && (len(reply.Entries) >= entries || cost > size) {
				reply.End = false
				return false
			}
			size -= cost
			reply.Entries = append(reply.Entries, entry)
			return true
		})
		r.entries, reply.Nodes = reply.Entries, nodes.list
		r.entriesAlone, r.recalls = req.Alone, req.Recall
		return kind
	})
	if err != nil {
		return nil, err
	}
	reply.Grants = grants
	return reply, nil
}

// bounded reads a limit of a request: 0 stands for the largest.
func bounded(asked uint32, most int) int {
	if asked == 0 || int64(asked) > int64(most) {
		return most
	}
	return int(asked)
}

// StatFS counts usable space and inodes.
func (m *Master) StatFS(ctx context.Context, req *pb.StatFSRequest) (*pb.StatFSReply, error) {
	var stats state.Stats
	_, err := m.look(ctx, req.Caller, "stat filesystem", "", func(_ *request, st *state.State) proto.Kind {
		stats = st.Stats()
		return proto.OK
	})
	if err != nil {
		return nil, err
	}
	total, free := m.nodes.Space()
	inodes := stats.Files + stats.Directories + stats.Others
	return &pb.StatFSReply{
		TotalBytes: total / uint64(m.cluster.Replicas), FreeBytes: free / uint64(m.cluster.Replicas),
		Inodes: inodes, FreeInodes: math.MaxUint32 - min(inodes, math.MaxUint32),
	}, nil
}
