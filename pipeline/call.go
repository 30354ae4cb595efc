package pipeline

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// call is one request of a Client. It is over when its frame's memory is free and
// its answer is there, in whichever order: a fast answer may overtake the return of
// the write.
type call struct {
	client  *Client
	kind    kind
	chunk   uuid.UUID
	version proto.Version
	hop     Hop // the receiver
	behind  int // hops behind it
	offset  uint64

	head []byte   // header and meta
	data []byte   // of a write
	dst  []byte   // of a read or extent: where the answer goes; nil when nobody waits for it any more
	sums []uint32 // of a read: where the checksums of what is in dst go; nil: nobody asked
	want int      // of a read: bytes asked for

	conn    *clientConn
	id      uint64
	tick    int64 // of conn's watch, when it was queued
	cost    int64 // of the connection's window
	state   atomic.Uint32
	aborted bool // the reader of dst gave up while it is being filled; conn.mu
	nobody  bool // who waited gave up; conn.mu

	n   int   // of a read: bytes in dst
	err error // set before answered

	// Who hears of the end: the first that is set, else wait.
	owner callOwner
	done  func(error)
	wait  chan bool // of capacity 1; false: the waiter is let go, the call is not over

	timer *time.Timer // of who waits; nil: never needed
}

const (
	stateSent = 1 << iota
	stateAnswered
	stateLeaving // the waiter wants to go as soon as the frame is sent
	stateOver    = stateSent | stateAnswered
)

// callOwner is the server, forwarding. callDone must not block; the sender it
// returns, if any, is flushed soon after.
type callOwner interface{ callDone(err error) *sender }

// newCall takes a call from the client's pool, which is its own because channels
// must not leave the bubble of a synctest.
func (c *Client) newCall(h *header) *call {
	call, _ := c.calls.Get().(*call)
	if call == nil {
		call = newCallOf(c)
	}
	call.kind, call.chunk, call.version, call.offset = h.kind, h.chunk, h.version, h.offset
	return call
}

func newCallOf(c *Client) *call { return &call{client: c, wait: make(chan bool, 1)} }

// recycle is called by the last one to know c.
func (c *call) recycle() {
	client := c.client
	*c = call{client: client, head: c.head[:0], wait: c.wait, timer: c.timer}
	client.calls.Put(c)
}

// sent implements sentOwner.
func (c *call) sent() {
	conn, id := c.conn, c.id // c may be over after the next line, and another's
	switch old := c.state.Or(stateSent); {
	case old&stateAnswered != 0:
		go func() { // the caller of StartWrite may be who runs this
			if s := c.finish(); s != nil {
				s.flush()
			}
		}()
	case old&stateLeaving != 0:
		go conn.letGo(id)
	}
}

// answered records the result; the call may be over with that. The sender that
// comes back is to be flushed.
func (c *call) answered(err error) *sender {
	c.err = err
	if c.state.Or(stateAnswered)&stateOver == stateSent {
		return c.finish()
	}
	return nil
}

func (c *call) finish() (s *sender) {
	c.conn.window.Release(c.cost)
	switch {
	case c.owner != nil:
		s = c.owner.callDone(c.err)
	case c.done != nil:
		c.done(c.err)
	case !c.nobody:
		c.wait <- true
		return nil // who waits recycles
	}
	c.recycle()
	return s
}

// failure is the error of c that its connection's end, cause, stands for.
func (c *call) failure(cause error) error {
	kind, detail := proto.ChainBroken, "no connection"
	if c.kind.onlyReads() {
		kind = proto.Unavailable
	}
	var e *proto.Error
	if errors.As(cause, &e) {
		detail = ""
	}
	return c.fault(&proto.Error{Kind: kind, Detail: detail, Err: cause}, c.hop.Node)
}

// fault completes e to the error of c.
func (c *call) fault(e *proto.Error, node proto.NodeID) error {
	e.Op = c.kind.String()
	e.Subject = fmt.Sprintf("chunk %s version %d at %s", c.chunk, c.version, c.hop.Address)
	return &ChainError{Err: e, FailedNode: node}
}
