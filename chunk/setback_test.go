package chunk

import (
	"testing"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// G3: who comes back with an older copy of its folders, of which the master's log knows a
// later start, reports nothing before all that it holds is doubted, durably.
func TestFoldersAreSetBack(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	for n := range 40 {
		must(t, write(s, testChunk(n), 1, 0, []byte("old"), true))
	}
	must(t, s.Close())
	copied := mem.CrashClone(1)

	s = openStoreAt(t, mem)
	newest := s.incarnation
	must(t, write(s, testChunk(1), 1, 0, []byte("new"), false))
	must(t, s.Close())

	s = openStoreAt(t, copied)
	if proto.Incarnation(s.incarnation).Start() != proto.Incarnation(newest).Start() || s.incarnation == newest {
		t.Fatalf("incarnations %d and %d: this shows nothing", newest, s.incarnation)
	}
	s.membership.Store(&membership{testCluster, 7, testCapacity, 1})
	m, address := startMaster(t, "127.0.0.1:0", testCluster, 1)
	m.newest = newest
	stop, _ := startAgent(t, s, address, nil, nil)
	m.wait(func() bool { return m.reports > 0 && len(m.replicas) == 40 })
	stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.registered) != 2 || proto.Incarnation(m.registered[1].Incarnation).Start() != proto.Incarnation(newest).Start()+1 {
		t.Errorf("registered %v", m.registered)
	}
	doubted := func(where string, list map[uint64]*pb.ReplicaState) {
		for id, r := range list {
			if !r.Unclean || r.Complete {
				t.Errorf("%s: chunk %d is %v", where, id, r)
			}
		}
	}
	doubted("reported", m.replicas)
	s.abandon()
	s = openStoreAt(t, copied.CrashClone(2)) // a power cut
	again := map[uint64]*pb.ReplicaState{}
	for _, r := range s.replicaStates(func(proto.ChunkID) bool { return true }) {
		again[r.Chunk] = r
	}
	if len(again) != 40 {
		t.Errorf("%d replicas are left", len(again))
	}
	doubted("after a power cut", again)
}

// L15: who was registered and finds a later start of itself there has a twin, and does not
// take its place.
func TestTwinIsRefused(t *testing.T) {
	s := openStore(t, testOptions(disk.NewMem(), "/data"))
	must(t, write(s, testChunk(1), 1, 0, []byte("x"), true))
	a := newAgent(s, agentOptions{})
	a.joined = true
	before := s.incarnation
	wantKind(t, "registered again", a.setBack(nextIncarnation(before)), proto.OldEpoch)
	if s.incarnation != before || s.find(1).unclean {
		t.Error("it doubts what it has")
	}
}
