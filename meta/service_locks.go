package meta

import (
	"context"

	"github.com/distrifs/distrifs/meta/locks"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// The calls about locks. None of them waits: who has to is told to ask again.

// SetLock sets, queues for, or takes off a lock. The answer's attributes show whatever
// a holder before committed before it unlocked.
func (m *Master) SetLock(ctx context.Context, req *pb.SetLockRequest) (*pb.SetLockReply, error) {
	r, leave, err := m.enterChange(ctx, req.Caller, "lock", inodeName(req.Lock.GetInode()))
	if err != nil {
		return nil, err
	}
	defer leave()
	l, kind := lockOf(req.Lock, r.session)
	if kind != proto.OK || req.Wait && req.Ticket == 0 {
		return nil, r.fail(proto.Invalid, "")
	}
	if m.sessions.isSilent(r.session) { // what it claims when it resumes is older than what it asks for now
		return nil, r.failLock(proto.Unavailable)
	}
	if l.Mode == 0 {
		kind = m.locks.use(r.session, func(t *locks.Table) proto.Kind { return t.Unlock(l) })
		return &pb.SetLockReply{}, r.fail(kind, "")
	}
	var queued bool
	m.machine.read(func(st *state.State) {
		if _, kind = st.Attr(l.Inode); kind != proto.OK {
			return
		}
		kind = m.locks.use(r.session, func(t *locks.Table) (kind proto.Kind) {
			queued, kind = t.Set(l, req.Wait, req.Ticket)
			return kind
		})
	})
	if queued || kind != proto.OK {
		return &pb.SetLockReply{Queued: queued}, r.failLock(kind)
	}
	// The lock is there before anybody is asked for a lease: whoever waits for a lock has
	// no claim.
	reply := &pb.SetLockReply{}
	err = m.observe(ctx, r, func(st *state.State) proto.Kind {
		attr, kind := st.Attr(l.Inode)
		r.name(l.Inode)
		reply.Attr = attrOf(attr)
		return kind
	})
	return reply, err
}

// TestLock finds a lock that stands in the way of another, or what the owner holds itself.
func (m *Master) TestLock(_ context.Context, req *pb.TestLockRequest) (*pb.TestLockReply, error) {
	r, err := m.enter(req.Caller, "test lock", inodeName(req.Lock.GetInode()))
	if err != nil {
		return nil, err
	}
	if r.session == nil {
		return nil, r.fail(proto.SessionExpired, "locks need a session")
	}
	l, kind := lockOf(req.Lock, r.session)
	if kind != proto.OK {
		return nil, r.fail(proto.Invalid, "")
	}
	if !m.sessions.complete() {
		return nil, r.failLock(proto.Unavailable)
	}
	reply := &pb.TestLockReply{}
	kind = m.locks.use(r.session, func(t *locks.Table) proto.Kind {
		other, conflict := t.Test(l)
		if reply.Conflict = conflict; !conflict {
			return proto.OK
		}
		reply.Foreign = other.Owner.Session != r.session.id
		reply.Lock = &pb.Lock{
			Inode: uint64(other.Inode), Flock: other.Space == locks.Flock, Owner: other.Owner.ID, Mode: pb.LockMode(other.Mode),
			Start: other.Range.Start, End: other.Range.End, Process: other.Process,
		}
		return proto.OK
	})
	return reply, r.failLock(kind)
}

// failLock is fail with what there is to say about locks.
func (r *request) failLock(kind proto.Kind) error {
	detail := ""
	if kind == proto.Unavailable {
		detail = "the master has started, and not all clients have said yet what they have locked; try again"
	}
	return r.fail(kind, detail)
}
