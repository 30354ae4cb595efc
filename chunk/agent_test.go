package chunk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

const testBuckets = 16

// fakeMaster answers one chunkserver and remembers what it says.
type fakeMaster struct {
	pb.UnimplementedDataNodesServer
	cluster proto.ClusterID
	epoch   proto.Epoch
	newest  uint64 // incarnation in its log
	server  *grpc.Server

	mu         sync.Mutex // protects all below
	changed    sync.Cond  // broadcast whenever something below changed
	registered []*pb.RegisterDataNodeRequest
	beats      []*pb.HeartbeatRequest
	results    map[uint64]*pb.CommandResult
	replicas   map[uint64]*pb.ReplicaState // from full reports and heartbeats
	reports    int                         // whose digests agreed
	ids        uint64
	stream     grpc.BidiStreamingServer[pb.HeartbeatRequest, pb.NodeCommand]
	sendMu     sync.Mutex // one Send at a time
}

func startMaster(t *testing.T, address string, cluster proto.ClusterID, epoch proto.Epoch) (*fakeMaster, string) {
	t.Helper()
	m := &fakeMaster{cluster: cluster, epoch: epoch, server: grpc.NewServer(), results: map[uint64]*pb.CommandResult{}, replicas: map[uint64]*pb.ReplicaState{}}
	m.changed.L = &m.mu
	listener, err := net.Listen("tcp", address)
	must(t, err)
	pb.RegisterDataNodesServer(m.server, m)
	go m.server.Serve(listener)
	t.Cleanup(m.server.Stop)
	return m, listener.Addr().String()
}

func (m *fakeMaster) update(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	m.changed.Broadcast()
}

// wait returns when done is true; the test's own time-out bounds it.
func (m *fakeMaster) wait(done func() bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for !done() {
		m.changed.Wait()
	}
}

func (m *fakeMaster) RegisterDataNode(_ context.Context, r *pb.RegisterDataNodeRequest) (*pb.RegisterDataNodeReply, error) {
	m.update(func() { m.registered = append(m.registered, r) })
	if !proto.Incarnation(r.Incarnation).Continues(proto.Incarnation(m.newest)) {
		return &pb.RegisterDataNodeReply{Newest: m.newest}, nil
	}
	return &pb.RegisterDataNodeReply{Cluster: m.cluster.String(), Node: 7, Epoch: uint64(m.epoch), HeartbeatMs: 10, DeadAfterMs: 5000, ReportMs: 30, ChunkSize: testCapacity, Buckets: testBuckets}, nil
}

func (m *fakeMaster) Heartbeat(stream grpc.BidiStreamingServer[pb.HeartbeatRequest, pb.NodeCommand]) error {
	m.update(func() { m.stream = stream })
	for {
		beat, err := stream.Recv()
		if err != nil {
			return err
		}
		m.update(func() {
			m.beats = append(m.beats, beat)
			for _, r := range beat.Results {
				m.results[r.Id] = r
			}
			for _, r := range beat.Changed {
				m.replicas[r.Chunk] = r
			}
			for _, id := range beat.Removed {
				delete(m.replicas, id)
			}
		})
		m.send(&pb.NodeCommand{Epoch: uint64(m.epoch), Command: &pb.NodeCommand_Acknowledge{Acknowledge: &pb.Acknowledge{}}})
	}
}

func (m *fakeMaster) BlockReport(_ context.Context, r *pb.BlockReportRequest) (*pb.BlockReportReply, error) {
	reply := &pb.BlockReportReply{}
	m.update(func() {
		for _, b := range r.Buckets {
			for id := range m.replicas {
				if proto.BucketOf(proto.ChunkID(id), testBuckets) == b.Bucket {
					delete(m.replicas, id)
				}
			}
			for _, s := range b.Replicas {
				m.replicas[s.Chunk] = s
			}
		}
		digests := make([]uint64, testBuckets)
		for _, s := range m.replicas {
			id := proto.ChunkID(s.Chunk)
			digests[proto.BucketOf(id, testBuckets)] += proto.ReplicaDigest(id, proto.Version(s.Version), proto.FlagsOf(s.Unclean, s.Corrupt, s.Complete, s.Broken).OnDisk(s.Slow, s.Failing))
		}
		for b, digest := range r.Digests {
			if digest != digests[b] {
				reply.Wanted = append(reply.Wanted, uint32(b))
			}
		}
		if len(r.Digests) == testBuckets && len(reply.Wanted) == 0 {
			m.reports++
		}
	})
	return reply, nil
}

func (m *fakeMaster) send(c *pb.NodeCommand) {
	m.sendMu.Lock()
	defer m.sendMu.Unlock()
	_ = m.stream.Send(c) // a broken stream is the test's doing
}

// order sends a command and waits for its result.
func (m *fakeMaster) order(c *pb.NodeCommand) *pb.CommandResult {
	m.update(func() { m.ids++; c.Id = m.ids })
	m.send(c)
	m.wait(func() bool { return m.results[c.Id] != nil })
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.results[c.Id]
}

func (m *fakeMaster) synced() { m.wait(func() bool { return m.reports > 0 && len(m.beats) > 0 }) }

// fakePeers are other chunkservers that only whole copies can be made from.
type fakePeers struct {
	read func(context.Context, pipeline.ReadRequest, []byte) (int, error)
}

func (f fakePeers) Read(ctx context.Context, r pipeline.ReadRequest, dst []byte) (int, error) {
	n, err := f.read(ctx, r, dst)
	copy(r.Sums, blockSums(dst[:n]))
	return n, err
}

func (f fakePeers) Sums(context.Context, uuid.UUID, proto.Version, pipeline.Hop) (uint64, []uint32, error) {
	return 0, nil, proto.E(proto.NotSupported, "sums", "", "")
}

// startAgent runs an agent for s until the test ends; result gives what run returns.
func startAgent(t *testing.T, s *Store, master string, peers peers, forget func(uuid.UUID)) (stop func(), result chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a := newAgent(s, agentOptions{
		master: master, address: "10.0.0.1:1", version: "test", log: slog.New(slog.DiscardHandler), peers: peers, forget: forget,
		dial: func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
	})
	result = make(chan error, 1)
	done := make(chan struct{})
	go func() { defer close(done); result <- a.run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop, result
}

func TestAgentJoinsAndReports(t *testing.T) {
	mem := disk.NewMem()
	s, err := OpenStore(testOptions(mem, "/data"))
	must(t, err)
	m, address := startMaster(t, "127.0.0.1:0", testCluster, 3)
	stop, _ := startAgent(t, s, address, nil, nil)
	m.synced()
	first := m.registered[0]
	if first.Cluster != "" || first.Node != 0 || proto.Incarnation(first.Incarnation).Start() != 1 || first.Instance != s.instance.String() || first.Address != "10.0.0.1:1" || len(first.Disks) != 1 {
		t.Errorf("registered with %v", first)
	}
	for n := range 40 {
		must(t, write(s, testChunk(n), 1, 0, []byte("x"), true))
	}
	m.wait(func() bool { return len(m.replicas) == 40 })
	stop()
	must(t, s.Close())

	// The next incarnation knows who it is, and reports in full to a master that has forgotten.
	s = openStoreAt(t, mem)
	m, address = startMaster(t, "127.0.0.1:0", testCluster, 4)
	startAgent(t, s, address, nil, nil)
	m.wait(func() bool { return m.reports > 0 && len(m.replicas) == 40 })
	m.mu.Lock()
	defer m.mu.Unlock()
	again := m.registered[0]
	if again.Cluster != testCluster.String() || again.Node != 7 || proto.Incarnation(again.Incarnation).Start() != 2 || again.Epoch != 3 || again.Chunks != 40 || again.Instance != first.Instance {
		t.Errorf("registered again with %v", again)
	}
	last := uint64(0)
	for _, b := range m.beats { // L5
		if b.Sequence <= last || b.Incarnation != again.Incarnation || b.Node != 7 || len(b.Disks) != 1 || b.Disks[0].FreeBytes == 0 {
			t.Fatalf("heartbeat %v after sequence %d", b, last)
		}
		last = b.Sequence
	}
}

func TestAgentObeys(t *testing.T) {
	s := openStore(t, testOptions(disk.NewMem(), "/data"))
	s.membership.Store(&membership{testCluster, 7, testCapacity, 3})
	m, address := startMaster(t, "127.0.0.1:0", testCluster, 3)
	content := bytes.Repeat([]byte("c"), 3<<18)
	read := func(_ context.Context, r pipeline.ReadRequest, dst []byte) (int, error) {
		if r.From.Address == "bad:1" || r.Version != 4 {
			return 0, proto.E(proto.Unavailable, "read", r.From.Address, "")
		}
		return copy(dst, content[min(int(r.Offset), len(content)):]), nil
	}
	forgotten := make(chan uuid.UUID, 10)
	startAgent(t, s, address, fakePeers{read}, func(c uuid.UUID) { forgotten <- c })
	m.synced()
	setVersion := func(chunk, version, epoch uint64, create bool) *pb.CommandResult {
		return m.order(&pb.NodeCommand{Epoch: epoch, Command: &pb.NodeCommand_SetVersion{SetVersion: &pb.SetVersion{Chunk: chunk, Version: version, Create: create}}})
	}
	remove := func(chunk, version, epoch uint64) *pb.CommandResult {
		return m.order(&pb.NodeCommand{Epoch: epoch, Command: &pb.NodeCommand_Delete{Delete: &pb.DeleteChunk{Chunk: chunk, Version: version}}})
	}
	copyFrom := func(chunk, version uint64, sources ...string) *pb.CommandResult {
		order := &pb.CopyChunk{Chunk: chunk, Version: version}
		for i, a := range sources {
			order.Sources = append(order.Sources, &pb.Replica{Node: uint32(i + 1), Address: a})
		}
		return m.order(&pb.NodeCommand{Epoch: 3, Command: &pb.NodeCommand_Copy{Copy: order}})
	}
	expect := func(what string, r *pb.CommandResult, kind proto.Kind, version uint64) {
		t.Helper()
		wantKind(t, what, proto.FromFailure(r.Failure), kind)
		if r.State.GetVersion() != version {
			t.Errorf("%s: state %v, want version %d", what, r.State, version)
		}
	}
	expect("absent", setVersion(1, 2, 3, false), proto.NoReplica, 0)
	expect("create", setVersion(1, 2, 3, true), proto.OK, 2)
	expect("raise", setVersion(1, 5, 3, false), proto.OK, 5)
	expect("lower", setVersion(1, 4, 3, false), proto.WrongVersion, 5)
	expect("old master", setVersion(1, 6, 2, false), proto.OldEpoch, 5)
	expect("no source", copyFrom(2, 4), proto.Invalid, 0)
	expect("bad source", copyFrom(2, 4, "bad:1"), proto.Unavailable, 0)
	expect("second source", copyFrom(2, 4, "bad:1", "good:1"), proto.OK, 4)
	if got, err := read2(t, s, 2, 4); err != nil || !bytes.Equal(got, content) {
		t.Errorf("copy has %d bytes, %v", len(got), err)
	}
	expect("delete newer", remove(2, 3, 3), proto.WrongVersion, 4)
	expect("delete, old master", remove(2, 4, 1), proto.OldEpoch, 4)
	expect("delete", remove(2, 4, 9), proto.OK, 0)
	expect("the master before", setVersion(1, 7, 8, false), proto.OldEpoch, 5)
	for range 2 { // the copy and the deletion
		if got := <-forgotten; got != testChunk(2) {
			t.Errorf("forgotten: %v", got)
		}
	}
	expect("unknown order", m.order(&pb.NodeCommand{Epoch: 9}), proto.NotSupported, 0)
	m.wait(func() bool { return len(m.replicas) == 1 && m.replicas[1].GetVersion() == 5 })
}

func read2(t *testing.T, s *Store, n int, v proto.Version) ([]byte, error) {
	return read(t, s, testChunk(n), v, 0, testCapacity)
}

// G10, L15: the first master that answers must be of the cluster of the folders; a
// foreign one that turns up later is refused, and its orders with it.
func TestAgentRefusesForeignMaster(t *testing.T) {
	s := openStore(t, testOptions(disk.NewMem(), "/data"))
	s.membership.Store(&membership{testCluster, 7, testCapacity, 3})
	foreign := proto.ClusterID(uuid.New())
	_, address := startMaster(t, "127.0.0.1:0", foreign, 50)
	_, result := startAgent(t, s, address, nil, nil)
	wantKind(t, "foreign master", <-result, proto.WrongCluster)

	home, address := startMaster(t, "127.0.0.1:0", testCluster, 3)
	_, result = startAgent(t, s, address, nil, nil)
	home.synced()
	home.server.Stop()
	imposter, _ := startMaster(t, address, foreign, 50)
	imposter.wait(func() bool { return len(imposter.registered) >= 2 }) // refused, and tried again
	imposter.update(func() {
		if imposter.registered[1].Cluster != testCluster.String() || imposter.stream != nil {
			t.Error("the foreign master was taken for the own")
		}
	})
	imposter.server.Stop()
	select {
	case err := <-result:
		t.Fatalf("the agent gave up: %v", err)
	default:
	}
	if m := s.membership.Load(); m.cluster != testCluster || m.epoch != 3 {
		t.Errorf("membership is now %+v", m)
	}
	back, _ := startMaster(t, address, testCluster, 4)
	back.synced()
}

// An older start of the master, from a backup perhaps, gets no obedience.
func TestAgentRefusesOldEpoch(t *testing.T) {
	s := openStore(t, testOptions(disk.NewMem(), "/data"))
	s.membership.Store(&membership{testCluster, 7, testCapacity, 9})
	old, address := startMaster(t, "127.0.0.1:0", testCluster, 8)
	startAgent(t, s, address, nil, nil)
	old.wait(func() bool { return len(old.registered) >= 2 })
	old.update(func() {
		if old.stream != nil {
			t.Error("a session with a master of an older epoch")
		}
	})
}

// L13: corruption is told with a heartbeat at once.
func TestAgentReportsCorruption(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	s.membership.Store(&membership{testCluster, 7, testCapacity, 3})
	m, address := startMaster(t, "127.0.0.1:0", testCluster, 3)
	startAgent(t, s, address, nil, nil)
	m.synced()
	must(t, write(s, testChunk(1), 1, 0, []byte("good"), true))
	flip(t, mem, chunkFile(1), 0)
	_, err := read(t, s, testChunk(1), 1, 0, 4)
	wantKind(t, "read", err, proto.DataCorrupt)
	m.wait(func() bool { return m.replicas[1].GetCorrupt() })
}

func TestReportIsSplit(t *testing.T) {
	s := openStore(t, testOptions(disk.NewMem(), "/data"))
	const count = maxReported + 5000
	for n := range count {
		r := s.newReplica(proto.ChunkID(n), 1)
		r.state, r.folder = whole, s.folders[0]
		s.index[r.id] = r
	}
	m := &reportSink{seen: map[uint64]bool{}}
	session := &session{agent: newAgent(s, agentOptions{}), terms: terms{buckets: testBuckets}, nodes: m}
	var wanted []uint32
	for b := range uint32(testBuckets) {
		wanted = append(wanted, b)
	}
	if again, err := session.sendBuckets(t.Context(), wanted); err != nil || len(again) != 0 {
		t.Fatal(again, err)
	}
	if len(m.seen) != count || m.messages < 2 || m.largest > maxReported {
		t.Errorf("%d of %d replicas in %d messages, the largest of %d", len(m.seen), count, m.messages, m.largest)
	}
}

type reportSink struct {
	pb.DataNodesClient
	seen     map[uint64]bool
	messages int
	largest  int
	last     uint64
}

func (m *reportSink) BlockReport(_ context.Context, r *pb.BlockReportRequest, _ ...grpc.CallOption) (*pb.BlockReportReply, error) {
	n := 0
	for _, b := range r.Buckets {
		for _, s := range b.Replicas {
			if m.seen[s.Chunk] || proto.BucketOf(proto.ChunkID(s.Chunk), testBuckets) != b.Bucket {
				return nil, fmt.Errorf("chunk %d twice, or in bucket %d", s.Chunk, b.Bucket)
			}
			m.seen[s.Chunk] = true
			n++
		}
	}
	if r.Sequence <= m.last {
		return nil, errors.New("sequence does not grow")
	}
	m.last = r.Sequence
	m.messages++
	m.largest = max(m.largest, n)
	return &pb.BlockReportReply{}, nil
}

// However long a master was away, it is called so often that nobody waits for long once
// it is back.
func TestAMasterIsCalledAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := OpenStore(testOptions(disk.NewMem(), "/data"))
		must(t, err)
		var calls []time.Time
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		a := newAgent(s, agentOptions{
			master: "master:1", address: "10.0.0.1:1", log: slog.New(slog.DiscardHandler),
			dial: func(context.Context, string) (net.Conn, error) {
				calls = append(calls, time.Now())
				return nil, syscall.ECONNREFUSED
			},
		})
		must(t, a.run(ctx))
		must(t, s.Close())
		if len(calls) < 50 {
			t.Fatalf("called %d times in a minute", len(calls))
		}
		for i, at := range calls[1:] {
			if pause := at.Sub(calls[i]); pause > time.Second {
				t.Fatalf("%v between calls %d and %d", pause, i, i+1)
			}
		}
	})
}
