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
	var queued, alone bool
	err = m.withLocks(ctx, r, l.Inode, func(t *locks.Table, own bool) (kind proto.Kind) {
		if alone = req.Keep && own && !t.Knows(l.Inode); !alone {
			queued, kind = t.Set(l, req.Wait, req.Ticket)
		}
		return kind
	})
	if queued || alone || err != nil {
		return &pb.SetLockReply{Queued: queued, Alone: alone}, err
	}
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
func (m *Master) TestLock(ctx context.Context, req *pb.TestLockRequest) (*pb.TestLockReply, error) {
	r, err := m.enter(req.Caller, "test lock", inodeName(req.Lock.GetInode()))
	if err != nil {
		return nil, err
	}
	defer m.leave(r)
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
	err = m.withLocks(ctx, r, l.Inode, func(t *locks.Table, _ bool) proto.Kind {
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
	return reply, err
}

// withLocks runs fn on the table when all locks on a file are in it. own tells whether the
// caller has the file exclusive: then the caller may be who keeps them. Whoever waits for a
// lock has no claim: leases are asked for before, and after.
func (m *Master) withLocks(ctx context.Context, r *request, ino proto.InodeID, fn func(t *locks.Table, own bool) proto.Kind) error {
	exists := func(st *state.State) proto.Kind {
		_, kind := st.Attr(ino)
		r.name(ino)
		return kind
	}
	for {
		var kind proto.Kind
		kept := false
		m.machine.read(func(st *state.State) {
			if kind = exists(st); kind != proto.OK {
				return
			}
			kind = m.locks.use(r.session, func(t *locks.Table) proto.Kind {
				own, another := m.leases.exclusiveBy(r.session, ino)
				if kept = another && !t.Knows(ino); kept {
					return proto.OK
				}
				return fn(t, own)
			})
		})
		if !kept {
			return r.failLock(kind)
		}
		if err := m.observe(ctx, r, exists); err != nil {
			return err
		}
	}
}

// HandLocks takes over the locks that a client has kept. It waits for nobody's lease: a recall
// waits for it.
func (m *Master) HandLocks(ctx context.Context, req *pb.HandLocksRequest) (*pb.HandLocksReply, error) {
	r, err := m.enter(req.Caller, "hand over locks", "")
	switch {
	case err != nil:
		return nil, err
	case r.session == nil:
		return nil, r.fail(proto.SessionExpired, "locks need a session")
	case m.sessions.isSilent(r.session): // it claims them when it resumes
		return nil, r.failLock(proto.Unavailable)
	}
	kind := m.locks.use(r.session, func(t *locks.Table) proto.Kind {
		if ctx.Err() != nil { // it was sent again, and more by now
			return proto.Interrupted
		}
		if lost := claimAll(t, r.session, req.Locks); lost > 0 {
			m.log.Warn("a client hands over locks that it cannot have", "session", r.session.id, "client", r.session.client, "locks", lost)
		}
		return proto.OK
	})
	return &pb.HandLocksReply{}, r.fail(kind, "")
}

// failLock is fail with what there is to say about locks.
func (r *request) failLock(kind proto.Kind) error {
	detail := ""
	if kind == proto.Unavailable {
		detail = "the master has started, and not all clients have said yet what they have locked; try again"
	}
	return r.fail(kind, detail)
}
