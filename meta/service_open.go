package meta

import (
	"context"
	"syscall"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// The calls about open files: Create, Open, Release.

// Create makes a regular file, or opens the one that is there.
func (m *Master) Create(ctx context.Context, req *pb.CreateRequest) (*pb.CreateReply, error) {
	r, leave, err := m.enterChange(ctx, req.Caller, "create", entryName(req.Parent, req.Name))
	if err != nil {
		return nil, err
	}
	defer leave()
	c := &state.Make{
		Header: m.header(r), Parent: proto.InodeID(req.Parent), Name: req.Name,
		Mode: regular | req.Mode&permBits, Umask: req.Caller.GetUmask(),
	}
	if req.Assign {
		c.Chain = m.chainAhead()
	}
	result, err := m.change(ctx, r, c, func(st *state.State) proto.Kind { return r.absent(st, c.Parent, c.Name) })
	switch {
	case proto.KindOf(err) == proto.Exists && !req.Exclusive:
		return m.createExisting(ctx, r, req)
	case err != nil:
		return nil, err
	}
	reply := &pb.CreateReply{Created: result.Attr.Btime == result.Attr.Ctime}
	if len(result.Chunks) > 0 {
		reply.Chunk = m.locate(result.Chunks[0])
	}
	if req.Open {
		if _, err := m.countOpen(r, result.Attr.Inode, forWriting(req.Flags)); err != nil {
			return nil, err
		}
		r.alone = result.Attr.Inode
	}
	reply.ParentChange = m.attestName(r, c.Parent, c.Name, &result.Attr)
	reply.Attr, reply.Grants = attrOf(result.Attr), r.grants
	return reply, nil
}

// CreateUnnamed makes a file without a name and opens it.
func (m *Master) CreateUnnamed(ctx context.Context, req *pb.CreateUnnamedRequest) (*pb.CreateReply, error) {
	r, leave, err := m.enterChange(ctx, req.Caller, "create without a name", "in "+inodeName(req.Parent))
	if err != nil {
		return nil, err
	}
	defer leave()
	c := &state.MakeUnnamed{
		Header: m.header(r), Parent: proto.InodeID(req.Parent),
		Mode: req.Mode & permBits, Umask: req.Caller.GetUmask(), Chain: m.chainAhead(),
	}
	result, err := m.change(ctx, r, c, func(st *state.State) proto.Kind { return st.Access(c.Parent, r.cred, 2|1) })
	if err != nil {
		return nil, err
	}
	// It is an orphan that nobody has open for a moment; the reaper looks twice.
	if kind := m.sessions.opened(r, result.Attr.Inode, forWriting(req.Flags), false); kind != proto.OK {
		return nil, r.fail(kind, "")
	}
	r.alone = result.Attr.Inode
	m.attestInode(r, result.Attr.Inode, &result.Attr)
	reply := &pb.CreateReply{Attr: attrOf(result.Attr), Created: true, Grants: r.grants}
	if len(result.Chunks) > 0 {
		reply.Chunk = m.locate(result.Chunks[0])
	}
	return reply, nil
}

// chainAhead places chunk 0 of a file that is about to be made. Without a place the
// file is made all the same; the first write will say what is missing.
func (m *Master) chainAhead() []proto.NodeID {
	chain, err := m.nodes.Place(int(m.cluster.Replicas), int(m.cluster.MinReplicas))
	if err != nil {
		return nil
	}
	return chain
}

// createExisting is Create without O_EXCL of a name that is taken.
func (m *Master) createExisting(ctx context.Context, r *request, req *pb.CreateRequest) (*pb.CreateReply, error) {
	parent := proto.InodeID(req.Parent)
	var attr state.Attr
	err := m.observe(ctx, r, func(st *state.State) (kind proto.Kind) {
		if attr, kind = st.Lookup(parent, req.Name, r.cred); kind != proto.OK {
			return kind
		}
		r.name(attr.Inode)
		return mayOpen(st, attr, r.cred, req.Flags, req.Truncate)
	})
	if proto.KindOf(err) == proto.NotFound {
		return nil, r.fail(proto.Unavailable, "the name is being removed and made again; try again")
	}
	if err != nil {
		return nil, err
	}
	if req.Open {
		if attr, err = m.countOpen(r, attr.Inode, forWriting(req.Flags)); err != nil {
			return nil, err
		}
	}
	if req.Truncate && attr.Mode&typeMask == regular {
		if attr, err = m.truncateOpened(ctx, r, attr.Inode); err != nil {
			return nil, err
		}
	}
	if req.Open && forWriting(req.Flags) {
		r.alone = attr.Inode
	}
	change := m.attestName(r, parent, req.Name, &attr)
	return &pb.CreateReply{Attr: attrOf(attr), Grants: r.grants, ParentChange: change}, nil
}

// mayOpen checks what open(2) checks.
func mayOpen(st *state.State, attr state.Attr, cred state.Cred, flags uint32, truncate bool) proto.Kind {
	mask := accessMask(flags)
	if truncate {
		mask |= 2
	}
	if attr.Mode&typeMask == directory && mask&2 != 0 {
		return proto.IsDir
	}
	if attr.Mode&typeMask == symlink {
		return proto.Loop // the client resolves symlinks
	}
	return st.Access(attr.Inode, cred, mask)
}

// countOpen counts an open of the session, and gives the attributes at that moment:
// from then on the inode stays.
func (m *Master) countOpen(r *request, ino proto.InodeID, writable bool) (attr state.Attr, err error) {
	m.machine.read(func(st *state.State) {
		var kind proto.Kind
		if attr, kind = st.Attr(ino); kind == proto.OK {
			kind = m.sessions.opened(r, ino, writable, attr.Nlink == 0)
		}
		err = r.fail(kind, "")
	})
	if err == nil && writable {
		m.writtenTo(ino)
	}
	if err == nil && m.sharings.wait(ino) { // as it is since
		m.machine.read(func(st *state.State) { attr, _ = st.Attr(ino) })
	}
	return attr, err
}

// truncateOpened is O_TRUNC, once for each request. The slot in the log may hold the
// answer "exists" already, so it is this master's memory that tells: after a restart
// the open has not been answered yet, and truncating again does no harm.
func (m *Master) truncateOpened(ctx context.Context, r *request, ino proto.InodeID) (state.Attr, error) {
	if r.slot != nil && r.slot.truncated == r.caller.Sequence {
		var attr state.Attr
		var kind proto.Kind
		m.machine.read(func(st *state.State) { attr, kind = st.Attr(ino) })
		return attr, r.fail(kind, "")
	}
	if err := m.secure(ctx, r, r.exists(ino)); err != nil {
		return state.Attr{}, err
	}
	c := &state.SetAttr{Header: m.header(r), Inode: ino, Set: state.SetSize | state.SetOpened}
	c.Origin = state.Origin{}
	result, err := m.propose(c)
	if err == nil && r.slot != nil {
		r.slot.truncated = r.caller.Sequence
	}
	return result.Attr, r.wrap(err)
}

// maxOpenLocations is how many chunks an Open's answer carries at most.
const maxOpenLocations = 1024

// Open counts an open and gives attributes and the first locations.
func (m *Master) Open(ctx context.Context, req *pb.OpenRequest) (*pb.OpenReply, error) {
	r, leave, err := m.enterChange(ctx, req.Caller, "open", inodeName(req.Inode))
	if err != nil {
		return nil, err
	}
	defer leave()
	ino := proto.InodeID(req.Inode)
	truncate := req.Flags&syscall.O_TRUNC != 0
	err = m.observe(ctx, r, func(st *state.State) proto.Kind {
		attr, kind := st.Attr(ino)
		if kind != proto.OK {
			return kind
		}
		r.name(ino)
		return mayOpen(st, attr, r.cred, req.Flags, truncate)
	})
	if err != nil {
		return nil, err
	}
	attr, err := m.countOpen(r, ino, forWriting(req.Flags))
	if err == nil && truncate && attr.Mode&typeMask == regular {
		attr, err = m.truncateOpened(ctx, r, ino)
	}
	if err != nil {
		return nil, err
	}
	return m.opened(ctx, r, ino, req)
}

// opened is the answer to an open that was counted.
func (m *Master) opened(ctx context.Context, r *request, ino proto.InodeID, req *pb.OpenRequest) (*pb.OpenReply, error) {
	if forWriting(req.Flags) {
		r.alone = ino
	}
	reply := &pb.OpenReply{}
	err := m.observe(ctx, r, func(st *state.State) proto.Kind {
		attr, kind := st.Attr(ino)
		if kind != proto.OK {
			return kind
		}
		r.name(ino)
		reply.Attr, reply.Chunks = attrOf(attr), nil
		if count := min(req.Locations, maxOpenLocations); count > 0 && attr.Mode&typeMask == regular {
			reply.Chunks, kind = m.locations(st, ino, 0, int(count))
		}
		return kind
	})
	reply.Grants = r.grants
	return reply, err
}

// maxReleases bounds each list of one Release.
const maxReleases = 1 << 16

// Release takes opens off, and records what was read; what has no name and is not open
// any more is reaped soon.
func (m *Master) Release(ctx context.Context, req *pb.ReleaseRequest) (*pb.ReleaseReply, error) {
	r, leave, err := m.enterChange(ctx, req.Caller, "release", "")
	if err != nil {
		return nil, err
	}
	defer leave()
	if len(req.Closed) > maxReleases || len(req.Accessed) > maxReleases {
		return nil, r.fail(proto.TooLarge, "")
	}
	if kind := m.sessions.released(r, req.Closed); kind != proto.OK {
		return nil, r.fail(kind, "")
	}
	if err := m.recordAccess(req.Accessed); err != nil {
		return nil, r.wrap(err)
	}
	return &pb.ReleaseReply{}, nil
}

// recordAccess logs the reads that move an access time, if there are any. Doing it
// twice does no harm.
func (m *Master) recordAccess(reads []*pb.Access) error {
	var c state.Access
	m.machine.read(func(st *state.State) {
		for _, a := range reads {
			read := state.Read{Inode: proto.InodeID(a.Inode), At: state.Time{Sec: a.Sec, Nsec: a.Nsec}}
			if !a.Relative || st.AccessDue(read) {
				c.Reads = append(c.Reads, read)
			}
		}
	})
	if len(c.Reads) == 0 {
		return nil
	}
	_, err := m.propose(&c)
	return err
}
