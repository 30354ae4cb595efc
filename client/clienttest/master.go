package clienttest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// MasterAddress is where to Dial.
const MasterAddress = "master:9420"

// Options of a Cluster; zero values mean the defaults.
type Options struct {
	ChunkSize      uint64        // default 1 MiB
	Nodes          int           // default 3
	Replicas       int           // default 3
	MinReplicas    int           // default 2
	SessionTimeout time.Duration // told to clients; default 2 s. Sessions end only by Expire
	LeaseTime      time.Duration // default 0: no leases are granted
	Slots          uint32        // default 64
	Free           uint64        // bytes there is room for; default 1 TiB
	Logger         *slog.Logger
}

// Cluster is a master and its chunkservers.
type Cluster struct {
	pb.UnimplementedMasterServer
	Nodes []*Node

	opts    Options
	net     *network
	id      proto.ClusterID
	stopped sync.WaitGroup

	serving sync.Mutex // Start, Stop
	server  *grpc.Server

	mu       sync.Mutex // protects all below
	hook     Hook
	counts   map[string]int
	last     map[string]protobuf.Message
	sessions map[uint64]*session
	nextID   uint64
	epoch    uint64
	inodes   map[uint64]*inode
	chunks   map[uint64]*chunk
	corrupt  []*pb.ReportCorruptRequest
	assigned int // chunks so far
	alive    int // keepalives so far
	mute     bool
	silent   map[*Node]bool  // not heard of: locations lack its address
	full     map[uint32]bool // ids of those that were reported to have no room
	leases   map[uint64]holdings
	locks    map[uint64]*fileLocks
	claims   map[uint64]int // on inodes, of calls under way
	returned *sync.Cond     // leases were given back
}

// Hook is called for each unary call of the master, before it is carried out
// and, if that went well, after it. An error is the answer instead; after the
// call, that is an answer lost.
type Hook func(method string, request any, after bool) error

type session struct {
	id      uint64
	answers map[uint32]*answer
	opens   map[uint64]uint32
	here    map[uint64]bool // it says that it opened these without a call
	gone    chan struct{}
	claims  int  // Hellos that resumed it
	silent  bool // since the master was started
	leases  bool
	recalls uint64                // sent
	owed    map[uint64]*pb.Recall // that were not answered, by number
	events  chan *pb.SessionEvent // to be sent
}

type answer struct {
	sequence uint64
	reply    any
	err      error
}

// New starts a cluster that ends with the test.
func New(t testing.TB, opts Options) *Cluster {
	if opts.ChunkSize == 0 {
		opts.ChunkSize = 1 << 20
	}
	if opts.Nodes == 0 {
		opts.Nodes = 3
	}
	if opts.Replicas == 0 {
		opts.Replicas = 3
	}
	if opts.MinReplicas == 0 {
		opts.MinReplicas = min(2, opts.Replicas)
	}
	if opts.SessionTimeout == 0 {
		opts.SessionTimeout = 2 * time.Second
	}
	if opts.Slots == 0 {
		opts.Slots = 64
	}
	if opts.Free == 0 {
		opts.Free = 1 << 40
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{
		opts: opts, net: newNetwork(), id: proto.ClusterID(uuid.New()),
		counts: map[string]int{}, last: map[string]protobuf.Message{},
		silent: map[*Node]bool{}, full: map[uint32]bool{}, sessions: map[uint64]*session{}, inodes: map[uint64]*inode{}, chunks: map[uint64]*chunk{},
		leases: map[uint64]holdings{}, locks: map[uint64]*fileLocks{}, claims: map[uint64]int{},
	}
	c.returned = sync.NewCond(&c.mu)
	c.inodes[uint64(proto.RootInode)] = newInode(uint64(proto.RootInode), 0o40777)
	c.nextID = uint64(proto.RootInode)
	for i := range opts.Nodes {
		c.Nodes = append(c.Nodes, newNode(proto.NodeID(i+1), "node"+string(rune('1'+i))+":9421", c.net, opts.Logger, int(opts.ChunkSize)))
	}
	c.Start()
	t.Cleanup(func() {
		c.Stop()
		c.stopped.Wait()
		for _, n := range c.Nodes {
			n.Kill()
			n.client.Close()
		}
	})
	return c
}

// Dial is for client.Options.Dial.
func (c *Cluster) Dial(ctx context.Context, address string) (net.Conn, error) {
	return c.net.dial(ctx, address)
}

// DialOptions is for client.Options.DialOptions.
func (c *Cluster) DialOptions() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithContextDialer(c.net.dial), grpc.WithTransportCredentials(insecure.NewCredentials())}
}

// Start lets the master answer (again), with its names, chunks and sessions; which
// files are open it has forgotten.
func (c *Cluster) Start() {
	c.serving.Lock()
	defer c.serving.Unlock()
	c.mu.Lock()
	c.epoch++
	for _, s := range c.sessions {
		clear(s.opens)
		clear(s.here)
		clear(s.owed)
		s.recalls = 0
		s.silent = true
		c.forgetLeases(s)
	}
	c.mu.Unlock()
	server := grpc.NewServer(grpc.UnaryInterceptor(c.intercept), grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		return proto.ToStatus(handle(srv, stream))
	}))
	pb.RegisterMasterServer(server, c)
	listener := c.net.listen(MasterAddress)
	c.server = server
	c.stopped.Go(func() { _ = server.Serve(listener) }) // it ends with Stop
}

// Stop breaks all connections to the master.
func (c *Cluster) Stop() {
	c.serving.Lock()
	defer c.serving.Unlock()
	c.net.cut(MasterAddress)
	c.server.Stop()
}

// Hook sets the hook; nil removes it.
func (c *Cluster) Hook(hook Hook) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hook = hook
}

// Count of calls of a method that were carried out, repeated ones left out.
func (c *Cluster) Count(method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[method]
}

// Counts is Count of all methods.
func (c *Cluster) Counts() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts)
}

// Last request of a method that was carried out; nil: none.
func (c *Cluster) Last(method string) protobuf.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last[method]
}

// Corrupt lists the reports of corrupt replicas.
func (c *Cluster) Corrupt() []*pb.ReportCorruptRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*pb.ReportCorruptRequest(nil), c.corrupt...)
}

// Sessions tells how many sessions live.
func (c *Cluster) Sessions() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sessions)
}

// Opens tells how often an inode is open, by all sessions.
func (c *Cluster) Opens(ino proto.InodeID) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, s := range c.sessions {
		n += int(s.opens[uint64(ino)])
		if s.here[uint64(ino)] {
			n++
		}
	}
	return n
}

// KeepAlives tells how many came.
func (c *Cluster) KeepAlives() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.alive
}

// Mute makes the master leave keepalives unanswered for the time being.
func (c *Cluster) Mute(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mute = on
}

// Silence makes the master know no address of a node, as after a start of the
// master until the node has reported.
func (c *Cluster) Silence(n *Node, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent[n] = on
}

// Expire ends all sessions and gives up the chunks that were assigned and not
// committed. Their replicas stay where they are, as they would for a while.
func (c *Cluster) Expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropAssigned()
	for id, s := range c.sessions {
		c.forgetLeases(s)
		close(s.gone)
		delete(c.sessions, id)
	}
}

// DropAssigned gives up the chunks that were assigned and not committed.
func (c *Cluster) DropAssigned() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropAssigned()
}

func (c *Cluster) dropAssigned() {
	for id, ch := range c.chunks {
		if !ch.committed {
			delete(c.chunks, id)
			delete(c.inodes[ch.inode].chunks, ch.index)
		}
	}
}

// intercept checks the session, answers repeated requests from their slot, and
// runs the hook.
func (c *Cluster) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	method := info.FullMethod[len("/distrifs.Master/"):]
	reply, err := c.serve(ctx, method, req, handle)
	return reply, proto.ToStatus(err)
}

func (c *Cluster) serve(ctx context.Context, method string, req any, handle grpc.UnaryHandler) (any, error) {
	c.mu.Lock()
	hook := c.hook
	c.mu.Unlock()
	if hook != nil {
		if err := hook(method, req, false); err != nil {
			return nil, err
		}
	}
	reply, err := c.once(ctx, method, req, handle)
	if hook != nil && err == nil {
		if err := hook(method, req, true); err != nil {
			return nil, err
		}
	}
	return reply, err
}

func (c *Cluster) once(ctx context.Context, method string, req any, handle grpc.UnaryHandler) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	with, ok := req.(interface{ GetCaller() *pb.Caller })
	if !ok {
		return handle(ctx, req)
	}
	caller := with.GetCaller()
	s := c.sessions[caller.GetSession()]
	if s == nil {
		return nil, proto.SessionExpired
	}
	known := s.answers[caller.Slot]
	if caller.Sequence > 0 && known != nil {
		if caller.Sequence == known.sequence {
			return known.reply, known.err
		}
		if caller.Sequence < known.sequence {
			return nil, proto.Malformed
		}
	}
	release, err := c.claim(ctx, s, req)
	if err != nil {
		return nil, err
	}
	defer release()
	c.counts[method]++
	c.last[method] = req.(protobuf.Message)
	reply, err := handle(context.WithValue(ctx, sessionKey{}, s), req)
	if err == nil {
		c.grant(s, req, reply)
	}
	if caller.Sequence > 0 && err != proto.Unavailable {
		s.answers[caller.Slot] = &answer{caller.Sequence, reply, err}
	}
	return reply, err
}

type sessionKey struct{}

func sessionOf(ctx context.Context) *session { return ctx.Value(sessionKey{}).(*session) }

// Session implements the stream of pb.MasterServer.
func (c *Cluster) Session(stream pb.Master_SessionServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	s, err := c.hello(first.GetHello())
	if err != nil {
		return err
	}
	if s == nil {
		return stream.Send(&pb.SessionEvent{Event: &pb.SessionEvent_Expired{Expired: &pb.Expired{}}})
	}
	c.mu.Lock()
	epoch := c.epoch
	c.mu.Unlock()
	welcome := &pb.Welcome{
		Session: s.id, Cluster: c.id.String(), Epoch: epoch, TimeoutMs: uint32(c.opts.SessionTimeout.Milliseconds()),
		Slots: c.opts.Slots, ChunkSize: c.opts.ChunkSize, Replicas: uint32(c.opts.Replicas),
		MinReplicas: uint32(c.opts.MinReplicas), Root: uint64(proto.RootInode),
		LeaseMs: uint32(c.opts.LeaseTime.Milliseconds()),
	}
	if err := stream.Send(&pb.SessionEvent{Event: &pb.SessionEvent_Welcome{Welcome: welcome}}); err != nil {
		return err
	}
	c.askAgain(s)
	return c.keepAlive(stream, s)
}

func (c *Cluster) hello(h *pb.Hello) (*session, error) {
	if h == nil {
		return nil, proto.Malformed
	}
	if h.Cluster != "" && h.Cluster != c.id.String() {
		return nil, proto.WrongCluster
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.Resume == 0 {
		c.nextID++
		s := &session{
			id: c.nextID, answers: map[uint32]*answer{}, opens: map[uint64]uint32{}, here: map[uint64]bool{}, gone: make(chan struct{}),
			leases: h.Leases, owed: map[uint64]*pb.Recall{}, events: make(chan *pb.SessionEvent, 4096),
		}
		c.sessions[s.id] = s
		return s, nil
	}
	s := c.sessions[h.Resume]
	if s == nil {
		return nil, nil
	}
	s.claims++
	if s.silent {
		s.silent = false
		if err := c.claimLocks(s, h.Locks); err != nil {
			return nil, err
		}
	}
	clear(s.opens)
	for _, o := range h.Open {
		s.opens[o.Inode] = o.Count
	}
	clear(s.here)
	for _, ino := range h.OpenedHere {
		s.here[ino] = true
	}
	for _, ino := range h.Exclusive {
		if c.leases[ino] == nil {
			c.leases[ino] = holdings{}
		}
		if c.leases[ino][s] == nil {
			c.leases[ino][s] = &holding{pb.LeaseMode_LEASE_EXCLUSIVE, pb.LeaseMode_LEASE_EXCLUSIVE}
		}
	}
	return s, nil
}

func (c *Cluster) keepAlive(stream pb.Master_SessionServer, s *session) error {
	requests := make(chan *pb.SessionRequest)
	broken := make(chan error, 1)
	go func() {
		for {
			request, err := stream.Recv()
			if err != nil {
				broken <- err
				return
			}
			select {
			case requests <- request:
			case <-stream.Context().Done():
				return
			}
		}
	}()
	unanswered := 0
	for {
		select {
		case request := <-requests:
			if r := request.GetReturned(); r != nil {
				c.giveBack(s, r)
				continue
			}
			if request.GetKeepAlive().GetGoodbye() {
				c.mu.Lock()
				c.forgetLeases(s)
				delete(c.sessions, s.id)
				c.mu.Unlock()
				return nil
			}
			c.mu.Lock()
			c.alive++
			mute := c.mute
			c.mu.Unlock()
			if unanswered++; mute {
				continue
			}
			for ; unanswered > 0; unanswered-- {
				if err := stream.Send(&pb.SessionEvent{Event: &pb.SessionEvent_Alive{Alive: &pb.Alive{}}}); err != nil {
					return err
				}
			}
		case event := <-s.events:
			if err := stream.Send(event); err != nil {
				return err
			}
		case err := <-broken:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-s.gone:
			return stream.Send(&pb.SessionEvent{Event: &pb.SessionEvent_Expired{Expired: &pb.Expired{}}})
		}
	}
}
