package meta

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// The tests run a whole master on a disk in memory, over connections in memory, in
// fake time, with fake chunkservers and clients that speak the real protocol.

// cluster is a master with who talks to it.
type cluster struct {
	t      *testing.T
	cfg    Config
	disk   *disk.Mem
	master *Master
	conn   *grpc.ClientConn
	nodes  []*fakeNode

	mu         sync.Mutex
	transcript []string
	copying    map[uint32]int // copies under way that a chunkserver takes part in
	most       int            // of them, ever, at one chunkserver
}

// inCluster runs a test with a new cluster of n chunkservers in fake time.
func inCluster(t *testing.T, n int, cfg Config, test func(c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, disk: disk.NewMem(), cfg: cfg}
		c.cfg.Dir = "/master"
		if testing.Verbose() {
			c.cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		}
		c.start()
		defer c.stop()
		for range n {
			c.addNode()
		}
		synctest.Wait()
		test(c)
	})
}

func (c *cluster) start() {
	c.t.Helper()
	c.cfg.FS, c.cfg.Dial = c.disk, c.dialNode
	master, err := Open(c.cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.master = master
	listener := bufconn.Listen(1 << 20)
	go func() {
		if err := master.Serve(listener); err != nil {
			c.t.Error(err)
		}
	}()
	c.conn, err = grpc.NewClient("passthrough:///master", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) stop() {
	for _, n := range c.nodes {
		n.kill()
	}
	c.conn.Close()
	if err := c.master.Close(); err != nil {
		c.t.Error(err)
	}
}

// crash replaces the master by one that starts from what a power cut left of its
// disk. The chunkservers connect to it; clients have to resume.
func (c *cluster) crash(seed uint64) {
	c.t.Helper()
	left := c.disk.CrashClone(seed)
	for _, n := range c.nodes {
		n.kill()
	}
	c.conn.Close()
	c.master.Close() // of the old disk: the new one does not see it
	c.disk = left
	c.start()
	for _, n := range c.nodes {
		n.start()
	}
	synctest.Wait()
}

// copies counts a copy between chunkservers until done.
func (c *cluster) copies(nodes ...uint32) (done func()) {
	count := func(by int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.copying == nil {
			c.copying = map[uint32]int{}
		}
		for _, n := range nodes {
			c.copying[n] += by
			c.most = max(c.most, c.copying[n])
		}
	}
	count(1)
	return func() { count(-1) }
}

// dialNode finds that a chunkserver's port refuses, or that its host is silent.
func (c *cluster) dialNode(_ context.Context, address string) (net.Conn, error) {
	for _, n := range c.nodes {
		n.mu.Lock()
		refuses := n.address == address && n.refuses
		n.mu.Unlock()
		if refuses {
			return nil, syscall.ECONNREFUSED
		}
	}
	return nil, context.DeadlineExceeded
}

func (c *cluster) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transcript = append(c.transcript, fmt.Sprintf(format, args...))
}

// take gives the transcript since the last call, in lines.
func (c *cluster) take() string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	text := strings.Join(c.transcript, "\n")
	c.transcript = nil
	return text
}

// status asks the master.
func (c *cluster) status() *pb.StatusReply {
	c.t.Helper()
	reply, err := pb.NewMasterClient(c.conn).Status(c.t.Context(), &pb.StatusRequest{})
	if err != nil {
		c.t.Fatal(err)
	}
	return reply
}

// fakeNode is a chunkserver without disks: it remembers versions. A replica's length
// stands for its bytes.
type fakeNode struct {
	c        *cluster
	instance string
	address  string
	cluster  string
	id       uint32

	mu          sync.Mutex // protects below
	starts      uint32     // the chance in its incarnations
	incarnation uint64
	sequence    uint64
	replicas    map[proto.ChunkID]*pb.ReplicaState
	changed     []*pb.ReplicaState
	removed     []uint64
	results     []*pb.CommandResult
	free        uint64
	size        uint64                           // of a disk that its replicas fill; 0: one of fakeDisk bytes with free
	refuse      func(*pb.NodeCommand) proto.Kind // of orders; nil: none
	deaf        bool                             // orders are not answered
	refuses     bool                             // nobody listens at its port
	copying     time.Duration                    // how long a copy takes
	sick        bool                             // its disk is sick: it has no room

	wake   chan struct{}
	cancel context.CancelFunc // nil: not running
	ended  chan struct{}
}

const fakeDisk = 1 << 40

func (c *cluster) addNode() *fakeNode {
	n := c.newNode()
	c.nodes = append(c.nodes, n)
	n.start()
	synctest.Wait()
	return n
}

func (c *cluster) newNode() *fakeNode {
	i := len(c.nodes) + 1
	return &fakeNode{
		c: c, instance: fmt.Sprintf("00000000-0000-4000-8000-%012d", i), address: fmt.Sprintf("127.0.0.1:%d", 9420+i),
		replicas: map[proto.ChunkID]*pb.ReplicaState{}, free: fakeDisk, wake: make(chan struct{}, 1),
	}
}

// start runs the chunkserver: it registers, reports and beats until kill.
func (n *fakeNode) start() {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.ended = cancel, make(chan struct{})
	n.starts++
	n.incarnation = uint64(proto.Incarnation(n.incarnation).Next(n.starts))
	n.sequence = 0
	go func() {
		defer close(n.ended)
		for ctx.Err() == nil {
			n.live(ctx)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}()
}

// kill ends it like a crash of its process: the replicas stay.
func (n *fakeNode) kill() {
	if n.cancel != nil {
		n.cancel()
		<-n.ended
		n.cancel = nil
		synctest.Wait() // the master sees its stream end
	}
}

func (n *fakeNode) restart() {
	n.kill()
	n.start()
	synctest.Wait()
}

func (n *fakeNode) disks() []*pb.DiskStatus {
	if n.sick {
		return []*pb.DiskStatus{{Path: "/disk", TotalBytes: fakeDisk, Fault: "sick", Sick: true}}
	}
	if n.size != 0 {
		return []*pb.DiskStatus{{Path: "/disk", TotalBytes: n.size, FreeBytes: n.size - uint64(len(n.replicas))*proto.DefaultChunkSize}}
	}
	return []*pb.DiskStatus{{Path: "/disk", TotalBytes: fakeDisk, FreeBytes: n.free}}
}

func (n *fakeNode) registration() *pb.RegisterDataNodeRequest {
	return &pb.RegisterDataNodeRequest{
		Cluster: n.cluster, Node: n.id, Incarnation: n.incarnation, Address: n.address, Instance: n.instance,
		Chunks: uint64(len(n.replicas)), Disks: n.disks(), Version: "fake",
	}
}

// doubt is what the chunkserver does that is told that its folders were set back.
func (n *fakeNode) doubt(newest uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.replicas {
		r.Unclean = true
	}
	n.incarnation = uint64(proto.Incarnation(newest).Next(0))
}

// live is one connection.
func (n *fakeNode) live(ctx context.Context) {
	service := pb.NewDataNodesClient(n.c.conn)
	reply, err := service.RegisterDataNode(ctx, n.registration())
	if err != nil {
		return
	}
	if reply.Newest != 0 {
		n.doubt(reply.Newest)
		return
	}
	n.cluster, n.id = reply.Cluster, reply.Node
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := service.Heartbeat(ctx)
	if err != nil || stream.Send(n.beat()) != nil {
		return
	}
	received := make(chan struct{})
	var copiers sync.WaitGroup
	go func() {
		defer close(received)
		defer copiers.Wait()
		defer cancel()
		for {
			command, err := stream.Recv()
			if err != nil {
				return
			}
			if command.GetCopy() != nil {
				copiers.Go(func() { n.obey(ctx, command) })
			} else {
				n.obey(ctx, command)
			}
		}
	}()
	n.report(ctx, service)
	beat := time.NewTicker(time.Duration(reply.HeartbeatMs) * time.Millisecond)
	defer beat.Stop()
	report := time.NewTicker(time.Duration(reply.ReportMs) * time.Millisecond)
	defer report.Stop()
	for ctx.Err() == nil {
		select {
		case <-report.C:
			n.report(ctx, service)
			continue
		case <-beat.C:
		case <-n.wake:
		case <-ctx.Done():
			continue
		}
		if stream.Send(n.beat()) != nil {
			break
		}
	}
	cancel()
	<-received
}

func (n *fakeNode) next() uint64 { n.sequence++; return n.sequence }

func (n *fakeNode) beat() *pb.HeartbeatRequest {
	n.mu.Lock()
	defer n.mu.Unlock()
	req := &pb.HeartbeatRequest{
		Node: n.id, Incarnation: n.incarnation, Sequence: n.next(), Disks: n.disks(), Chunks: uint64(len(n.replicas)),
		Changed: n.changed, Removed: n.removed, Results: n.results,
	}
	n.changed, n.removed, n.results = nil, nil, nil
	return req
}

func (n *fakeNode) report(ctx context.Context, service pb.DataNodesClient) {
	n.mu.Lock()
	digests := make([]uint64, 1024)
	req := &pb.BlockReportRequest{Node: n.id, Incarnation: n.incarnation, Sequence: n.next()}
	for id, r := range n.replicas {
		digests[proto.BucketOf(id, 1024)] += proto.ReplicaDigest(id, proto.Version(r.Version), proto.FlagsOf(r.Unclean, r.Corrupt, r.Complete, r.Broken).OnDisk(r.Slow, r.Failing))
	}
	n.mu.Unlock()
	req.Digests = digests
	for {
		reply, err := service.BlockReport(ctx, req)
		if err != nil || len(reply.Wanted) == 0 {
			return
		}
		n.mu.Lock()
		req = &pb.BlockReportRequest{Node: n.id, Incarnation: n.incarnation, Sequence: n.next()}
		for _, b := range reply.Wanted {
			bucket := &pb.Bucket{Bucket: b}
			for id, r := range n.replicas {
				if proto.BucketOf(id, 1024) == b {
					bucket.Replicas = append(bucket.Replicas, r)
				}
			}
			req.Buckets = append(req.Buckets, bucket)
		}
		n.mu.Unlock()
	}
}

// obey carries an order out as a chunkserver does.
func (n *fakeNode) obey(ctx context.Context, command *pb.NodeCommand) {
	n.mu.Lock()
	copying := n.copying
	whole := n.replicas[proto.ChunkID(command.GetCopy().GetChunk())] == nil
	n.mu.Unlock()
	var copied *pb.ReplicaState
	if order := command.GetCopy(); order != nil {
		done := func() {}
		if whole { // else little is fetched
			done = n.c.copies(n.id, order.Sources[0].Node)
		}
		select {
		case <-time.After(copying):
		case <-ctx.Done():
		}
		done()
		if ctx.Err() != nil {
			return
		}
		copied = n.c.source(order)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var id proto.ChunkID
	var what string
	var run func() proto.Kind
	switch c := command.Command.(type) {
	case *pb.NodeCommand_SetVersion:
		s := c.SetVersion
		id, what = proto.ChunkID(s.Chunk), fmt.Sprintf("set version %d", s.Version)
		if s.Create {
			what += " or create"
		}
		if s.Stands {
			what += " as it is"
		}
		if s.Unclean {
			what += " and be unclean"
		}
		run = func() proto.Kind { return n.setVersion(s) }
	case *pb.NodeCommand_Copy:
		s := c.Copy
		var from []uint32
		for _, r := range s.Sources {
			from = append(from, r.Node)
		}
		id, what = proto.ChunkID(s.Chunk), fmt.Sprintf("copy version %d from %v", s.Version, from)
		if s.OfChunk != 0 {
			what = fmt.Sprintf("clone version %d of version %d from %v", s.Version, s.OfVersion, from)
		}
		run = func() proto.Kind { return n.copy(copied) }
	case *pb.NodeCommand_Delete:
		id, what = proto.ChunkID(c.Delete.Chunk), fmt.Sprintf("delete up to version %d: %s", c.Delete.Version, c.Delete.Reason)
		run = func() proto.Kind { delete(n.replicas, id); return proto.OK }
	default:
		return
	}
	kind := proto.OK
	if n.refuse != nil {
		kind = n.refuse(command)
	}
	answer := "silence"
	if !n.deaf {
		if kind == proto.OK {
			kind = run()
		}
		answer = kind.String()
	}
	n.c.note("master -> %d: %s = %s", n.id, what, answer)
	if n.deaf {
		return
	}
	result := &pb.CommandResult{Id: command.Id, State: n.replicas[id]}
	if kind != proto.OK {
		result.Failure = proto.ToFailure(proto.E(kind, what, "", ""))
	}
	n.results = append(n.results, result)
	n.kick()
}

func (n *fakeNode) setVersion(s *pb.SetVersion) proto.Kind {
	r := n.replicas[proto.ChunkID(s.Chunk)]
	switch {
	case r == nil && !s.Create:
		return proto.NoReplica
	case r != nil && r.Version > s.Version:
		return proto.WrongVersion
	case r.GetUnclean() && !s.Stands && !s.Unclean:
		return proto.Unavailable
	case r.GetFailing():
		return proto.IO
	}
	n.replicas[proto.ChunkID(s.Chunk)] = &pb.ReplicaState{
		Chunk: s.Chunk, Version: s.Version, Length: r.GetLength(), Slow: r.GetSlow(),
		Unclean: s.Unclean, Complete: s.Unclean && (r.GetComplete() || !r.GetUnclean()),
	}
	return proto.OK
}

// source finds who can be copied from; nil: nobody.
func (c *cluster) source(order *pb.CopyChunk) *pb.ReplicaState {
	for _, s := range order.Sources {
		n := c.node(s.Node)
		n.mu.Lock()
		chunk, version := order.Chunk, order.Version
		if order.OfChunk != 0 {
			chunk, version = order.OfChunk, order.OfVersion
		}
		r := n.replicas[proto.ChunkID(chunk)]
		serves := n.cancel != nil && r != nil && r.Version == version && !r.Unclean && !r.Corrupt
		n.mu.Unlock()
		if serves {
			return &pb.ReplicaState{Chunk: order.Chunk, Version: order.Version, Length: r.Length}
		}
	}
	return nil
}

// copy takes over what another one has, unless what is here is newer or as good.
func (n *fakeNode) copy(from *pb.ReplicaState) proto.Kind {
	if from == nil {
		return proto.NoReplica
	}
	switch r := n.replicas[proto.ChunkID(from.Chunk)]; {
	case r != nil && r.Version > from.Version:
		return proto.WrongVersion
	case r != nil && r.Version == from.Version && !r.Unclean && !r.Corrupt:
		return proto.OK
	}
	n.replicas[proto.ChunkID(from.Chunk)] = &pb.ReplicaState{Chunk: from.Chunk, Version: from.Version, Length: from.Length}
	return proto.OK
}

func (n *fakeNode) kick() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// hold makes it have a replica; with tell the next heartbeat says so.
func (n *fakeNode) hold(state *pb.ReplicaState, tell bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.replicas[proto.ChunkID(state.Chunk)] = state
	if tell {
		n.changed = append(n.changed, state)
		n.kick()
	}
}

func (n *fakeNode) has(id uint64) (version uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.replicas[proto.ChunkID(id)]; r != nil {
		return r.Version
	}
	return 0
}

func (n *fakeNode) set(fn func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fn()
}

// node finds a chunkserver by id.
func (c *cluster) node(id uint32) *fakeNode {
	i := slices.IndexFunc(c.nodes, func(n *fakeNode) bool { return n.id == id })
	return c.nodes[i]
}

// client is a client with a session.
type client struct {
	c        *cluster
	welcome  *pb.Welcome
	cancel   context.CancelFunc
	ended    chan struct{}
	events   chan *pb.SessionEvent
	stream   grpc.BidiStreamingClient[pb.SessionRequest, pb.SessionEvent]
	sending  sync.Mutex  // of stream
	mute     atomic.Bool // it sends no keepalives
	sequence uint64
	uid      uint32
	size     uint64 // of the files it writes; at least 100 bytes
}

func (c *cluster) connect(hello *pb.Hello) *client {
	c.t.Helper()
	one := c.dial(hello)
	event := <-one.events
	if one.welcome = event.GetWelcome(); one.welcome == nil {
		c.t.Fatalf("no welcome but %v", event)
	}
	return one
}

// dial opens a session stream, keeping it alive every 2 s.
func (c *cluster) dial(hello *pb.Hello) *client {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	one := &client{c: c, cancel: cancel, ended: make(chan struct{}), events: make(chan *pb.SessionEvent, 1000)}
	stream, err := pb.NewMasterClient(c.conn).Session(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	one.stream = stream
	if err := one.send(&pb.SessionRequest{Request: &pb.SessionRequest_Hello{Hello: hello}}); err != nil {
		c.t.Fatal(err)
	}
	go func() {
		defer close(one.events)
		for {
			event, err := stream.Recv()
			if err != nil {
				return
			}
			if event.GetAlive() == nil {
				one.events <- event
			}
		}
	}()
	go func() {
		defer close(one.ended)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(2 * time.Second):
			}
			if one.mute.Load() {
				continue
			}
			if one.send(&pb.SessionRequest{Request: &pb.SessionRequest_KeepAlive{KeepAlive: &pb.KeepAlive{}}}) != nil {
				return
			}
		}
	}()
	return one
}

func (one *client) send(request *pb.SessionRequest) error {
	one.sending.Lock()
	defer one.sending.Unlock()
	return one.stream.Send(request)
}

// vanish ends the stream without a goodbye.
func (one *client) vanish() {
	one.cancel()
	<-one.ended
	for range one.events {
	}
}

func (one *client) api() pb.MasterClient { return pb.NewMasterClient(one.c.conn) }

// asks is the caller of a request that reads.
func (one *client) asks() *pb.Caller { return &pb.Caller{Session: one.welcome.Session, Uid: one.uid} }

// changes is the caller of the next change, in slot 1.
func (one *client) changes() *pb.Caller {
	one.sequence++
	return &pb.Caller{Session: one.welcome.Session, Slot: 1, Sequence: one.sequence, Uid: one.uid}
}

// must fails the test when a call failed.
func must[T any](t *testing.T) func(reply T, err error) T {
	return func(reply T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(proto.FromStatus(err))
		}
		return reply
	}
}

// wantKind fails the test unless the call failed with that kind.
func wantKind(t *testing.T, err error, kind proto.Kind) {
	t.Helper()
	if got := proto.KindOf(proto.FromStatus(err)); got != kind {
		t.Errorf("got %v (%v), want %v", got, err, kind)
	}
}

// file makes a file with an assigned chunk and leaves it open.
func (one *client) file(name string) *pb.CreateReply {
	one.c.t.Helper()
	reply := must[*pb.CreateReply](one.c.t)(one.api().Create(one.c.t.Context(), &pb.CreateRequest{
		Caller: one.changes(), Parent: 1, Name: []byte(name), Mode: 0o644, Exclusive: true, Open: true, Assign: true, Flags: 2,
	}))
	if reply.Chunk == nil {
		one.c.t.Fatal("no chunk was assigned")
	}
	return reply
}

// write does what a chain write does, then commits.
func (one *client) write(f *pb.CreateReply) {
	one.c.t.Helper()
	for _, r := range f.Chunk.Chain {
		one.c.node(r.Node).hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: f.Chunk.Version}, true)
	}
	must[*pb.AttrReply](one.c.t)(one.api().Commit(one.c.t.Context(), &pb.CommitRequest{
		Caller: one.changes(), Inode: f.Attr.Inode, Size: max(100, one.size), Chunks: []uint64{f.Chunk.Chunk},
	}))
	synctest.Wait()
}

// locate gives the location of a file's chunk 0.
func (one *client) locate(f *pb.CreateReply) *pb.ChunkLocation {
	one.c.t.Helper()
	reply := must[*pb.ChunkLocations](one.c.t)(one.api().GetChunkLocation(one.c.t.Context(), &pb.GetChunkLocationRequest{
		Caller: one.asks(), Inode: f.Attr.Inode, Count: 1,
	}))
	if len(reply.Chunks) != 1 {
		one.c.t.Fatalf("%d locations", len(reply.Chunks))
	}
	return reply.Chunks[0]
}

// show writes a location as "version: chain", members that must not be used in brackets.
func show(l *pb.ChunkLocation) string {
	var members []string
	for _, r := range l.Chain {
		if r.Address == "" {
			members = append(members, fmt.Sprintf("(%d)", r.Node))
		} else {
			members = append(members, fmt.Sprint(r.Node))
		}
	}
	return fmt.Sprintf("%d: %s", l.Version, strings.Join(members, " "))
}
