package meta

import (
	"context"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Copies of whole chunks: they are shared, and nobody writes to them from then on.
//
// A frame that is on its way to a chunk when it becomes shared would change the copy,
// too. No order to chunkservers fences it, for a copy has to be cheap; there just is
// nobody who could send one:
//
//   - the client that asks has written back what it had, sends no more until it is
//     answered, and forgets where the chunks are
//   - no other session has the file open. One that opens it later finds Attr.change
//     raised, forgets what it knew, and is told that the chunks are shared
//   - who is told so asks AssignChunk where to write, and gets a clone
//
// If the client has stopped waiting the copy may still be made, unless it has changed
// the file since: the command names the change that it is good for.

// CopyRange has chunks of one file stand in another one, too.
func (m *Master) CopyRange(ctx context.Context, req *pb.CopyRangeRequest) (*pb.CopyRangeReply, error) {
	r, leave, err := m.enterChange(ctx, req.Caller, "copy chunks to", inodeName(req.To))
	if err != nil {
		return nil, err
	}
	defer leave()
	c := &state.CopyChunks{
		Header: m.header(r), From: proto.InodeID(req.From), To: proto.InodeID(req.To),
		FromIndex: req.FromIndex, ToIndex: req.ToIndex, Count: uint64(req.Count), Size: req.Size, FromChange: req.FromChange,
	}
	defer m.sharings.begin(c.From)()
	result, err := m.change(ctx, r, c, func(st *state.State) proto.Kind {
		r.name(c.From)
		r.name(c.To)
		if kind := m.mayRead(st, r, c.From); kind != proto.OK {
			return kind
		}
		if kind := m.mayWrite(st, r, c.To); kind != proto.OK {
			return kind
		}
		if !m.sessions.isOpenOnlyBy(r.session, c.From) {
			return proto.Busy
		}
		return proto.OK
	})
	if err != nil {
		return nil, err
	}
	from, to := state.Attr{}, result.Attr
	m.attest(r, func(st *state.State) {
		from, _ = st.Attr(c.From)
		r.name(c.From)
		if now, kind := st.Attr(c.To); kind == proto.OK {
			to = now
			r.name(c.To)
		}
	})
	return &pb.CopyRangeReply{From: attrOf(from), To: attrOf(to), Grants: r.grants}, nil
}

// mayRead is the check before a file's bytes become another's: the session has it open,
// or the caller may read it.
func (m *Master) mayRead(st *state.State, r *request, ino proto.InodeID) proto.Kind {
	if m.sessions.has(r.session, ino) {
		_, kind := st.Attr(ino)
		return kind
	}
	return st.Access(ino, r.cred, 4)
}
