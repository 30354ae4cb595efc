package meta

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/distrifs/distrifs/internal/cputime"
	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/meta/registry"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

var (
	benchServers  = flag.Int("chunkservers", 1000, "chunkservers of BenchmarkReports")
	benchReplicas = flag.Int("replicas", 3000, "replicas that each of them holds")
)

// fleet is a master with many chunkservers that are nothing but what they report.
type fleet struct {
	*Master
	b        *testing.B
	servers  []*reporter
	bytes    int64         // of messages to the master
	inMaster time.Duration // processor time of taking messages in
}

// reporter is a chunkserver. All of its replicas are of version 1.
type reporter struct {
	node     uint32
	instance string
	sequence uint64
	slots    []uint32 // of the chunks it holds; the generation is 0
}

// newFleet makes chunks of three replicas in files of a hundred.
func newFleet(b *testing.B, servers, each int) *fleet {
	master, err := Open(Config{FS: disk.NewMem(), Dir: "/master", Replicas: 3, CheckpointEvery: -1, RepairEvery: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { master.Close() })
	f := &fleet{Master: master, b: b, servers: make([]*reporter, servers)}
	master.machine.mu.Lock()
	defer master.machine.mu.Unlock()
	st := master.machine.st
	for i := range f.servers {
		id := uuid.New()
		r := st.Apply(0, &state.RegisterNode{Instance: id, Address: address(i)})
		f.servers[i] = &reporter{node: uint32(r.Node), instance: id.String(), slots: make([]uint32, 0, each+each/50)}
	}
	const perFile = 100
	for made := 0; made < servers*each/3; made += perFile {
		ino := st.Apply(0, &state.Make{Parent: proto.RootInode, Name: fmt.Append(nil, made), Mode: 0o100644}).Inode
		chains := make([][]proto.NodeID, perFile)
		for i := range chains {
			chains[i] = f.chain(made + i)
		}
		r := st.Apply(0, &state.AssignChunks{Inode: ino, Chains: chains})
		ids := make([]proto.ChunkID, perFile)
		for i, c := range r.Chunks {
			ids[i] = c.ID
			for _, node := range c.Chain {
				s := f.servers[node-1]
				s.slots = append(s.slots, c.ID.Slot())
			}
		}
		if r := st.Apply(0, &state.Commit{Inode: ino, Size: 1, Chunks: ids}); r.Kind != proto.OK {
			b.Fatal(r.Kind)
		}
	}
	return f
}

func address(i int) string { return fmt.Sprintf("10.0.%d.%d:9421", i/250, i%250) }

// chain spreads chunks evenly, each with other neighbours.
func (f *fleet) chain(i int) []proto.NodeID {
	n := len(f.servers)
	half := n / 2
	head, turn := i%n, i/n
	second := head + 1 + turn%half
	third := head + half + 1 + turn*7%(half-1)
	return []proto.NodeID{proto.NodeID(head + 1), proto.NodeID(second%n + 1), proto.NodeID(third%n + 1)}
}

// forget has the master know as little of its chunkservers as after a restart.
func (f *fleet) forget() {
	f.machine.read(func(st *state.State) {
		f.nodes = registry.New(registry.Options{Now: time.Now, DeadAfter: time.Hour, MinRoom: 1, Recent: time.Second}, st.Nodes())
	})
}

func (f *fleet) register(s *reporter) {
	disks := []*pb.DiskStatus{{TotalBytes: 1 << 40, FreeBytes: 1 << 39}}
	began := cputime.Thread()
	_, err := f.RegisterDataNode(context.Background(), &pb.RegisterDataNodeRequest{
		Cluster: f.cluster.Cluster.String(), Node: s.node, Instance: s.instance, Incarnation: 1 << 20, Address: address(int(s.node) - 1), Disks: disks, Chunks: uint64(len(s.slots)),
	})
	f.inMaster += cputime.Thread() - began
	if err != nil {
		f.b.Fatal(err)
	}
}

// send gives the master a message as the network does.
func (f *fleet) send(s *reporter, req *pb.BlockReportRequest) []uint32 {
	s.sequence++
	req.Node, req.Incarnation, req.Sequence = s.node, 1<<20, s.sequence
	wire, err := protobuf.Marshal(req)
	if err != nil {
		f.b.Fatal(err)
	}
	f.bytes += int64(len(wire))
	began := cputime.Thread()
	received := &pb.BlockReportRequest{}
	if err := protobuf.Unmarshal(wire, received); err != nil {
		f.b.Fatal(err)
	}
	reply, err := f.BlockReport(context.Background(), received)
	f.inMaster += cputime.Thread() - began
	if err != nil {
		f.b.Fatal(err)
	}
	return reply.Wanted
}

// report is all that a chunkserver reports, in messages as large as it makes them.
func (f *fleet) report(s *reporter) {
	digests := make([]uint64, registry.Buckets)
	for _, slot := range s.slots {
		id := proto.ChunkID(slot)
		digests[proto.BucketOf(id, registry.Buckets)] += proto.ReplicaDigest(id, 1, 0)
	}
	wanted := f.send(s, &pb.BlockReportRequest{Digests: digests})
	if len(wanted) == 0 {
		return
	}
	buckets := make([]*pb.Bucket, registry.Buckets)
	for i := range buckets {
		buckets[i] = &pb.Bucket{Bucket: uint32(i)}
	}
	for _, slot := range s.slots {
		at := buckets[proto.BucketOf(proto.ChunkID(slot), registry.Buckets)]
		at.Replicas = append(at.Replicas, &pb.ReplicaState{Chunk: uint64(slot), Version: 1})
	}
	const most = 20_000
	req, replicas := &pb.BlockReportRequest{}, 0
	for i, number := range wanted {
		req.Buckets = append(req.Buckets, buckets[number])
		if replicas += len(buckets[number].Replicas); i == len(wanted)-1 || replicas > most-len(buckets[wanted[i+1]].Replicas) {
			if again := f.send(s, req); len(again) > 0 {
				f.b.Fatal("buckets are wanted again")
			}
			req, replicas = &pb.BlockReportRequest{}, 0
		}
	}
}

// measure runs something while a client changes a file over and over, and tells what it
// cost.
func (f *fleet) measure(b *testing.B, replicas int, run func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f.bytes, f.inMaster = 0, 0
	done := make(chan struct{})
	var waits []time.Duration
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
			began := time.Now()
			if _, err := f.propose(&state.SetAttr{Inode: proto.RootInode, Set: state.SetMode, Mode: 0o755}); err != nil {
				b.Error(err)
			}
			waits = append(waits, time.Since(began))
		}
	})
	for range b.N {
		run()
	}
	close(done)
	group.Wait()
	slices.Sort(waits)
	n := float64(b.N)
	b.ReportMetric(f.inMaster.Seconds()/n, "master-cpu-s")
	b.ReportMetric(float64(f.inMaster.Nanoseconds())/n/float64(replicas), "cpu-ns/replica")
	b.ReportMetric(float64(f.bytes)/n/(1<<20), "MiB")
	if len(waits) > 0 {
		b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds())/1000, "change-p99-ms")
		b.ReportMetric(float64(waits[len(waits)-1].Microseconds())/1000, "change-max-ms")
	}
}

// BenchmarkReports: a master of a thousand chunkservers. 100 million replicas are
// -replicas 100000; they take 2 GB and a few minutes.
func BenchmarkReports(b *testing.B) {
	if testing.Short() {
		b.Skip("needs a minute")
	}
	f := newFleet(b, *benchServers, *benchReplicas)
	replicas := *benchServers * *benchReplicas
	b.Run("restart", func(b *testing.B) { // of the master: all reconnect at once
		before := heap()
		f.measure(b, replicas, func() {
			f.forget()
			for _, s := range f.servers {
				f.register(s)
			}
			for _, s := range f.servers {
				f.report(s)
			}
		})
		b.ReportMetric(float64(heap()-before)/float64(replicas), "bytes/replica")
		if f.nodes.Held() < uint64(replicas/3) {
			b.Fatal("not every chunk was reported")
		}
	})
	b.Run("digests", func(b *testing.B) { // all is as it should be
		f.measure(b, replicas, func() {
			for _, s := range f.servers {
				f.report(s)
			}
		})
	})
	b.Run("look", func(b *testing.B) { // at all chunks, for what has to be repaired
		f.measure(b, replicas/3, func() {
			began := cputime.Thread()
			if list, _ := f.needy(); len(list) > 0 {
				b.Fatal("chunks lack replicas")
			}
			f.inMaster += cputime.Thread() - began
		})
	})
	b.Run("emptied", func(b *testing.B) { // a chunkserver comes back with nothing
		s := f.servers[0]
		held := s.slots
		f.measure(b, len(held), func() {
			b.StopTimer()
			s.slots = held
			f.report(s)
			f.inMaster, f.bytes = 0, 0
			b.StartTimer()
			s.slots = nil
			f.report(s)
		})
	})
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
