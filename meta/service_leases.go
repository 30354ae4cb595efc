package meta

import (
	"context"
	"time"

	"github.com/distrifs/distrifs/meta/leases"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// ahead is how long a lease that was asked for is not recalled for those who wait behind:
// a recall that overtakes the answer would void it, again and again.
const ahead = 2 * time.Millisecond

// Acquire gives a lease as soon as those of others that exclude it are given back.
func (m *Master) Acquire(ctx context.Context, req *pb.AcquireRequest) (*pb.AcquireReply, error) {
	r, err := m.enter(req.Caller, "acquire a lease on", inodeName(req.Inode))
	if err != nil {
		return nil, err
	}
	defer func() {
		if m.leases.isAwaited(&r.claim) {
			time.AfterFunc(ahead, func() { m.leave(r) })
		} else {
			m.leave(r)
		}
	}()
	var want leases.Want
	switch {
	case r.session == nil:
		return nil, r.fail(proto.SessionExpired, "leases need a session")
	case req.Mode == pb.LeaseMode_LEASE_SHARED:
		want = leases.Share
	case req.Mode == pb.LeaseMode_LEASE_EXCLUSIVE:
		want = leases.Own
	default:
		return nil, r.fail(proto.Invalid, "a lease is shared or exclusive")
	}
	if req.IfFree {
		return m.acquireIfFree(ctx, r, req)
	}
	ino := proto.InodeID(req.Inode)
	reply := &pb.AcquireReply{}
	look := func(st *state.State) proto.Kind {
		attr, kind := st.Attr(ino)
		r.name(ino)
		reply.Attr = attrOf(attr)
		return kind
	}
	err = m.await(ctx, r, look, func() bool { return m.leases.acquire(r, want) })
	reply.Grants = r.grants
	return reply, err
}

// acquireIfFree gives what there is to be had of a lease without asking others for theirs,
// but for exclusive ones: they become shared, as for anybody who looks at the inode.
func (m *Master) acquireIfFree(ctx context.Context, r *request, req *pb.AcquireRequest) (*pb.AcquireReply, error) {
	ino := proto.InodeID(req.Inode)
	if req.Mode == pb.LeaseMode_LEASE_EXCLUSIVE {
		r.alone = ino
	}
	reply := &pb.AcquireReply{}
	err := m.observe(ctx, r, func(st *state.State) proto.Kind {
		attr, kind := st.Attr(ino)
		r.name(ino)
		reply.Attr = attrOf(attr)
		return kind
	})
	reply.Grants = r.grants
	return reply, err
}
