package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// ServerOptions tune a Server; zero values mean the defaults.
type ServerOptions struct {
	Budget          int64         // bytes of requests in flight, for each class (hops behind; reads); at least 2 MiB; default 64 MiB
	ProgressTimeout time.Duration // a peer that stops in mid-frame, or takes no replies, is dropped; default 5 s
	AliveEvery      time.Duration // how often a peer is told that its requests are being worked on; default a twentieth of ProgressTimeout
	DirtyWait       time.Duration // how long a read waits for a write that is on its way down; default 5 s
	MaxConnections  int           // default 4096

	// Broken, if set, is told when a write of a chunk was applied here at a version and
	// failed elsewhere in the chain. It must not block.
	Broken func(chunk uuid.UUID, version proto.Version)

	Logger *slog.Logger // default: none
}

func (o ServerOptions) withDefaults() ServerOptions {
	setDefault(&o.Budget, 64<<20)
	o.Budget = max(o.Budget, 2*MaxPayload)
	setDefault(&o.ProgressTimeout, 5*time.Second)
	setDefault(&o.AliveEvery, o.ProgressTimeout/20)
	setDefault(&o.DirtyWait, 5*time.Second)
	setDefault(&o.MaxConnections, 4096)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// The classes of requests that have a budget of their own: writes by the hops
// behind, and reads. See "No deadlock" in the package's documentation.
const (
	classRead  = MaxChain
	classCount = classRead + 1
)

// Server serves the data plane of one chunkserver.
type Server struct {
	store    Store
	client   *Client // to the next hops
	options  ServerOptions
	ctx      context.Context // ends when the server has stopped
	stop     context.CancelFunc
	overseer overseer
	budget   [classCount]*semaphore.Weighted // bytes
	shards   [shardCount]shard
	inflight atomic.Int64 // requests without reply
	draining atomic.Bool

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*serverConn]struct{}
}

// NewServer makes a server that keeps chunks in store and forwards through client,
// whose time-outs are those of the hops.
func NewServer(store Store, client *Client, options ServerOptions) *Server {
	s := &Server{
		store:     store,
		client:    client,
		options:   options.withDefaults(),
		overseer:  overseer{wake: make(chan struct{}, 1)},
		listeners: map[net.Listener]struct{}{},
		conns:     map[*serverConn]struct{}{},
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for i := range s.budget {
		s.budget[i] = semaphore.NewWeighted(s.options.Budget)
	}
	for i := range s.shards {
		s.shards[i].orders = map[uuid.UUID]*order{}
	}
	go s.oversee()
	go s.watch()
	return s
}

// Serve accepts connections until Shutdown; it then returns nil. A Server may serve
// several listeners.
func (s *Server) Serve(listener net.Listener) error {
	if !s.add(listener) {
		listener.Close()
		return nil
	}
	pause := time.Duration(0)
	for {
		conn, err := listener.Accept()
		switch {
		case err == nil:
			pause = 0
			s.accept(conn)
		case s.draining.Load():
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // out of descriptors, say
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.options.Logger.Warn("accept data connection", "error", err, "pause", pause)
			time.Sleep(pause)
		}
	}
}

func (s *Server) add(listener net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.listeners[listener] = struct{}{}
	return true
}

func (s *Server) accept(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() || len(s.conns) >= s.options.MaxConnections {
		s.options.Logger.Warn("data connection refused", "peer", conn.RemoteAddr().String(), "connections", len(s.conns))
		conn.Close()
		return
	}
	c := s.newConn(conn)
	s.conns[c] = struct{}{}
	c.start()
}

func (s *Server) remove(c *serverConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// watch looks after the progress of the connections.
func (s *Server) watch() {
	ticker := time.NewTicker(s.options.AliveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
			return
		}
		s.each((*serverConn).check)
	}
}

// each calls f for every connection, without the lock.
func (s *Server) each(f func(*serverConn)) {
	s.mu.Lock()
	conns := make([]*serverConn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		f(c)
	}
}

// Shutdown stops accepting, lets the requests in flight finish until ctx ends, and
// closes every connection. It does not close store or client.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining.Store(true)
	for listener := range s.listeners {
		listener.Close()
	}
	s.mu.Unlock()
	s.each((*serverConn).drain)
	err := s.awaitIdle(ctx)
	s.stop()
	s.each(func(c *serverConn) { c.fail(context.Canceled) })
	return err
}

// awaitIdle waits until no request is without reply.
func (s *Server) awaitIdle(ctx context.Context) error {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for s.inflight.Load() > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
