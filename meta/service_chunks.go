package meta

import (
	"context"
	"fmt"
	"math"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// The calls about chunks. A location always names the whole logged chain in write
// order. A member without a good replica at present has no address: nobody reads
// there, and a writer, who needs them all, reports the chain as failed and gets one
// that works.

// Bounds of the requests.
const (
	maxLocations = 1024
	maxAssign    = 64
	maxCommit    = 1 << 14
)

// locate is a chunk's location as clients get it.
func (m *Master) locate(c state.Chunk) *pb.ChunkLocation {
	members := m.members(c)
	may := readable(c, members, m.giveUp())
	hidden := m.work.isUnlike(c.ID) || m.renewals.hides(c.ID)
	location := &pb.ChunkLocation{Index: c.Index, Chunk: uint64(c.ID), Version: uint64(c.Version), Committed: c.Committed, Shared: c.Shared()}
	for i, member := range members {
		replica := &pb.Replica{Node: uint32(member.Node)}
		if may[i] && !hidden {
			replica.Address = member.Address
		}
		location.Chain = append(location.Chain, replica)
	}
	return location
}

// locations are those of a file's chunks at first <= index < first+count. Chain and
// standing of a chunk are read at one moment.
func (m *Master) locations(st *state.State, ino proto.InodeID, first uint64, count int) (list []*pb.ChunkLocation, kind proto.Kind) {
	kind = st.FileChunks(ino, first, count, func(c state.Chunk) bool {
		list = append(list, m.locate(c))
		return true
	})
	return list, kind
}

// locationsOverHoles are those of the first count chunks from an index on.
func (m *Master) locationsOverHoles(st *state.State, ino proto.InodeID, first uint64, count int) (list []*pb.ChunkLocation, kind proto.Kind) {
	kind = st.FileChunks(ino, first, math.MaxInt, func(c state.Chunk) bool {
		list = append(list, m.locate(c))
		return len(list) < count
	})
	return list, kind
}

// GetChunkLocation tells where chunks of a file are.
func (m *Master) GetChunkLocation(ctx context.Context, req *pb.GetChunkLocationRequest) (*pb.ChunkLocations, error) {
	r, err := m.enter(req.Caller, "locate chunks of", inodeName(req.Inode))
	if err != nil {
		return nil, err
	}
	if req.Count == 0 || req.Count > maxLocations {
		return nil, r.fail(proto.Invalid, "count is 1 to 1024")
	}
	find := m.locations
	if req.OverHoles {
		find = m.locationsOverHoles
	}
	defer m.leave(r)
	reply, ino := &pb.ChunkLocations{}, proto.InodeID(req.Inode)
	err = m.observe(ctx, r, func(st *state.State) (kind proto.Kind) {
		r.name(ino)
		reply.Chunks, kind = find(st, ino, req.First, int(req.Count))
		return kind
	})
	reply.Grants = r.grants
	return reply, err
}

// mayWrite is the check before a file's chunks are changed: the session has it open
// for writing, or the caller may write to it.
func (m *Master) mayWrite(st *state.State, r *request, ino proto.InodeID) proto.Kind {
	attr, kind := st.Attr(ino)
	switch {
	case kind != proto.OK:
		return kind
	case attr.Mode&typeMask != regular:
		return proto.Invalid
	case m.sessions.writable(r.session, ino):
		return proto.OK
	}
	return st.Access(ino, r.cred, 2)
}

// AssignChunk gives a file chunks to write to. One that is there already is the answer,
// unless it is shared.
func (m *Master) AssignChunk(ctx context.Context, req *pb.AssignChunkRequest) (*pb.ChunkLocations, error) {
	r, leave, err := m.enterChange(ctx, req.Caller, "assign chunks to", inodeName(req.Inode))
	if err != nil {
		return nil, err
	}
	defer leave()
	ino, count := proto.InodeID(req.Inode), int(req.Count)
	if count == 0 || count > maxAssign {
		return nil, r.fail(proto.Invalid, "count is 1 to 64")
	}
	if last := m.cluster.LastChunk(); req.First > last || uint64(count)-1 > last-req.First {
		return nil, r.fail(proto.FileTooBig, "")
	}
	count, err = m.unshareFirst(ctx, r, ino, req.First, count)
	if err != nil {
		return nil, err
	}
	if err := m.secure(ctx, r, r.exists(ino)); err != nil {
		return nil, err
	}
	there, err := m.assigned(r, ino, req.First, count)
	if err != nil {
		return nil, err
	}
	if len(there) < count {
		chains, err := m.chainsFor(there, req.First, count)
		if err != nil {
			return nil, r.wrap(err)
		}
		c := &state.AssignChunks{Header: m.header(r), Inode: ino, First: req.First, Chains: chains}
		if _, err := m.change(ctx, r, c, r.exists(ino)); err != nil {
			return nil, err
		}
	}
	reply, kind := &pb.ChunkLocations{}, proto.OK
	m.attest(r, func(st *state.State) {
		r.name(ino)
		reply.Chunks, kind = m.locations(st, ino, req.First, count)
	})
	reply.Grants = r.grants
	return reply, r.fail(kind, "")
}

// assigned gives the chains that are there already, by index, and makes the caller a
// writer of those chunks. What a dead writer left is dropped and not there.
func (m *Master) assigned(r *request, ino proto.InodeID, first uint64, count int) (map[uint64][]proto.NodeID, error) {
	there := map[uint64][]proto.NodeID{}
	drop := &state.DropAssigned{Inode: ino}
	var kind proto.Kind
	m.machine.read(func(st *state.State) {
		if kind = m.mayWrite(st, r, ino); kind != proto.OK {
			return
		}
		kind = st.FileChunks(ino, first, count, func(c state.Chunk) bool {
			switch {
			case c.Committed:
				there[c.Index] = c.Chain
			case m.writers.abandoned(c.ID, m.sessions.lives):
				drop.Chunks = append(drop.Chunks, c.ID)
			default:
				m.writers.assigned(c.ID, r.session.id, 0)
				there[c.Index] = c.Chain
			}
			return true
		})
	})
	if kind != proto.OK {
		return nil, r.fail(kind, "")
	}
	if len(drop.Chunks) > 0 {
		if _, err := m.propose(drop); err != nil {
			return nil, r.wrap(err)
		}
	}
	return there, nil
}

// chainsFor places the chunks that are not there yet.
func (m *Master) chainsFor(there map[uint64][]proto.NodeID, first uint64, count int) ([][]proto.NodeID, error) {
	chains := make([][]proto.NodeID, count)
	for i := range chains {
		chain, ok := there[first+uint64(i)]
		if !ok {
			var err error
			if chain, err = m.nodes.Place(int(m.cluster.Replicas), int(m.cluster.MinReplicas)); err != nil {
				return nil, err
			}
		}
		chains[i] = chain
	}
	return chains, nil
}

// Commit makes written data part of the file.
func (m *Master) Commit(ctx context.Context, req *pb.CommitRequest) (*pb.AttrReply, error) {
	r, leave, err := m.enterChange(ctx, req.Caller, "commit", inodeName(req.Inode))
	if err != nil {
		return nil, err
	}
	defer leave()
	if len(req.Chunks) > maxCommit {
		return nil, r.fail(proto.TooLarge, "too many chunks in one commit")
	}
	c := &state.Commit{Header: m.header(r), Inode: proto.InodeID(req.Inode), Size: req.Size}
	for _, id := range req.Chunks {
		c.Chunks = append(c.Chunks, proto.ChunkID(id))
	}
	mtime, set, now, kind := timeOf(req.Mtime)
	if kind != proto.OK {
		return nil, r.fail(kind, "")
	}
	if c.Mtime = mtime; !set || now {
		c.Mtime = c.Now
	}
	result, err := m.change(ctx, r, c, func(st *state.State) proto.Kind {
		r.name(c.Inode)
		return m.mayWrite(st, r, c.Inode)
	})
	if err != nil {
		return nil, err
	}
	return m.changed(r, c.Inode, result.Attr), nil
}

// ReportCorrupt takes a replica out of service whose bytes did not match.
func (m *Master) ReportCorrupt(_ context.Context, req *pb.ReportCorruptRequest) (*pb.ReportCorruptReply, error) {
	r, err := m.enter(req.Caller, "report corrupt replica of", fmt.Sprintf("chunk %v", proto.ChunkID(req.Chunk)))
	if err != nil {
		return nil, err
	}
	if r.session == nil {
		return nil, r.fail(proto.SessionExpired, "a report needs a session")
	}
	m.machine.read(func(st *state.State) {
		c, ok := st.Chunk(proto.ChunkID(req.Chunk))
		if ok && c.Version == proto.Version(req.Version) && m.nodes.Accuse(c, proto.NodeID(req.Node)) {
			m.log.Warn("corrupt replica reported", "chunk", c.ID, "version", c.Version, "node", req.Node, "by", r.session.client, "reason", req.Reason)
			m.wakeRepair() // L13
		}
	})
	return &pb.ReportCorruptReply{}, nil
}

func chunkName(c state.Chunk) string { return fmt.Sprintf("chunk %v version %d", c.ID, c.Version) }
