package pipeline

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

func TestMain(m *testing.M) {
	PoisonBuffers(true) // L12
	os.Exit(m.Run())
}

// memStore keeps replicas in memory. The hooks, if set, run first and may fail or
// block the operation. Tests change it by set alone.
type memStore struct {
	mu       sync.Mutex // protects all below
	replicas map[uuid.UUID]*memReplica
	size     int // of a replica, bytes

	onWrite func(chunk uuid.UUID, off uint64, n int) error
	onRead  func(chunk uuid.UUID) error
	onSync  func(chunk uuid.UUID) error
	synced  map[uuid.UUID]int
}

type memReplica struct {
	mu      sync.RWMutex
	version proto.Version
	data    []byte
}

func newMemStore() *memStore {
	return &memStore{replicas: map[uuid.UUID]*memReplica{}, size: 4 << 20, synced: map[uuid.UUID]int{}}
}

func (s *memStore) replica(chunk uuid.UUID, v proto.Version, create bool) (*memReplica, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.replicas[chunk]
	if r == nil && create {
		r = &memReplica{version: v}
		s.replicas[chunk] = r
	}
	switch {
	case r == nil:
		return nil, proto.E(proto.NoReplica, "", "", "")
	case r.version != v:
		return nil, proto.E(proto.WrongVersion, "", "", "")
	}
	return r, nil
}

func (s *memStore) set(change func(s *memStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *memStore) setSize(n int) { s.set(func(s *memStore) { s.size = n }) }

func (s *memStore) setVersion(chunk uuid.UUID, v proto.Version) {
	s.set(func(s *memStore) { s.replicas[chunk].version = v })
}

func (s *memStore) Write(chunk uuid.UUID, v proto.Version, off uint64, data []byte, sums []uint32, create bool) error {
	return s.change(chunk, v, off, len(data), create, func(dst []byte) error {
		if !poisoning.Load() { // a benchmark
			copy(dst, data)
			return nil
		}
		if raw := encodeSums(nil, sums); len(sums) != Pieces(off, len(data)) || badPiece(raw, off, data) >= 0 {
			return proto.E(proto.DataCorrupt, "", "", "the server passed on unverified bytes")
		}
		copy(dst, data)
		return nil
	})
}

func (s *memStore) Zero(chunk uuid.UUID, v proto.Version, off, n uint64, create bool) error {
	return s.change(chunk, v, off, int(n), create, func(dst []byte) error { clear(dst); return nil })
}

func (s *memStore) change(chunk uuid.UUID, v proto.Version, off uint64, n int, create bool, f func(dst []byte) error) error {
	s.mu.Lock()
	hook, size := s.onWrite, s.size
	s.mu.Unlock()
	if hook != nil {
		if err := hook(chunk, off, n); err != nil {
			return err
		}
	}
	r, err := s.replica(chunk, v, create)
	if err != nil {
		return err
	}
	end := int(off) + n
	if end > size {
		return proto.E(proto.NoSpace, "", "", "")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.data == nil {
		r.data = make([]byte, 0, size)
	}
	if end > len(r.data) {
		r.data = r.data[:end]
	}
	return f(r.data[off:end])
}

func (s *memStore) Read(chunk uuid.UUID, v proto.Version, off uint64, dst []byte, sums []uint32) (int, error) {
	s.mu.Lock()
	hook := s.onRead
	s.mu.Unlock()
	if hook != nil {
		if err := hook(chunk); err != nil {
			return 0, err
		}
	}
	r, err := s.replica(chunk, v, false)
	if err != nil {
		return 0, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	n := 0
	if off < uint64(len(r.data)) {
		n = copy(dst, r.data[off:])
	}
	at := 0
	for i := range sums[:Pieces(off, n)] {
		size := firstPiece(off+uint64(at), n-at)
		sums[i] = checksum(dst[at : at+size])
		at += size
	}
	return n, nil
}

func (s *memStore) Extent(chunk uuid.UUID, v proto.Version, off, n uint64) (start, end uint64, err error) {
	r, err := s.replica(chunk, v, false)
	if err != nil {
		return 0, 0, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	data := func(at uint64) bool {
		for _, b := range r.data[min(at, uint64(len(r.data))):min(at+proto.BlockSize, uint64(len(r.data)))] {
			if b != 0 {
				return true
			}
		}
		return false
	}
	for start = off; start < off+n && !data(start); start += proto.BlockSize {
	}
	for end = start; end < off+n && data(end); end += proto.BlockSize {
	}
	return min(start, off+n), min(end, off+n), nil
}

func (s *memStore) Sums(chunk uuid.UUID, v proto.Version, off, n uint64, dst []uint32) (uint64, []uint32, error) {
	r, err := s.replica(chunk, v, false)
	if err != nil {
		return 0, nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	length := uint64(len(r.data))
	for ; off < length && n > 0; off, n = off+proto.BlockSize, n-min(n, proto.BlockSize) {
		var block [proto.BlockSize]byte
		copy(block[:], r.data[off:])
		dst = append(dst, checksum(block[:]))
	}
	return length, dst, nil
}

func (s *memStore) Sync(chunk uuid.UUID, v proto.Version) error {
	s.mu.Lock()
	hook := s.onSync
	s.mu.Unlock()
	if hook != nil {
		if err := hook(chunk); err != nil {
			return err
		}
	}
	if _, err := s.replica(chunk, v, false); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.synced[chunk]++
	return nil
}

func (s *memStore) content(chunk uuid.UUID) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.replicas[chunk]
	if r == nil {
		return nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return append([]byte(nil), r.data...)
}

func (s *memStore) syncs(chunk uuid.UUID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced[chunk]
}

// remembered is the number of chunks that the server knows anything about.
func (m *member) remembered() (n int) {
	for i := range m.server.shards {
		sh := &m.server.shards[i]
		sh.mu.Lock()
		n += len(sh.orders)
		sh.mu.Unlock()
	}
	return n
}

// member is one chunkserver of a test.
type member struct {
	store  *memStore
	server *Server
	client *Client
	hop    Hop
}

// cluster is a row of servers and a client.
type cluster struct {
	members []*member
	client  *Client
	network *network
}

// network connects the parts of a test: over loopback, or in memory.
type network struct {
	mu    sync.Mutex
	pipes map[string]*pipeListener // nil: loopback
}

func (n *network) dial(ctx context.Context, address string) (net.Conn, error) {
	if n.pipes == nil {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	n.mu.Lock()
	l := n.pipes[address]
	n.mu.Unlock()
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "pipe", Err: net.ErrClosed}
	}
	return l.dial(ctx)
}

func (n *network) listen(t testing.TB, address string) net.Listener {
	t.Helper()
	if n.pipes != nil {
		l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{}), address: address}
		n.mu.Lock()
		n.pipes[address] = l
		n.mu.Unlock()
		return l
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

type pipeListener struct {
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
	address string
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return pipeAddr(l.address) }

type pipeAddr string

func (a pipeAddr) Network() string { return "pipe" }
func (a pipeAddr) String() string  { return string(a) }

type clusterOptions struct {
	client ClientOptions
	server ServerOptions
	pipes  bool
	// wrap may change the connections that member i (-1: the client) dials.
	wrap func(i int, conn net.Conn) net.Conn
}

func (o clusterOptions) dialer(network *network, i int) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := network.dial(ctx, address)
		if err == nil && o.wrap != nil {
			conn = o.wrap(i, conn)
		}
		return conn, err
	}
}

func newCluster(t testing.TB, n int, options clusterOptions) *cluster {
	t.Helper()
	network := &network{}
	if options.pipes {
		network.pipes = map[string]*pipeListener{}
	}
	logger := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	options.client.Logger, options.server.Logger = logger, logger
	options.client.Dial = options.dialer(network, -1)
	c := &cluster{client: NewClient(options.client), network: network}
	for i := range n {
		options.client.Dial = options.dialer(network, i)
		m := &member{store: newMemStore(), client: NewClient(options.client)}
		m.server = NewServer(m.store, m.client, options.server)
		l := network.listen(t, string(rune('A'+i)))
		m.hop = Hop{Node: proto.NodeID(i + 1), Address: l.Addr().String()}
		go m.server.Serve(l)
		c.members = append(c.members, m)
	}
	t.Cleanup(func() {
		c.client.Close()
		for _, m := range c.members {
			m.stop()
		}
	})
	return c
}

// stop ends a member without waiting for anything.
func (m *member) stop() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	m.server.Shutdown(ctx)
	m.client.Close()
}

func (c *cluster) chain() (hops []Hop) {
	for _, m := range c.members {
		hops = append(hops, m.hop)
	}
	return hops
}

func testChunk(i int) (chunk uuid.UUID) {
	binary.BigEndian.PutUint64(chunk[8:], uint64(i))
	return chunk
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
