package chunk

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/distrifs/distrifs/internal/again"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

const (
	callTimeout = 5 * time.Second // for an answer of the master

	maxChanged = 10_000                 // replicas in one heartbeat
	maxResults = 1000                   // results in one heartbeat
	patience   = 100 * time.Millisecond // of a heartbeat with replicas that are in use
)

type agentOptions struct {
	master  string // host:port
	address string // of the data plane, as others reach it
	version string // of the software
	dial    func(ctx context.Context, address string) (net.Conn, error)
	peers   peers
	lease   *lease                // nil: of nobody's concern
	forget  func(chunk uuid.UUID) // told after a replica was removed or replaced
	log     *slog.Logger
}

// agent talks to the master: it registers, then keeps a heartbeat stream, reports
// what the store holds, and carries out the orders that come back.
type agent struct {
	agentOptions
	store    *Store
	sequence atomic.Uint64 // of heartbeats and reports of this incarnation (L5)
	joined   bool          // a master has taken us in since the start
}

func newAgent(store *Store, o agentOptions) *agent {
	if o.lease == nil {
		o.lease = newLease()
	}
	return &agent{agentOptions: o, store: store}
}

// run keeps a session with the master until ctx ends. It fails only when the first
// master that answers is another cluster's.
func (a *agent) run(ctx context.Context) error {
	conn, err := grpc.NewClient("passthrough:///"+a.master,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(a.dial),
		grpc.WithStaticStreamWindowSize(proto.StreamWindow),
		grpc.WithStaticConnWindowSize(proto.ConnectionWindow),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           again.Connecting,
			MinConnectTimeout: callTimeout,
		}))
	if err != nil {
		return &proto.Error{Kind: proto.Invalid, Op: "connect to master", Subject: a.master, Err: err}
	}
	defer conn.Close()
	nodes := pb.NewDataNodesClient(conn)
	var attempts again.Attempts
	for {
		registered, err := a.session(ctx, nodes)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, proto.WrongCluster) && !a.joined {
			return err
		}
		pause, tell := attempts.Failed(registered)
		if tell {
			a.log.Warn("no session with the master: trying again", "master", a.master, "error", err)
		}
		if !sleepUntil(ctx, time.Now().Add(pause)) {
			return nil
		}
	}
}

// terms are what the master answered to the registration.
type terms struct {
	heartbeat time.Duration
	deadAfter time.Duration
	report    time.Duration
	buckets   uint32
}

// session registers and stays until something breaks; the error is never nil.
func (a *agent) session(ctx context.Context, nodes pb.DataNodesClient) (registered bool, err error) {
	t, err := a.register(ctx, nodes)
	if err != nil {
		return false, err
	}
	group, ctx := errgroup.WithContext(ctx)
	stream, err := nodes.Heartbeat(ctx)
	if err != nil {
		return true, proto.FromStatus(err)
	}
	s := &session{agent: a, terms: t, nodes: nodes, stream: stream, answered: make(chan struct{}, 1), orders: make(chan *pb.NodeCommand, maxOrders), copies: make(chan *pb.NodeCommand, maxCopies)}
	group.Go(func() error { return s.beat(ctx) })
	group.Go(func() error { return s.receive() })
	group.Go(func() error { return s.watch(ctx) })
	group.Go(func() error { return s.reports(ctx) })
	for range orderWorkers {
		group.Go(func() error { return s.work(ctx, s.orders) })
	}
	for range copyWorkers {
		group.Go(func() error { return s.work(ctx, s.copies) })
	}
	return true, group.Wait()
}

func (a *agent) register(ctx context.Context, nodes pb.DataNodesClient) (terms, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request := &pb.RegisterDataNodeRequest{
		Incarnation: a.store.incarnation,
		Address:     a.address,
		Version:     a.version,
		Chunks:      uint64(a.store.count()),
		Disks:       a.store.disks(),
		Instance:    a.store.instance.String(),
	}
	if m := a.store.membership.Load(); m != nil {
		request.Cluster, request.Node, request.Epoch = m.cluster.String(), uint32(m.node), uint64(m.epoch)
	}
	sent := time.Now()
	reply, err := nodes.RegisterDataNode(ctx, request)
	if err != nil {
		return terms{}, proto.FromStatus(err)
	}
	if reply.Newest != 0 {
		return terms{}, a.setBack(reply.Newest)
	}
	cluster, err := proto.ParseClusterID(reply.Cluster)
	if err != nil {
		return terms{}, err
	}
	if reply.HeartbeatMs == 0 || reply.DeadAfterMs == 0 || reply.ReportMs == 0 || reply.Buckets == 0 || reply.Buckets > maxBuckets {
		return terms{}, proto.E(proto.Malformed, "register with", a.master, "the master's answer lacks intervals or buckets")
	}
	if err := a.store.join(cluster, proto.NodeID(reply.Node), reply.ChunkSize, proto.Epoch(reply.Epoch)); err != nil {
		return terms{}, err
	}
	a.joined = true
	a.lease.renew(sent, time.Duration(reply.DeadAfterMs)*time.Millisecond)
	a.log.Info("registered with the master", "master", a.master, "cluster", reply.Cluster, "node", reply.Node, "epoch", reply.Epoch)
	milliseconds := func(ms uint32) time.Duration { return time.Duration(ms) * time.Millisecond }
	return terms{milliseconds(reply.HeartbeatMs), milliseconds(reply.DeadAfterMs), milliseconds(reply.ReportMs), reply.Buckets}, nil
}

// setBack follows the master's word that a later start than this one is known to it; the
// error says why this registration has failed. Who was registered before is succeeded by
// a process that uses a copy of its folders, and is not to answer with the same (L15).
func (a *agent) setBack(newest uint64) error {
	if a.joined {
		return proto.E(proto.OldEpoch, "register", a.address, "a later start of this chunkserver is registered: a copy of its data folders is in use elsewhere; stop one of the two")
	}
	if err := a.store.setBack(newest); err != nil {
		return err
	}
	return proto.E(proto.Unavailable, "register", a.address, "its data folders are an older copy: all they hold is doubted now, and it registers again")
}

// session is one stream to the master and what belongs to it. What is not done
// when it breaks is dropped: the master asks again, and hears a full report.
type session struct {
	*agent
	terms
	nodes    pb.DataNodesClient
	stream   grpc.BidiStreamingClient[pb.HeartbeatRequest, pb.NodeCommand]
	answered chan struct{} // has one when the master was heard of
	orders   chan *pb.NodeCommand
	copies   chan *pb.NodeCommand

	copied, deleted atomic.Int64 // replicas, by order of the master, since that was last logged

	mu      sync.Mutex // protects below
	results []*pb.CommandResult
	sent    []time.Time // of heartbeats that are not acknowledged yet, in order
}

// beat sends heartbeats: one every interval, and at once when something is urgent.
func (s *session) beat(ctx context.Context) error {
	ticker := time.NewTicker(min(s.heartbeat, s.deadAfter/3)) // so that the lease does not end in between
	defer ticker.Stop()
	for {
		request, more := s.compose(ctx)
		s.sending(time.Now())
		if err := s.stream.Send(request); err != nil {
			return proto.E(proto.Unavailable, "heartbeat to", s.master, "the stream broke")
		}
		if more {
			continue
		}
		select {
		case <-ticker.C:
			s.logOrders()
		case <-s.store.changes.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// logOrders sums up what was done by order of the master.
func (s *session) logOrders() {
	if copied, deleted := s.copied.Swap(0), s.deleted.Swap(0); copied+deleted > 0 {
		s.log.Info("replicas copied and deleted by order of the master", "copied", copied, "deleted", deleted)
	}
}

// compose builds the next heartbeat; more: it could not hold everything. It waits for no disk:
// one that hangs does not keep the master from hearing of the others.
func (s *session) compose(ctx context.Context) (request *pb.HeartbeatRequest, more bool) {
	request = &pb.HeartbeatRequest{
		Node:        uint32(s.store.membership.Load().node),
		Incarnation: s.store.incarnation,
		Sequence:    s.sequence.Add(1), // before the replicas are looked at (L5)
		Disks:       s.store.disks(),
		Chunks:      uint64(s.store.count()),
		Load:        uint32(s.store.load.Load()),
	}
	s.mu.Lock()
	n := min(len(s.results), maxResults)
	request.Results, s.results = s.results[:n:n], s.results[n:]
	more = len(s.results) > 0
	s.mu.Unlock()
	ids, left := s.store.changes.take(maxChanged)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, id := range ids {
		switch state, busy := s.store.stateWithin(ctx, id); {
		case busy:
			s.store.changes.note(id, false) // for the next heartbeat
		case state != nil:
			request.Changed = append(request.Changed, state)
		default:
			request.Removed = append(request.Removed, uint64(id))
		}
	}
	return request, more || left
}

// receive takes what the master sends.
func (s *session) receive() error {
	for {
		command, err := s.stream.Recv()
		if err != nil {
			return proto.FromStatus(err)
		}
		select {
		case s.answered <- struct{}{}:
		default:
		}
		switch c := command.Command.(type) {
		case *pb.NodeCommand_Acknowledge:
			s.acknowledged()
			s.store.compareWith(time.Duration(c.Acknowledge.TypicalLatencyUs) * time.Microsecond)
		case *pb.NodeCommand_Register:
			return proto.E(proto.Unavailable, "heartbeat to", s.master, "the master asks to register again")
		case *pb.NodeCommand_Copy:
			s.queue(s.copies, command)
		default:
			s.queue(s.orders, command)
		}
	}
}

// maxUnacknowledged bounds the heartbeats whose time of sending is remembered.
const maxUnacknowledged = 1 << 16

// sending notes when a heartbeat is sent, and acknowledged that the first one which was
// not answered yet has been.
func (s *session) sending(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sent) < maxUnacknowledged { // else the stream will be over long before
		s.sent = append(s.sent, now)
	}
}

func (s *session) acknowledged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sent) > 0 {
		s.lease.renew(s.sent[0], s.deadAfter)
		s.sent = s.sent[1:]
	}
}

// watch ends the session when the master has been silent for too long.
func (s *session) watch(ctx context.Context) error {
	for {
		select {
		case <-s.answered:
		case <-time.After(s.deadAfter):
			return proto.E(proto.Timeout, "heartbeat to", s.master, "the master does not answer")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
