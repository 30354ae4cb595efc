package meta

import (
	"context"
	"math"
	"slices"

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
	maxAlso       = 64 // directories beside the one that is asked for
	maxDirBytes   = 1 << 20
	dirEntryBytes = 32  // of an entry beside its name, about
	dirAttrBytes  = 100 // of its attributes, about
	dirFirstBytes = 20  // of its first chunk, about
)

// ReadDir gives a page of a directory's entries, without "." and "..".
func (m *Master) ReadDir(ctx context.Context, req *pb.ReadDirRequest) (*pb.ReadDirReply, error) {
	var reply *pb.ReadDirReply
	ino := proto.InodeID(req.Inode)
	grants, err := m.look(ctx, req.Caller, "read directory", inodeName(req.Inode), func(r *request, st *state.State) (kind proto.Kind) {
		if len(req.Also) > maxAlso || req.Deep > maxAlso {
			return proto.TooLarge
		}
		if r.name(ino); req.Alone {
			r.alone = ino
		}
		p := m.newPager(req)
		if reply, kind = p.page(st, r.cred, ino, req.Cookie); kind != proto.OK {
			return kind
		}
		if reply.End {
			reply.Also = p.others(st, r.cred, reply)
		}
		reply.Nodes = p.nodes.list
		r.entries, r.also = reply.Entries, reply.Also
		r.entriesAlone, r.recalls = req.Alone, req.Recall
		return proto.OK
	})
	if err != nil {
		return nil, err
	}
	reply.Grants = grants
	reply.Also = slices.DeleteFunc(reply.Also, func(l *pb.ReadDirReply) bool { return !l.End })
	return reply, nil
}

// pager fills an answer with entries, until there is no more room.
type pager struct {
	m       *Master
	req     *pb.ReadDirRequest
	entries int // that may follow
	size    int // of what may follow
	nodes   nodeList
}

func (m *Master) newPager(req *pb.ReadDirRequest) *pager {
	return &pager{m: m, req: req, entries: bounded(req.MaxEntries, maxDirEntries), size: bounded(req.MaxBytes, maxDirBytes)}
}

// page lists a directory, behind a cookie. One entry always finds room.
func (p *pager) page(st *state.State, cred state.Cred, ino proto.InodeID, cookie uint64) (*pb.ReadDirReply, proto.Kind) {
	if kind := st.Access(ino, cred, 4); kind != proto.OK {
		return nil, kind
	}
	parent, kind := st.Parent(ino)
	if kind != proto.OK {
		return nil, kind
	}
	page := &pb.ReadDirReply{Parent: uint64(parent), Change: changeOf(st, ino), End: true}
	kind = st.ReadDir(ino, cookie, func(e state.DirEntry) bool {
		entry, cost := p.entry(st, e)
		if len(page.Entries) > 0 && (p.entries <= 0 || cost > p.size) {
			page.End = false
			return false
		}
		p.entries--
		p.size -= cost
		page.Entries = append(page.Entries, entry)
		return true
	})
	return page, kind
}

// others lists directories beside one, as long as there is room. Which of them may be granted, and so
// told, is seen later.
func (p *pager) others(st *state.State, cred state.Cred, first *pb.ReadDirReply) (list []*pb.ReadDirReply) {
	dirs, most := p.req.Also, len(p.req.Also)
	if p.req.Deep > 0 {
		dirs, most = append(subdirectories(first), dirs...), int(p.req.Deep)
	}
	for ; len(dirs) > 0 && len(list) < most; dirs = dirs[1:] {
		page, kind := p.page(st, cred, proto.InodeID(dirs[0]), 0)
		if kind != proto.OK {
			continue // whoever asks for it by itself hears why
		}
		if !page.End || p.entries < 0 || p.size < 0 {
			break
		}
		page.Inode = dirs[0]
		list = append(list, page)
		if p.req.Deep > 0 {
			dirs = append(dirs, subdirectories(page)...)
		}
	}
	return list
}

func subdirectories(page *pb.ReadDirReply) (dirs []uint64) {
	for _, e := range page.Entries {
		if e.Type == directory {
			dirs = append(dirs, e.Inode)
		}
	}
	return dirs
}

func (p *pager) entry(st *state.State, e state.DirEntry) (entry *pb.DirEntry, cost int) {
	cost = dirEntryBytes + len(e.Name)
	entry = &pb.DirEntry{Name: append([]byte(nil), e.Name...), Inode: uint64(e.Inode), Type: e.Type, Cookie: e.Cookie}
	if !p.req.Attrs {
		return entry, cost
	}
	if attr, kind := st.Attr(e.Inode); kind == proto.OK {
		entry.Attr = attrOf(attr)
		if p.req.First {
			entry.First = p.nodes.pack(p.m.first(st, &attr))
			cost += dirFirstBytes
		}
	}
	return entry, cost + dirAttrBytes
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
