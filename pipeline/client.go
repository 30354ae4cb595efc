package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/distrifs/distrifs/internal/late"
	"github.com/distrifs/distrifs/proto"
)

// Hop is one replica of a chain: which node, and where its data plane listens.
type Hop struct {
	Node    proto.NodeID
	Address string // host:port, 1 to 255 bytes
}

// WriteRequest is one write down a chain. With Data it writes bytes, without it
// makes Zero bytes (which may be 0) read as zero.
type WriteRequest struct {
	Chunk   uuid.UUID
	Version proto.Version
	Offset  uint64 // in the chunk, bytes
	Data    []byte // at most MaxPayload; not to be changed until the request is done
	Zero    uint64 // bytes, if Data is empty
	Create  bool   // make the replica where it is absent
	Sync    bool   // every replica syncs before it acknowledges
	Chain   []Hop  // head first; 1 to MaxChain
}

// ReadRequest says what to read, and from which replica.
type ReadRequest struct {
	Chunk   uuid.UUID
	Version proto.Version
	Offset  uint64 // in the chunk, bytes
	From    Hop
	Sums    []uint32 // not nil: gets the CRC-32C of each of the pieces read, and has room for them; for at most MaxPayload
}

// ClientOptions tune a Client; zero values mean the defaults.
type ClientOptions struct {
	Dial            func(ctx context.Context, address string) (net.Conn, error) // default: TCP
	DialTimeout     time.Duration                                               // default 2 s
	ProgressTimeout time.Duration                                               // a peer that owes answers and is silent for so long has failed; default 1.5 s
	RequestTimeout  time.Duration                                               // an unanswered request fails its connection after so long, a quarter more for each hop behind; default 30 s
	IdleTimeout     time.Duration                                               // an unused connection is closed; default 60 s
	Window          int64                                                       // bytes in flight on a connection, 4 KiB a request added; at least 2 MiB; default 8 MiB
	Logger          *slog.Logger                                                // default: none
}

func (o ClientOptions) withDefaults() ClientOptions {
	if o.Dial == nil {
		var dialer net.Dialer
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}
	}
	setDefault(&o.DialTimeout, 2*time.Second)
	setDefault(&o.ProgressTimeout, 1500*time.Millisecond)
	setDefault(&o.RequestTimeout, 30*time.Second)
	setDefault(&o.IdleTimeout, 60*time.Second)
	setDefault(&o.Window, 8<<20)
	o.Window = max(o.Window, 2*MaxPayload)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func setDefault[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

// The connections to one server. Writes with k hops behind the receiver have
// lane k, of their own: see "No deadlock" in the package's documentation.
// Small reads do not queue behind bulk.
const (
	laneSmallRead = MaxChain + iota
	laneBulkRead
	laneCount
)

// smallRead is the largest read for laneSmallRead, bytes.
const smallRead = 64 << 10

// maxPeers bounds the servers that one client is connected to.
const maxPeers = 4096

type peer struct{ lanes [laneCount]*clientConn }

// Client sends requests to chunkservers over connections that it keeps and shares.
// All methods may be called concurrently.
type Client struct {
	options ClientOptions
	stop    chan struct{} // ends watch
	calls   sync.Pool

	mu     sync.Mutex
	peers  map[string]*peer // by address
	closed bool
}

// NewClient starts a client; Close ends it.
func NewClient(options ClientOptions) *Client {
	c := &Client{options: options.withDefaults(), stop: make(chan struct{}), peers: map[string]*peer{}}
	go c.watch()
	return c
}

// Close fails what is in flight with Unavailable or ChainBroken, and closes all
// connections. Requests that come later fail likewise.
func (c *Client) Close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	close(c.stop)
	c.mu.Unlock()
	conns := c.connections()
	for _, cc := range conns {
		cc.fail(errClosed)
	}
	for _, cc := range conns {
		<-cc.gone
	}
}

// connections lists all that there are.
func (c *Client) connections() (conns []*clientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.peers {
		for _, cc := range p.lanes {
			if cc != nil {
				conns = append(conns, cc)
			}
		}
	}
	return conns
}

// connection finds or makes the connection to address in lane. It may be broken.
func (c *Client) connection(address []byte, lane int) (*clientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[string(address)]
	if p != nil && p.lanes[lane] != nil && !p.lanes[lane].replaceable() {
		return p.lanes[lane], nil
	}
	if c.closed {
		return nil, errClosed
	}
	if p == nil {
		if len(c.peers) >= maxPeers {
			return nil, proto.E(proto.Unavailable, "", "", "connected to too many servers")
		}
		p = &peer{}
		c.peers[string(address)] = p
	}
	p.lanes[lane] = c.newConn(string(address))
	return p.lanes[lane], nil
}

// send queues call on its lane's connection and flushes. With a window it waits for
// room in it, until ctx ends.
func (c *Client) send(ctx context.Context, call *call, h *header, lane int) error {
	cc, err := c.queue(ctx, call, h, lane)
	if err == nil {
		cc.out.flush()
	}
	return err
}

// queue is send without the flush, which must follow. What was queued before is flushed
// when there is no room in the window.
func (c *Client) queue(ctx context.Context, call *call, h *header, lane int) (*clientConn, error) {
	for {
		cc, err := c.connection([]byte(call.hop.Address), lane)
		if err != nil {
			return nil, err
		}
		call.cost = int64(requestCost + len(call.data) + call.want)
		if !cc.window.TryAcquire(call.cost) {
			cc.out.flush()
			if err := cc.window.Acquire(ctx, call.cost); err != nil {
				return nil, err
			}
		}
		err = cc.enqueue(call, h)
		if err == nil {
			return cc, nil
		}
		cc.window.Release(call.cost)
		if err != errIdle {
			return nil, err
		}
		<-cc.gone // it had no calls: at once
	}
}

// StartWrite sends w down its chain and returns; done is called exactly once, from
// another goroutine, with nil when every replica has the bytes. Requests of one
// chunk to one head go out in the order of the calls. It blocks no longer than the
// send window is full. done must not block, and must not call StartWrite.
func (c *Client) StartWrite(w *WriteRequest, done func(error)) {
	if err := c.startWrite(context.Background(), w, done, nil); err != nil {
		go done(err)
	}
}

// Write is StartWrite and the wait for its end. When ctx ends first, it returns as
// soon as w.Data is not needed any more; the write may then be done or not.
func (c *Client) Write(ctx context.Context, w *WriteRequest) error {
	var call *call
	if err := c.startWrite(ctx, w, nil, &call); err != nil {
		return err
	}
	_, err := call.await(ctx)
	return err
}

// startWrite starts w; if it returns nil, done will be called or *waiter await the end.
func (c *Client) startWrite(ctx context.Context, w *WriteRequest, done func(error), waiter **call) error {
	h := header{kind: kindWrite, chunk: w.Chunk, version: w.Version, offset: w.Offset, length: uint64(len(w.Data))}
	if len(w.Data) == 0 {
		h.kind, h.length = kindZero, w.Zero
	}
	if len(w.Data) > MaxPayload || h.offset > maxLength || h.length > maxLength-h.offset {
		return proto.E(proto.Invalid, h.kind.String(), fmt.Sprintf("chunk %s", w.Chunk),
			fmt.Sprintf("%d bytes at %d: a frame takes %d, a chunk ends at %d", h.length, w.Offset, MaxPayload, uint64(maxLength)))
	}
	if w.Create {
		h.flags |= flagCreate
	}
	if w.Sync {
		h.flags |= flagSync
	}
	return c.startChain(ctx, &h, w.Data, w.Chain, done, waiter)
}

// Sync makes every replica of the chain put the chunk on stable storage: all that
// was acknowledged before the call.
func (c *Client) Sync(ctx context.Context, chunk uuid.UUID, version proto.Version, chain []Hop) error {
	var call *call
	h := header{kind: kindSync, chunk: chunk, version: version}
	if err := c.startChain(ctx, &h, nil, chain, nil, &call); err != nil {
		return err
	}
	_, err := call.await(ctx)
	return err
}

// startChain sends a request that goes down a chain.
func (c *Client) startChain(ctx context.Context, h *header, data []byte, chain []Hop, done func(error), waiter **call) error {
	if err := checkChain(chain); err != nil {
		return err
	}
	call := c.newCall(h)
	call.hop, call.behind, call.data, call.done = chain[0], len(chain)-1, data, done
	h.node, h.hops = chain[0].Node, len(chain)-1
	call.head = append(call.head[:0], make([]byte, headerSize)...)
	for _, hop := range chain[1:] {
		call.head = appendHop(call.head, hop)
	}
	call.head = appendSums(call.head, h.offset, data)
	if waiter != nil {
		*waiter = call
	}
	return call.started(c.send(ctx, call, h, call.behind))
}

func checkChain(chain []Hop) error {
	if len(chain) == 0 || len(chain) > MaxChain {
		return proto.E(proto.Invalid, "use chain", "", fmt.Sprintf("it has %d hops, not 1 to %d", len(chain), MaxChain))
	}
	for _, hop := range chain {
		if len(hop.Address) == 0 || len(hop.Address) > maxAddress {
			return proto.E(proto.Invalid, "use chain", "", fmt.Sprintf("node %d has the address %q", hop.Node, hop.Address))
		}
	}
	return nil
}

// Read fills dst with verified bytes (G5). n < len(dst): the replica ends there.
// When ctx ends it returns at once.
func (c *Client) Read(ctx context.Context, r ReadRequest, dst []byte) (n int, err error) {
	if err := checkChain([]Hop{r.From}); err != nil {
		return 0, err
	}
	if r.Offset > maxLength || uint64(len(dst)) > maxLength-r.Offset {
		return 0, proto.E(proto.Invalid, "read", fmt.Sprintf("chunk %s", r.Chunk), "beyond the largest chunk")
	}
	switch {
	case len(dst) == 0:
		return 0, nil
	case r.Sums != nil && (len(dst) > MaxPayload || len(r.Sums) < Pieces(r.Offset, len(dst))):
		return 0, proto.E(proto.Invalid, "read", fmt.Sprintf("chunk %s", r.Chunk), fmt.Sprintf("room for %d checksums of %d bytes", len(r.Sums), len(dst)))
	case len(dst) > MaxPayload:
		return c.readParts(ctx, r, dst)
	}
	return c.readOne(ctx, r, dst)
}

func (c *Client) readOne(ctx context.Context, r ReadRequest, dst []byte) (int, error) {
	call, h := c.newRead(&r, dst)
	lane := laneSmallRead
	if len(dst) > smallRead {
		lane = laneBulkRead
	}
	if err := call.started(c.send(ctx, call, &h, lane)); err != nil {
		return 0, err
	}
	return call.await(ctx)
}

func (c *Client) newRead(r *ReadRequest, dst []byte) (*call, header) {
	h := header{kind: kindRead, chunk: r.Chunk, version: r.Version, offset: r.Offset, length: uint64(len(dst)), node: r.From.Node}
	call := c.newCall(&h)
	call.hop, call.dst, call.sums, call.want = r.From, dst, r.Sums, len(dst)
	call.head = append(call.head[:0], make([]byte, headerSize)...)
	return call, h
}

// ReadEach reads from many chunks of one server, with requests that go out together. Of each
// request, done is called exactly once with its place in the list, from another goroutine or
// before ReadEach returns: n and err are those of Read, but nothing ends with ctx that was
// sent. into has at least 1 and at most MaxPayload bytes for each. done must not block. ReadEach blocks no longer than the
// send window is full and ctx lasts.
func (c *Client) ReadEach(ctx context.Context, list []ReadRequest, into [][]byte, done func(k, n int, err error)) {
	var last *clientConn
	for k := range list {
		if err := checkChain([]Hop{list[k].From}); err != nil {
			done(k, 0, err)
			continue
		}
		call, h := c.newRead(&list[k], into[k])
		call.done = func(err error) { done(k, call.n, err) }
		cc, err := c.queue(ctx, call, &h, laneBulkRead)
		if err := call.started(err); err != nil {
			done(k, 0, err)
			continue
		}
		if last != nil && cc != last {
			last.out.flush()
		}
		last = cc
	}
	if last != nil {
		last.out.flush()
	}
}

// readParts splits a read over the size of a frame.
func (c *Client) readParts(ctx context.Context, r ReadRequest, dst []byte) (int, error) {
	counts := make([]int, (len(dst)+MaxPayload-1)/MaxPayload)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i := range counts {
		part := r
		part.Offset += uint64(i) * MaxPayload
		into := dst[i*MaxPayload : min(len(dst), (i+1)*MaxPayload)]
		group.Go(func() (err error) {
			counts[i], err = c.readOne(ctx, part, into)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	n := 0
	for _, count := range counts {
		n += count
		if count < MaxPayload {
			break
		}
	}
	return n, nil
}

// started makes the error of a call that could not be sent, and frees it.
func (c *call) started(err error) error {
	if err == nil {
		return nil
	}
	switch err {
	case context.Canceled, context.DeadlineExceeded:
		err = c.ended(err)
	default:
		err = c.failure(err)
	}
	c.recycle()
	return err
}

// ended is the error of a call whose context ended.
func (c *call) ended(err error) error {
	return &proto.Error{Kind: proto.KindOf(err), Op: c.kind.String(), Subject: "chunk " + c.chunk.String(), Err: err}
}

// await waits for the end of c, or of ctx.
func (c *call) await(ctx context.Context) (int, error) {
	if !c.awaitCalmly(ctx) {
		select {
		case <-c.wait:
		case <-ctx.Done():
			err := c.ended(ctx.Err())
			if c.conn.giveUp(c) {
				return 0, err
			}
			if over := <-c.wait; !over {
				return 0, err
			}
			if c.err == errCallOver {
				c.err = err
			}
		}
	}
	n, err := c.n, c.err
	c.recycle()
	return n, err
}

// awaitCalmly waits for the end of c as long as ctx cannot have ended.
func (c *call) awaitCalmly(ctx context.Context) (over bool) {
	select {
	case <-c.wait:
		return true
	default:
	}
	calm, ok := ctx.(late.Hinter)
	if !ok {
		return false
	}
	var expired <-chan time.Time
	if deadline, ok := ctx.Deadline(); ok {
		expired = c.alarm(deadline)
		defer c.timer.Stop()
	}
	select {
	case <-c.wait:
		return true
	case <-calm.Hint():
	case <-expired:
	}
	return false
}

// alarm is the channel of c's own timer.
func (c *call) alarm(at time.Time) <-chan time.Time {
	if c.timer == nil {
		c.timer = time.NewTimer(time.Until(at))
	} else {
		c.timer.Reset(time.Until(at))
	}
	return c.timer.C
}
