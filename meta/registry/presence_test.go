package registry

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// chunks is a view of few chunks, by slot.
type chunks map[uint32]state.Chunk

func (v chunks) ChunkInto(id proto.ChunkID, into *state.Chunk) bool {
	c, ok := v[id.Slot()]
	*into = c
	return ok && c.ID == id
}

func (v chunks) Fate(id proto.ChunkID) state.Fate {
	c, ok := v[id.Slot()]
	switch {
	case ok && c.ID == id:
		return state.Live
	case id.Slot() < 100:
		return state.Freed
	}
	return state.NeverIssued
}

func (v chunks) EachChunk(from uint32, fn func(state.Chunk) bool) {
	for slot := from; slot < 100; slot++ {
		if c, ok := v[slot]; ok && !fn(c) {
			return
		}
	}
}

type noChunks = chunks

// digestsOf computes what the chunkserver would send if it held exactly what the
// registry believes.
func (r *Registry) digestsOf(n *node, view chunks) (digests [Buckets]uint64, counts [Buckets]uint32) {
	add := func(id proto.ChunkID, held Replica) {
		b := proto.BucketOf(id, Buckets)
		digests[b] += held.digest(id)
		counts[b]++
	}
	for id, held := range n.strays {
		add(id, held)
	}
	for _, c := range view {
		if at := slices.Index(c.Chain, n.id); at >= 0 && r.bits(c.ID)>>at&1 != 0 {
			add(c.ID, Replica{Version: c.Version})
		}
	}
	return digests, counts
}

// Whatever happens in whatever order, the digests are those of what is believed, and
// after a full report that is what the chunkserver has.
func TestDigestsFollow(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		r := registryOf(t, server{"a", 500, 0, false, false}, server{"b", 500, 0, false, false}, server{"c", 500, 0, false, false})
		view := chunks{}
		chain := func() []proto.NodeID {
			list := []proto.NodeID{1, 2, 3}
			random.Shuffle(3, func(i, j int) { list[i], list[j] = list[j], list[i] })
			return list[:2+random.IntN(2)]
		}
		sequence := uint64(1)
		for range 300 {
			slot := 1 + uint32(random.IntN(8))
			c, live := view[slot]
			id := c.ID
			if !live {
				id = proto.ChunkID(proto.MakeID(slot, uint32(random.IntN(3))))
			}
			n := r.nodes[proto.NodeID(1+random.IntN(3))]
			sequence++
			switch action := random.IntN(6); {
			case !live:
				view[slot] = state.Chunk{ID: proto.ChunkID(proto.MakeID(slot, uint32(random.IntN(3)))), Version: 1, Chain: chain()}
			case action == 0:
				r.Freed(c)
				delete(view, slot)
			case action == 1:
				after := c
				after.Version, after.Chain = c.Version+1, chain()
				view[slot] = after
				r.Changed(c, after)
			case action == 2:
				r.Committed(c, r.Arrivals())
			case action == 3:
				r.Accuse(c, n.id)
			case action == 4:
				r.Removed(n.id, id, view)
			default:
				beat := &pb.HeartbeatRequest{Node: uint32(n.id), Incarnation: 1, Sequence: sequence, Changed: []*pb.ReplicaState{{
					Chunk: uint64(id), Version: uint64(1 + random.IntN(4)), Unclean: random.IntN(4) == 0, Corrupt: random.IntN(4) == 0,
				}}}
				if _, ok := r.Heartbeat(n.stream, beat, view); !ok {
					t.Fatal("the heartbeat was not taken")
				}
			}
			for _, n := range r.ordered {
				digests, counts := r.digestsOf(n, view)
				if !slices.Equal(digests[:], n.digests) || !slices.Equal(counts[:], n.counts) {
					t.Fatalf("seed %d: the digests of chunkserver %d are not those of what it holds", seed, n.id)
				}
			}
		}
	}
}

func report(n *node, sequence uint64, buckets ...*pb.Bucket) *pb.BlockReportRequest {
	return &pb.BlockReportRequest{Node: uint32(n.id), Incarnation: 1, Sequence: sequence, Buckets: buckets}
}

func TestBlockReport(t *testing.T) {
	r := registryOf(t, server{"a", 500, 0, false, false}, server{"b", 500, 0, false, false})
	n := r.nodes[1]
	c := state.Chunk{ID: 5, Version: 2, Committed: true, Chain: []proto.NodeID{1, 2}}
	view := chunks{5: c, 6: {ID: 6, Version: 1, Committed: true, Chain: []proto.NodeID{2, 1}}}

	digests := make([]uint64, Buckets)
	digests[5] = proto.ReplicaDigest(5, 2, 0)
	req := report(n, 10)
	req.Digests = digests
	wanted, _, err := r.Report(req, view)
	if err != nil || !slices.Equal(wanted, []uint32{5}) || n.known {
		t.Fatalf("wanted %v, %v, known %v", wanted, err, n.known)
	}
	full := &pb.Bucket{Bucket: 5, Replicas: []*pb.ReplicaState{{Chunk: 5, Version: 2}, {Chunk: uint64(5 + Buckets), Version: 1}, {Chunk: 6, Version: 1}}}
	if _, homeless, _ := r.Report(report(n, 9, full), view); homeless != nil || r.Good(c) != 0 {
		t.Error("an older report was believed") // L5
	}
	_, homeless, _ := r.Report(report(n, 11, full), view)
	if r.Good(c) != 1 || !n.known || r.Held() != 1 {
		t.Errorf("good %d, known %v, held %d", r.Good(c), n.known, r.Held())
	}
	if len(homeless) != 1 || homeless[0].Chunk != 5+Buckets {
		t.Errorf("homeless %v", homeless)
	}
	if r.Good(view[6]) != 0 {
		t.Error("a replica in a bucket that is not its own was believed")
	}

	// What a heartbeat said since the report was begun stands.
	beat := &pb.HeartbeatRequest{Node: 1, Incarnation: 1, Sequence: 20, Changed: []*pb.ReplicaState{{Chunk: 5, Version: 2}}}
	r.Heartbeat(n.stream, beat, view)
	wanted, _, _ = r.Report(report(n, 19, &pb.Bucket{Bucket: 5}), view)
	if !slices.Equal(wanted, []uint32{5}) || r.Good(c) != 1 {
		t.Errorf("wanted %v, good %d", wanted, r.Good(c))
	}
	r.Report(report(n, 21, &pb.Bucket{Bucket: 5}), view)
	if r.Good(c) != 0 {
		t.Error("a replica that is gone was kept")
	}

	bad := report(n, 30)
	bad.Digests = make([]uint64, 7)
	if _, _, err := r.Report(bad, view); proto.KindOf(err) != proto.Malformed {
		t.Errorf("seven digests: %v", err)
	}
	if _, _, err := r.Report(report(n, 31, &pb.Bucket{Bucket: Buckets}), view); proto.KindOf(err) != proto.Malformed {
		t.Errorf("a bucket beyond: %v", err)
	}
}

// A commit that a report under way does not know of is not undone by it; the bucket is
// asked for again, and what is missing then, too, is gone.
func TestReportPassesACommit(t *testing.T) {
	for name, has := range map[string]bool{"it is there": true, "it is gone": false} {
		r := registryOf(t, server{"a", 500, 0, false, false})
		n := r.nodes[1]
		c := state.Chunk{ID: 5, Version: 1, Committed: true, Chain: []proto.NodeID{1}}
		view := chunks{5: c}
		r.Committed(c, r.Arrivals())
		wanted, _, _ := r.Report(report(n, 10, &pb.Bucket{Bucket: 5}), view)
		if r.Good(c) != 1 || !slices.Equal(wanted, []uint32{5}) || !r.Status()[0].Reporting {
			t.Errorf("%s: after the first report good %d, wanted %v", name, r.Good(c), wanted)
		}
		again, good := &pb.Bucket{Bucket: 5}, 0
		if has {
			again.Replicas, good = []*pb.ReplicaState{{Chunk: 5, Version: 1}}, 1
		}
		if wanted, _, _ = r.Report(report(n, 11, again), view); r.Good(c) != good || len(wanted)+len(n.doubts) != 0 {
			t.Errorf("%s: after the second report good %d, wanted %v", name, r.Good(c), wanted)
		}
	}
}

// What a client was told by an earlier start of a chunkserver does not count when it commits.
func TestWordOfAnEarlierStart(t *testing.T) {
	r := registryOf(t, server{"a", 500, 0, false, false}, server{"b", 500, 0, false, false})
	c := state.Chunk{ID: 5, Version: 1, Committed: true, Chain: []proto.NodeID{1, 2}}
	since := r.Arrivals()
	if err := r.Register(Identity{Node: 1, Incarnation: 2, Address: "a:9421"}, nil, 0); err != nil {
		t.Fatal(err)
	}
	if r.Committed(c, since); r.Good(c) != 1 {
		t.Errorf("good %d, and one has started since", r.Good(c))
	}
	stream, err := r.Connect(1, 2)
	if err != nil {
		t.Fatal(err)
	}
	beat := &pb.HeartbeatRequest{Node: 1, Incarnation: 2, Sequence: 1, Changed: []*pb.ReplicaState{{Chunk: 5, Version: 1}}}
	if r.Heartbeat(stream, beat, chunks{5: c}); r.Good(c) != 2 {
		t.Errorf("good %d, and the one that has started since has it", r.Good(c))
	}
	later := state.Chunk{ID: 6, Version: 1, Committed: true, Chain: []proto.NodeID{1, 2}}
	if r.Committed(later, r.Arrivals()); r.Good(later) != 2 {
		t.Errorf("good %d of a chunk that was assigned since", r.Good(later))
	}
}

func TestOrder(t *testing.T) {
	r := registryOf(t, server{"a", 500, 0, false, false})
	n := r.nodes[1]
	c := state.Chunk{ID: 5, Version: 3, Committed: true, Chain: []proto.NodeID{1}}
	view := chunks{5: c}
	done := make(chan error)
	go func() {
		_, err := r.Order(context.Background(), 1, 5, &pb.NodeCommand{})
		done <- err
	}()
	command := <-n.stream.Commands()
	r.Heartbeat(n.stream, &pb.HeartbeatRequest{Node: 1, Incarnation: 1, Sequence: 2, Results: []*pb.CommandResult{
		{Id: command.Id + 7}, // of nobody
		{Id: command.Id, State: &pb.ReplicaState{Chunk: 5, Version: 3}},
	}}, view)
	if err := <-done; err != nil || r.Good(c) != 1 {
		t.Errorf("%v, good %d", err, r.Good(c))
	}

	go func() {
		_, err := r.Order(context.Background(), 1, 5, &pb.NodeCommand{})
		done <- err
	}()
	<-n.stream.Commands()
	r.Disconnect(1, n.stream)
	if err := <-done; proto.KindOf(err) != proto.Unavailable {
		t.Errorf("a broken stream: %v", err)
	}
	if _, err := r.Order(context.Background(), 1, 5, &pb.NodeCommand{}); proto.KindOf(err) != proto.Unavailable {
		t.Errorf("not connected: %v", err)
	}

	stream, err := r.Connect(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for i := range maxQueue + 1 {
		want := proto.Timeout
		if i == maxQueue {
			want = proto.Unavailable // the queue is bounded
		}
		if _, err := r.Order(ctx, 1, 5, &pb.NodeCommand{}); proto.KindOf(err) != want {
			t.Fatalf("order %d: %v, want %v", i, err, want)
		}
	}
	if len(stream.pending) != 0 {
		t.Errorf("%d orders are still awaited", len(stream.pending))
	}
}

func TestTickDeclaresTheDead(t *testing.T) {
	now := time.Unix(0, 0)
	r := New(Options{Now: func() time.Time { return now }, DeadAfter: 10 * time.Second, Recent: time.Second}, nil)
	r.Register(Identity{Node: 1, Incarnation: 1, Address: "a:1"}, nil, 0)
	stream, _ := r.Connect(1, 1)
	now = now.Add(9 * time.Second)
	if died := r.Tick(); died != nil || !r.Connected(1) {
		t.Errorf("died early: %v", died)
	}
	now = now.Add(time.Second)
	if died := r.Tick(); fmt.Sprint(died) != "[1]" || r.Connected(1) || r.Address(1) != "" {
		t.Errorf("died: %v", died)
	}
	<-stream.Done()
	if _, err := r.Connect(1, 2); proto.KindOf(err) != proto.Unavailable {
		t.Errorf("a later start that has not registered: %v", err)
	}
}
