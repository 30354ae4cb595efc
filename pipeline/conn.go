package pipeline

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/distrifs/distrifs/proto"
)

// requestCost is what a request without data takes of a window or budget, bytes;
// it bounds the number of requests.
const requestCost = 4 << 10

var (
	errIdle     = errors.New("unused for long")
	errClosed   = proto.E(proto.Unavailable, "", "", "this end was closed")
	errSilent   = proto.E(proto.Timeout, "", "", "no sign of life in the progress time-out")
	errStuck    = proto.E(proto.Timeout, "", "", "a request was not answered in the request time-out")
	errUnasked  = proto.E(proto.Malformed, "", "", "an answer that fits no request")
	errCallOver = errors.New("the reader gave up")
)

// clientConn is one connection of a Client to a server, shared by many calls.
//
// Its life: calls queue up while it is dialled; then a reading goroutine matches
// answers; the first failure breaks it, and when all its calls have heard of that
// it is gone, and only then replaced: so that of the writes of one chunk never a
// later one succeeds on a new connection while an earlier one is still to fail.
type clientConn struct {
	client  *Client
	address string
	window  *semaphore.Weighted
	out     *sender
	in      *input // set before the reading goroutine starts
	cancel  context.CancelFunc
	gone    chan struct{} // closed when every call has ended
	reading sync.WaitGroup

	mu      sync.Mutex
	conn    net.Conn // nil while dialling
	err     error    // why it broke
	pending map[uint64]*call
	filling *call // the read whose dst the reading goroutine is filling
	lastID  uint64
	tick    atomic.Int64

	// Of the reading goroutine.
	sums    []byte
	flushes []*sender // to be flushed before it blocks

	// Of the client's watch.
	idleTicks int64
	heard     int64 // bytes received
	still     int64 // ticks without any more
}

func (c *Client) newConn(address string) *clientConn {
	ctx, cancel := context.WithTimeout(context.Background(), c.options.DialTimeout)
	cc := &clientConn{
		client:  c,
		address: address,
		window:  semaphore.NewWeighted(c.options.Window),
		cancel:  cancel,
		gone:    make(chan struct{}),
		pending: map[uint64]*call{},
	}
	cc.out = newSender(cc.fail)
	go cc.dial(ctx)
	return cc
}

// dial connects, and then goes on as the goroutine that writes.
func (c *clientConn) dial(ctx context.Context) {
	conn, err := c.client.options.Dial(ctx, c.address)
	c.cancel()
	if err != nil {
		c.out.fail(err)
		return
	}
	c.mu.Lock()
	c.conn = conn
	if c.err != nil { // closed meanwhile
		c.mu.Unlock()
		conn.Close()
		c.out.fail(errClosed)
		return
	}
	c.in = newInput(conn, c.flush, c.interrupted)
	c.reading.Add(1)
	c.mu.Unlock()
	go c.read()
	c.out.run(conn)
}

// enqueue queues call; c.out.flush must follow. It fails when the connection is broken.
func (c *clientConn) enqueue(call *call, h *header) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.lastID++
	h.id = c.lastID
	h.put(call.head)
	call.conn, call.id, call.tick = c, h.id, c.tick.Load()
	c.pending[h.id] = call
	c.out.enqueue(outgoing{head: call.head, data: call.data, owner: call})
	return nil
}

// giveUp lets the waiter of call go without it: at once, with true; or, where the
// connection still uses the waiter's memory, by call.wait as soon as it does not.
func (c *clientConn) giveUp(call *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.filling == call:
		call.aborted = true
		c.conn.SetReadDeadline(time.Unix(1, 0))
	case c.pending[call.id] != call: // it ends just now
	case call.data == nil || call.state.Or(stateLeaving)&stateSent != 0:
		call.nobody, call.dst = true, nil
		return true
	}
	return false
}

// letGo lets the waiter of a call go whose frame is sent.
func (c *clientConn) letGo(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if call := c.pending[id]; call != nil {
		call.nobody = true
		call.wait <- false
	}
}

// interrupted decides what a read deadline that struck was for.
func (c *clientConn) interrupted() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn.SetReadDeadline(time.Time{})
	if c.filling != nil && c.filling.aborted {
		return errCallOver
	}
	return nil
}

// read matches answers to calls until the connection ends.
func (c *clientConn) read() {
	defer c.reading.Done()
	for {
		if err := c.readReply(); err != nil {
			c.fail(err)
			return
		}
	}
}

func (c *clientConn) readReply() error {
	c.in.inFrame = false
	raw, err := c.in.next(headerSize)
	if err != nil {
		return err
	}
	h, err := parseHeader(raw)
	if err != nil || h.kind == kindAlive {
		return err
	}
	c.in.inFrame = true
	meta, err := c.in.next(h.metaLen)
	if err != nil {
		return err
	}
	if err := h.checkMeta(meta); err != nil {
		return err
	}
	c.sums = append(c.sums[:0], meta...)
	call := c.claim(&h)
	if call == nil {
		return errUnasked
	}
	result, left, err := c.receive(call, &h)
	if err != nil {
		// The answer is lost with the connection.
		c.mu.Lock()
		c.pending[call.id] = call
		c.mu.Unlock()
		return err
	}
	if s := call.answered(result); s != nil {
		c.flushLater(s)
	}
	return c.in.discard(left)
}

// claim takes the call that h answers from the pending ones, or returns nil.
func (c *clientConn) claim(h *header) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.pending[h.id]
	if h.kind != kindReply || call == nil {
		return nil
	}
	if h.failure == 0 && (h.offset != call.offset || h.length > uint64(call.want)) {
		return nil
	}
	delete(c.pending, h.id)
	if call.dst != nil && h.failure == 0 {
		c.filling = call
	}
	return call
}

// receive takes the data of an answer from the connection, but for the last left
// bytes, which nobody wants. result is the call's, err the connection's.
func (c *clientConn) receive(call *call, h *header) (result error, left int, err error) {
	if h.failure != 0 {
		return call.fault(&proto.Error{Kind: h.failure, Detail: string(c.sums)}, h.node), 0, nil
	}
	n := int(h.length)
	if c.filling == nil { // a write, or nobody waits
		return nil, n, nil
	}
	got, err := c.in.readFull(call.dst[:n])
	c.mu.Lock()
	c.filling = nil
	c.mu.Unlock()
	if err == errCallOver {
		return err, n - got, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if at := badPiece(c.sums, call.offset, call.dst[:n]); at >= 0 { // G5
		return call.fault(&proto.Error{Kind: proto.DataCorrupt, Detail: "bytes changed on the way"}, call.hop.Node), 0, nil
	}
	if call.sums != nil {
		decodeSums(call.sums[:0], c.sums)
	}
	call.n = n
	return nil, 0, nil
}

// flushLater remembers s for the next flush: answers that arrive together cause
// answers that leave together.
func (c *clientConn) flushLater(s *sender) {
	for _, other := range c.flushes {
		if other == s {
			return
		}
	}
	c.flushes = append(c.flushes, s)
}

func (c *clientConn) flush() {
	for i, s := range c.flushes {
		s.flush()
		c.flushes[i] = nil
	}
	c.flushes = c.flushes[:0]
}

// fail breaks the connection for the reason err, if it is not broken yet.
func (c *clientConn) fail(err error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.breakOff(err)
	}
	c.mu.Unlock()
	if first {
		c.client.options.Logger.Info("data connection failed", "address", c.address, "error", err)
	}
}

// breakOff is called once, with mu held.
func (c *clientConn) breakOff(err error) {
	c.err = err
	c.cancel()
	if c.conn != nil {
		c.conn.Close()
	}
	go c.bury()
}

// bury waits until nothing uses the memory of the calls, and fails them.
func (c *clientConn) bury() {
	c.out.close()
	c.reading.Wait()
	c.flush()
	c.mu.Lock()
	pending := c.pending
	c.pending = nil // nobody adds to a broken connection
	c.mu.Unlock()
	for _, call := range pending {
		if s := call.answered(call.failure(c.err)); s != nil {
			s.flush()
		}
	}
	close(c.gone)
}

// replaceable says whether requests may go out on another connection.
func (c *clientConn) replaceable() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}
