package pipeline

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distrifs/distrifs/proto"
)

// slowServe is when serving counts as too long for the goroutine that reads.
const slowServe = 100 * time.Microsecond

var errDraining = errors.New("the server stops")

// serverConn is one connection of a Server.
//
// One goroutine at a time has the reading role: it receives a request and, because
// waking another goroutine costs more than most requests, serves it itself. Should
// that take long, the role passes on: at once where the length is foreseeable, else
// when the overseer finds the role held up; the goroutine then ends after its request.
// So a request that blocks delays the others of its connection by a millisecond or two.
type serverConn struct {
	server   *Server
	conn     net.Conn
	in       *input // of who has the reading role
	out      *sender
	inflight atomic.Int64 // requests without reply

	serving   atomic.Uint64 // ticket of the request that is being served with the role; 0: none
	aliveSent atomic.Bool   // an alive frame is queued

	// Of who has the reading role.
	ticket  uint64
	average time.Duration // of serving a request
	flushes []*sender     // of the next hops, to be flushed before blocking

	// Of the overseer and the watch.
	lastSeen          uint64
	received, written int64
	stillIn, stillOut int64 // ticks without progress

	mu     sync.Mutex
	closed bool
}

func (s *Server) newConn(conn net.Conn) *serverConn {
	c := &serverConn{server: s, conn: conn}
	c.out = newSender(c.fail)
	c.in = newInput(conn, c.flush, c.interrupted)
	return c
}

// start serves the connection in goroutines of its own.
func (c *serverConn) start() {
	go c.out.run(c.conn)
	go c.read()
}

// read is the loop of the reading role. It ends with the connection, or when the
// role has passed on.
func (c *serverConn) read() {
	for {
		r, err := c.receive()
		if err != nil {
			c.fail(err)
			return
		}
		c.ticket++
		ticket := c.ticket
		r.ticket = ticket
		mine, below := c.server.admit(r)
		if below != nil {
			c.flushBelow(below, r)
		}
		if mine && !c.serve(r, ticket) {
			return
		}
	}
}

// flushBelow sends what goes down the chain on its way before it is applied here;
// only small frames wait for others that have already arrived.
func (c *serverConn) flushBelow(below *sender, r *request) {
	if c.in.buffered() == 0 {
		below.flush()
		return
	}
	for _, other := range c.flushes {
		if other == below {
			return
		}
	}
	c.flushes = append(c.flushes, below)
}

// flush is called before the reading role blocks.
func (c *serverConn) flush() {
	for i, s := range c.flushes {
		s.flush()
		c.flushes[i] = nil
	}
	c.flushes = c.flushes[:0]
	c.out.flush()
}

// serve serves r, and says whether the caller still has the reading role.
func (c *serverConn) serve(r *request, ticket uint64) bool {
	if c.average > slowServe && c.in.buffered() > 0 {
		c.average -= c.average / 64 // until it is tried again
		go c.read()
		c.server.serve(r)
		c.out.flush()
		return false
	}
	c.serving.Store(ticket)
	c.server.overseer.touch()
	start := time.Now()
	c.server.serve(r)
	took := time.Since(start)
	if !c.serving.CompareAndSwap(ticket, 0) {
		c.out.flush()
		return false
	}
	c.average += (took - c.average) / 8
	return true
}

// passOn gives the reading role to another goroutine if the caller, who serves the
// request with that ticket, still has it.
func (c *serverConn) passOn(ticket uint64) {
	if c.serving.CompareAndSwap(ticket, 0) {
		go c.read()
	}
}

// takeOver is the overseer's look at the connection: if the role is held up by the
// same request as at the last look, another goroutine goes on reading. It returns
// true if a request is being served.
func (c *serverConn) takeOver() bool {
	ticket := c.serving.Load()
	heldUp := ticket != 0 && ticket == c.lastSeen
	c.lastSeen = ticket
	if heldUp && c.serving.CompareAndSwap(ticket, 0) {
		go func() {
			c.average = max(c.average, 10*slowServe)
			c.read()
		}()
	}
	return ticket != 0
}

// receive takes one request from the connection. When the budget is used up it waits,
// and the socket with it.
func (c *serverConn) receive() (*request, error) {
	c.in.inFrame = false
	raw, err := c.in.next(headerSize)
	if err != nil {
		return nil, err
	}
	h, err := parseHeader(raw)
	if err != nil {
		return nil, err
	}
	if h.kind == kindReply || h.kind == kindAlive {
		return nil, malformed("a reply, from who should ask")
	}
	c.in.inFrame = true
	meta, err := c.in.next(h.metaLen)
	if err != nil {
		return nil, err
	}
	if err := h.checkMeta(meta); err != nil {
		return nil, err
	}
	r := newRequest(c, &h)
	r.meta = append(r.meta[:0], meta...)
	c.inflight.Add(1)
	c.server.inflight.Add(1)
	if err := c.admitCost(r); err != nil {
		return nil, err
	}
	if n := h.dataLen(); n > 0 {
		r.buffer = GetBuffer(n)
		if _, err := c.in.readFull(r.buffer.Bytes); err != nil {
			r.sent()
			return nil, err
		}
	}
	return r, nil
}

// admitCost takes r's cost from the budget.
func (c *serverConn) admitCost(r *request) error {
	budget := c.server.budget[r.class()]
	if budget.TryAcquire(r.cost) {
		return nil
	}
	c.flush()
	if err := budget.Acquire(c.server.ctx, r.cost); err != nil {
		c.inflight.Add(-1)
		c.server.inflight.Add(-1)
		return errDraining
	}
	return nil
}

// interrupted decides what a read deadline was for.
func (c *serverConn) interrupted() error {
	if c.server.draining.Load() {
		return errDraining
	}
	return nil
}

// drain makes the connection take no more requests.
func (c *serverConn) drain() { c.conn.SetReadDeadline(time.Unix(1, 0)) }

// fail ends the connection. When the server is draining, the replies still go out.
func (c *serverConn) fail(err error) {
	if err == errDraining {
		c.out.flush()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.conn.Close()
	go func() {
		c.out.close()
		c.server.remove(c)
	}()
	logger, peer := c.server.options.Logger, c.conn.RemoteAddr().String()
	switch kind := proto.KindOf(err); {
	case kind == proto.Malformed || kind == proto.NewerFormat || kind == proto.Timeout:
		logger.Warn("data connection closed", "peer", peer, "error", err)
	case err != io.EOF && !errors.Is(err, context.Canceled):
		logger.Debug("data connection ended", "peer", peer, "error", err)
	}
}

var aliveFrame = func() []byte {
	frame := make([]byte, headerSize)
	h := header{kind: kindAlive}
	h.put(frame)
	return frame
}()

// aliveOwner lets a connection have one alive frame queued at a time.
type aliveOwner serverConn

func (c *aliveOwner) sent() { c.aliveSent.Store(false) }

// check is the watch's look: it tells the peer that its requests are being worked on,
// and ends a connection whose peer stopped in mid-frame, or takes no replies.
func (c *serverConn) check() {
	if (c.inflight.Load() > 0 || c.in.owed.Load()) && !c.aliveSent.Swap(true) {
		c.out.enqueue(outgoing{head: aliveFrame, owner: (*aliveOwner)(c)})
		c.out.flush()
	}
	c.stillIn++
	if received := c.in.received.Load(); received != c.received || !c.in.owed.Load() {
		c.received, c.stillIn = received, 0
	}
	c.stillOut++
	if written := c.out.written.Load(); written != c.written || !c.out.busy() {
		c.written, c.stillOut = written, 0
	}
	patience := int64(c.server.options.ProgressTimeout / c.server.options.AliveEvery)
	switch {
	case c.stillIn > patience:
		c.fail(proto.E(proto.Timeout, "receive request", "", "the peer stopped in mid-frame"))
	case c.stillOut > patience:
		c.fail(proto.E(proto.Timeout, "send reply", "", "the peer takes no replies"))
	}
}
