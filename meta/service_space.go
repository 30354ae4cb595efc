package meta

import (
	"context"
	"math"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Fallocate changes what space a file has. Room is asked for and never set aside:
// others may take it before it is written to.
func (m *Master) Fallocate(ctx context.Context, req *pb.FallocateRequest) (*pb.AttrReply, error) {
	r, leave, err := m.enterChange(ctx, req.Caller, "fallocate", inodeName(req.Inode))
	if err != nil {
		return nil, err
	}
	defer leave()
	if req.Length == 0 {
		return nil, r.fail(proto.Invalid, "an empty range")
	}
	if req.Offset > state.MaxFileSize || req.Length > state.MaxFileSize-req.Offset {
		return nil, r.fail(proto.FileTooBig, "")
	}
	c := &state.Fallocate{Header: m.header(r), Inode: proto.InodeID(req.Inode), Size: req.Size}
	if req.Hole {
		c.Offset, c.Length = req.Offset, req.Length
		// Whoever else has the file open may have sent bytes behind the end of it,
		// that become part of the file with his next commit.
		c.Tail = m.sessions.isOpenOnlyBy(r.session, c.Inode)
	}
	result, err := m.change(ctx, r, c, func(st *state.State) proto.Kind {
		r.name(c.Inode)
		if kind := m.mayWrite(st, r, c.Inode); kind != proto.OK || req.Hole {
			return kind
		}
		return m.roomFor(st, c.Inode, req.Offset, req.Length)
	})
	if err != nil {
		return nil, err
	}
	return m.changed(r, c.Inode, result.Attr), nil
}

// roomFor says whether there is room for what of a range of a file has no chunk yet.
func (m *Master) roomFor(st *state.State, ino proto.InodeID, offset, length uint64) proto.Kind {
	size := m.cluster.ChunkSize
	first, end := offset/size, offset+length
	missing := length
	kind := st.FileChunks(ino, first, math.MaxInt, func(c state.Chunk) bool {
		from := max(c.Index*size, offset)
		if from < end {
			missing -= min((c.Index+1)*size, end) - from
		}
		return from < end
	})
	if _, free := m.nodes.Space(); kind == proto.OK && missing > free/uint64(m.cluster.Replicas) {
		return proto.NoSpace
	}
	return kind
}
