package meta

import (
	"context"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// propose makes a command durable and has it applied; the result's kind is OK when
// err is nil. A proposal is never taken back, so it has no context: it ends when the
// log has it, or has failed.
func (m *Master) propose(c state.Command) (state.Result, error) {
	op, data, err := encode(c)
	if err != nil {
		return state.Result{}, err
	}
	answer, err := m.group.Propose(context.Background(), uint8(op), data)
	if err != nil {
		return state.Result{}, err
	}
	r := answer.(state.Result)
	if r.Kind != proto.OK {
		return r, r.Kind
	}
	return r, nil
}

// encode gives a command as it is logged. Nothing is logged that a replay would refuse.
func encode(c state.Command) (state.Op, []byte, error) {
	op, data := c.Op(), c.Encode(nil)
	if _, err := state.Decode(op, data); err != nil {
		return 0, nil, &proto.Error{Kind: proto.Invalid, Detail: "a value is out of its range", Err: err}
	}
	return op, data, nil
}

// request is one call of a client, as the handlers see it.
type request struct {
	op, subject string // for errors: "create", "inode 7 name \"x\""
	caller      *pb.Caller
	cred        state.Cred
	session     *session // nil: a call without one, which may only read
	slot        *slot    // held; nil: a call without sequence
	leased
}

// fail is an error of the request; OK gives nil.
func (r *request) fail(kind proto.Kind, detail string) error {
	if kind == proto.OK {
		return nil
	}
	return proto.E(kind, r.op, r.subject, detail)
}

// wrap gives an error the request's operation and subject.
func (r *request) wrap(err error) error {
	if err == nil {
		return nil
	}
	if kind, bare := err.(proto.Kind); bare {
		return r.fail(kind, "")
	}
	return &proto.Error{Kind: proto.KindOf(err), Op: r.op, Subject: r.subject, Err: err}
}

// enter opens a call that only reads: the session, if one is named, must live.
func (m *Master) enter(caller *pb.Caller, op, subject string) (*request, error) {
	r := &request{op: op, subject: subject, caller: caller, cred: credOf(caller)}
	if len(r.cred.Groups) > maxGroups {
		return nil, r.fail(proto.Invalid, "too many groups")
	}
	if id := proto.SessionID(caller.GetSession()); id != 0 {
		if r.session = m.sessions.find(id); r.session == nil {
			return nil, r.fail(proto.SessionExpired, "open a new session")
		}
	}
	return r, nil
}

// enterChange opens a call that changes state, and holds its slot: a request that is
// sent again while it is still under way waits here. leave ends it.
func (m *Master) enterChange(ctx context.Context, caller *pb.Caller, op, subject string) (r *request, leave func(), err error) {
	if r, err = m.enter(caller, op, subject); err != nil {
		return nil, nil, err
	}
	switch {
	case r.session == nil:
		return nil, nil, r.fail(proto.SessionExpired, "a change needs a session")
	case caller.Sequence == 0:
		return r, func() { m.leave(r) }, nil
	case caller.Slot >= slots:
		return nil, nil, r.fail(proto.Invalid, "no such slot")
	}
	if r.slot, err = r.session.take(ctx, caller); err != nil {
		return nil, nil, r.wrap(err)
	}
	return r, func() {
		m.leave(r)
		r.slot.busy <- struct{}{}
	}, nil
}

// header opens the command that a request becomes.
func (m *Master) header(r *request) state.Header {
	return state.Header{
		Origin: state.Origin{Session: proto.SessionID(r.caller.Session), Slot: r.caller.Slot, Sequence: r.caller.Sequence},
		Cred:   r.cred, Now: m.now(),
	}
}

// repeated answers a request from its slot.
func (r *request) repeated(st *state.State) (state.Result, bool) {
	if r.caller.Sequence == 0 {
		return state.Result{}, false
	}
	return st.Repeated(state.Origin{Session: proto.SessionID(r.caller.Session), Slot: r.caller.Slot, Sequence: r.caller.Sequence})
}

// change carries a command of a client out: a repeated request is answered from its
// slot; one that must fail is refused before it costs a record; the rest goes through
// the log, when nobody else has a lease on what check names.
func (m *Master) change(ctx context.Context, r *request, c state.Command, check func(st *state.State) proto.Kind) (state.Result, error) {
	var result state.Result
	var done bool
	err := m.secure(ctx, r, func(st *state.State) proto.Kind {
		if result, done = r.repeated(st); done {
			return result.Kind
		}
		return check(st)
	})
	if done || err != nil {
		return result, err
	}
	result, err = m.propose(c)
	return result, r.wrap(err)
}

// applied keeps the soft state in step with the log. It runs in Apply, with the
// machine's lock held, so nobody sees a chain without what is known of it.
func (m *Master) applied(c state.Command, before []state.Chunk, r *state.Result) {
	if r.Repeated {
		return
	}
	for _, chunk := range r.Freed {
		m.writers.forget(chunk.ID)
		for _, node := range m.nodes.Freed(chunk) {
			m.deletes.add(node, chunk.ID, chunk.Version)
		}
	}
	if r.Kind != proto.OK {
		return
	}
	switch c := c.(type) {
	case *state.Reap:
		m.leases.forget(c.Inodes)
	case *state.Make:
		m.assignedTo(c.Session, r.Chunks)
	case *state.MakeUnnamed:
		m.assignedTo(c.Session, r.Chunks)
	case *state.Reserve:
		m.assignedTo(c.Session, r.Chunks)
	case *state.AssignChunks:
		m.assignedTo(c.Session, r.Chunks)
	case *state.TakeClone:
		m.writers.forget(c.Clone)
		m.nodes.Touch(c.Clone)
	case *state.Operate:
		m.operated(c.Node)
	case *state.SetChain:
		m.nodes.Changed(before[0], r.Chunks[0])
	case *state.Commit:
		for _, chunk := range before {
			since := m.writers.forget(chunk.ID)
			// The members of a chain that was changed have confirmed one by one.
			if !chunk.Committed && chunk.Version == firstVersion {
				m.nodes.Committed(chunk, since)
			} else {
				m.nodes.Touch(chunk.ID)
			}
		}
	}
}

func (m *Master) assignedTo(session proto.SessionID, chunks []state.Chunk) {
	arrivals := m.nodes.Arrivals()
	for _, chunk := range chunks {
		if !chunk.Committed {
			m.writers.assigned(chunk.ID, session, arrivals)
		}
	}
}

// firstVersion is the version of a chunk that was just assigned.
const firstVersion proto.Version = 1
