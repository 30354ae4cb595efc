package client

import (
	"context"
	"errors"
	"time"

	"github.com/distrifs/distrifs/internal/late"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Calls to the master. A call blocks and is sent again while the master is
// away, until it is answered, interrupted, or IOTimeout has passed: no answer
// is ever invented (L11), and what runs out is time, not a count (L18).
//
// A change holds a slot of the session and one sequence number of that slot for
// all its attempts, so the master carries it out once. When the session expires
// after an attempt whose fate is not known, the change fails: in another
// session it might be carried out twice.

const (
	attemptTimeout = 10 * time.Second // of one attempt of a call; then it is sent again
	interruptGrace = time.Second      // an interrupted change that was sent may still be answered
	retryMin       = 10 * time.Millisecond
	retryMax       = 500 * time.Millisecond
	maxSlots       = 1024
)

// slot is the right to have one change under way.
type slot struct {
	index    uint32
	sequence uint64 // of the last change
	home     chan *slot
}

// slotTable holds the free slots of a session. Some are reserved for commits, which other
// changes, of other clients even, may be waiting for: see recall.go.
type slotTable struct{ free, reserved chan *slot }

// reservedShare is the part of all slots that is reserved for commits.
const reservedShare = 8

func newSlotTable(n uint32) slotTable {
	n = min(max(n, 1), maxSlots)
	t := slotTable{free: make(chan *slot, n), reserved: make(chan *slot, n)}
	for i := range n {
		home := t.free
		if i < n/reservedShare {
			home = t.reserved
		}
		home <- &slot{index: i, home: home}
	}
	return t
}

func (t slotTable) release(s *slot) { s.home <- s }

type commitKey struct{}

// forCommit lets a change use the reserved slots.
func forCommit(ctx context.Context) context.Context {
	return context.WithValue(ctx, commitKey{}, true)
}

// mayUse gives the reserved slots to who may use them; nil: nobody else.
func (t slotTable) mayUse(ctx context.Context) chan *slot {
	if ctx.Value(commitKey{}) != nil {
		return t.reserved
	}
	return nil
}

// takeSlot waits for a session and a free slot of it, and begins a change.
func (s *sessions) takeSlot(ctx context.Context) (*session, *slot, error) {
	for {
		current, err := s.get(ctx)
		if err != nil {
			return nil, nil, err
		}
		select {
		case sl := <-current.slots.free:
			sl.sequence++
			return current, sl, nil
		case sl := <-current.slots.mayUse(ctx):
			sl.sequence++
			return current, sl, nil
		case <-current.gone:
		case <-ctx.Done():
			return nil, nil, &proto.Error{Kind: proto.KindOf(ctx.Err()), Op: "wait for a slot"}
		}
	}
}

// patience is what one call has left: the caller's context and IOTimeout.
type patience struct {
	ctx    context.Context
	cancel func()
	caller context.Context
	delay  time.Duration
}

func (c *Client) newPatience(ctx context.Context) *patience {
	limited := late.WithTimeout(ctx, c.opts.IOTimeout)
	return &patience{ctx: limited, cancel: limited.End, caller: ctx}
}

// pause waits before the next attempt; an error means that there is none.
func (p *patience) pause() error {
	p.delay = min(max(2*p.delay, retryMin), retryMax)
	timer := time.NewTimer(p.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// spent makes the final error of a call out of its last one.
func (p *patience) spent(op, subject string, last error) error {
	if p.caller.Err() != nil {
		return &proto.Error{Kind: proto.KindOf(p.caller.Err()), Op: op, Subject: subject, Err: last}
	}
	if proto.KindOf(last) == proto.NoSpace {
		return &proto.Error{Kind: proto.NoSpace, Op: op, Subject: subject, Detail: "nobody has had room for as long as io-timeout; delete files or add chunkservers", Err: last}
	}
	return &proto.Error{Kind: proto.Timeout, Op: op, Subject: subject, Detail: "gave up after io-timeout; see that the servers are running", Err: last}
}

// transient tells whether a call may succeed when it is sent again.
func transient(kind proto.Kind) bool {
	switch kind {
	case proto.Unavailable, proto.Timeout, proto.Interrupted, proto.TooFewReplicas, proto.OldEpoch, proto.SessionExpired:
		return true
	}
	return false
}

// answered makes a final answer of the master an *proto.Error that says what was asked.
func answered(op, subject string, err error) error {
	var e *proto.Error
	if !errors.As(err, &e) {
		return &proto.Error{Kind: proto.KindOf(err), Op: op, Subject: subject, Err: err}
	}
	if e.Op == "" {
		e.Op, e.Subject = op, subject
	}
	return e
}

func (c *Client) caller(s *session, cred Cred) *pb.Caller {
	return &pb.Caller{Session: uint64(s.id), Uid: cred.UID, Gid: cred.GID, Groups: cred.Groups, Umask: cred.Umask}
}

// ask makes a call that changes nothing, or that may be carried out twice.
func ask[R any](ctx context.Context, c *Client, cred Cred, op, subject string, fn func(context.Context, *pb.Caller) (R, error)) (R, error) {
	p := c.newPatience(ctx)
	defer p.cancel()
	var none R
	var last error
	if err := c.behind.settle(p.ctx); err != nil {
		return none, p.spent(op, subject, err)
	}
	for {
		s, err := c.sessions.get(p.ctx)
		if err != nil {
			return none, p.spent(op, subject, errors.Join(last, err))
		}
		attempt, cancel := context.WithTimeout(p.ctx, attemptTimeout)
		reply, err := fn(attempt, c.caller(s, cred))
		cancel()
		if err == nil {
			return reply, nil
		}
		last = proto.FromStatus(err)
		kind := proto.KindOf(last)
		if !transient(kind) {
			return none, answered(op, subject, last)
		}
		if kind == proto.SessionExpired {
			err = c.sessions.verify(p.ctx, s)
		} else {
			err = p.pause()
		}
		if err != nil {
			return none, p.spent(op, subject, last)
		}
	}
}

// change makes a call that must be carried out at most once. The session that
// carried it out is returned too.
func change[R any](ctx context.Context, c *Client, cred Cred, op, subject string, fn func(context.Context, *pb.Caller) (R, error)) (R, *session, error) {
	p := c.newPatience(ctx)
	defer p.cancel()
	var none R
	if err := c.behind.settle(p.ctx); err != nil {
		return none, nil, p.spent(op, subject, err)
	}
	s, sl, err := c.sessions.takeSlot(p.ctx)
	if err != nil {
		return none, nil, p.spent(op, subject, err)
	}
	defer func() { s.slots.release(sl) }()
	unknown := false // an attempt was sent, and what became of it is not known
	for {
		who := c.caller(s, cred)
		who.Slot, who.Sequence = sl.index, sl.sequence
		reply, err := attemptChange(p, who, fn)
		if err == nil {
			return reply, s, nil
		}
		last := proto.FromStatus(err)
		kind := proto.KindOf(last)
		if !transient(kind) || kind == proto.TooFewReplicas {
			return none, s, answered(op, subject, last)
		}
		if kind != proto.SessionExpired {
			unknown = true
			if p.pause() != nil {
				return none, s, p.spent(op, subject, last)
			}
			continue
		}
		if c.sessions.verify(p.ctx, s) != nil {
			return none, s, p.spent(op, subject, last)
		}
		if !s.expired() {
			continue
		}
		if unknown {
			return none, s, &proto.Error{Kind: proto.SessionExpired, Op: op, Subject: subject, Detail: "whether it was done is not known: the session ended before the answer", Err: last}
		}
		next, nextSlot, err := c.sessions.takeSlot(p.ctx)
		if err != nil {
			return none, s, p.spent(op, subject, last)
		}
		s.slots.release(sl)
		s, sl = next, nextSlot
	}
}

func (s *session) expired() bool {
	select {
	case <-s.gone:
		return true
	default:
		return false
	}
}

// attemptChange sends a change once. An interrupt is heard only after a grace,
// because a change that was carried out should be answered so.
func attemptChange[R any](p *patience, who *pb.Caller, fn func(context.Context, *pb.Caller) (R, error)) (R, error) {
	attempt, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), attemptTimeout)
	defer cancel()
	stop := context.AfterFunc(p.ctx, func() {
		timer := time.AfterFunc(interruptGrace, cancel)
		context.AfterFunc(attempt, func() { timer.Stop() })
	})
	defer stop()
	return fn(attempt, who)
}
