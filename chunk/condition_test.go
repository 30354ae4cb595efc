package chunk

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// spread is a store of two folders with 20 replicas; inB are those in /b.
func spread(t *testing.T, mem *disk.Mem) (s *Store, inB []proto.ChunkID) {
	s = openStore(t, testOptions(mem, "/a", "/b"))
	for n := 1; n <= 20; n++ {
		must(t, write(s, testChunk(n), 1, 0, []byte("content"), true))
		if s.find(proto.ChunkID(n)).folder.path == "/b" {
			inB = append(inB, proto.ChunkID(n))
		}
	}
	if len(inB) == 0 || len(inB) == 20 {
		t.Fatalf("%d in /b: this shows nothing", len(inB))
	}
	s.changes.take(100)
	return s, inB
}

// inCondition lists what is reported as slow, or as failing.
func inCondition(s *Store) (slow, failing []proto.ChunkID) {
	for _, r := range s.replicaStates(func(proto.ChunkID) bool { return true }) {
		if r.Slow {
			slow = append(slow, proto.ChunkID(r.Chunk))
		}
		if r.Failing {
			failing = append(failing, proto.ChunkID(r.Chunk))
		}
	}
	return slow, failing
}

// newOnesGoTo fails unless ten new replicas go to the folder.
func newOnesGoTo(t *testing.T, s *Store, first int, path string) {
	t.Helper()
	for n := first; n < first+10; n++ {
		must(t, write(s, testChunk(n), 1, 0, []byte("new"), true))
		if got := s.find(proto.ChunkID(n)).folder.path; got != path {
			t.Errorf("a new replica went to %s", got)
		}
	}
}

// A disk that fails any operation takes its folder out of service: nothing new goes there,
// the master is told that what is there has to be elsewhere, and it is read as long as it can be.
func TestDiskFails(t *testing.T) {
	for name, fault := range map[string]disk.Fault{
		"write": {Op: disk.OpWrite, Path: "/b/*/*"}, "sync": {Op: disk.OpSync, Path: "/b/*"}, "remounted read-only": {Op: disk.OpOpen, Path: "/b/" + probeName, Err: syscall.EROFS},
	} {
		t.Run(name, func(t *testing.T) {
			mem := disk.NewMem()
			s, inB := spread(t, mem)
			mem.Inject(fault)
			if name == "write" { // found by a request
				wantKind(t, "write", write(s, testChunk(int(inB[0])), 1, 0, []byte("x"), false), proto.IO)
			} else if took := s.folders[1].probe(); took >= 0 { // found on an idle disk
				t.Errorf("the probe took %v", took)
			}
			s.tellConditions()
			if ids, _ := s.changes.take(100); !slices.Equal(ids, inB) || len(s.changes.wake) != 1 {
				t.Errorf("told with the next heartbeat: %v", ids)
			}
			if s.tellConditions(); len(s.changes.pending) > 0 {
				t.Error("told twice")
			}
			if slow, failing := inCondition(s); len(slow) > 0 || !slices.Equal(failing, inB) {
				t.Errorf("slow %v, failing %v", slow, failing)
			}
			if a, b := s.folders[0].status(), s.folders[1].status(); a.Fault != "" || a.Sick || !strings.Contains(b.Fault, "/b: input/output error: ") || strings.Contains(b.Fault, "/b /b") || !b.Sick || b.FreeBytes != 0 {
				t.Errorf("status %v, %v", a, b)
			}
			if got, err := read(t, s, testChunk(int(inB[1])), 1, 0, 100); err != nil || string(got) != "content" {
				t.Errorf("read %q, %v", got, err)
			}
			newOnesGoTo(t, s, 21, "/a")
		})
	}
}

// What cannot be written to a disk that has failed is not tried every second; a stop tries.
func TestFailingDiskIsLeftAlone(t *testing.T) {
	mem := disk.NewMem()
	s, inB := spread(t, mem)
	mem.Inject(disk.Fault{Op: disk.OpWrite, Path: "/b/*/*"})
	wantKind(t, "write", write(s, testChunk(int(inB[0])), 1, 0, []byte("x"), false), proto.IO)
	wrote := false
	mem.SetHook(func(op disk.Op, name string) error {
		wrote = wrote || op == disk.OpWrite && strings.HasPrefix(name, "/b/")
		return nil
	})
	if err := s.settle(time.Nanosecond, 1); err != nil || wrote {
		t.Errorf("settling in service: %v, wrote there: %v", err, wrote)
	}
	if err := s.settle(0, 1); err == nil || !wrote {
		t.Errorf("settling at a stop: %v, wrote there: %v", err, wrote)
	}
}

// A full disk is not sick: what is there stays, and new replicas go there when there is room.
func TestFullDiskStaysInService(t *testing.T) {
	mem := disk.NewMem()
	s, inB := spread(t, mem)
	lift := mem.Inject(disk.Fault{Op: disk.OpWrite, Path: "/b/*/*", Err: syscall.ENOSPC})
	wantKind(t, "write", write(s, testChunk(int(inB[0])), 1, 0, []byte("x"), false), proto.NoSpace)
	s.tellConditions()
	if slow, failing := inCondition(s); len(slow)+len(failing) > 0 || s.folders[1].status().Fault != "full" {
		t.Errorf("slow %v, failing %v, fault %q", slow, failing, s.folders[1].status().Fault)
	}
	newOnesGoTo(t, s, 21, "/a")
	lift()
	s.refresh()
	must(t, write(s, testChunk(int(inB[0])), 1, 0, []byte("x"), false))
}

// A disk that hangs is slow after a while, is told of, takes nothing new, and is in
// service again when it has been as fast as others for long enough.
func TestSlowDiskLeavesService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := disk.NewMem()
		s, inB := spread(t, mem)
		s.compareWith(10 * time.Millisecond)
		hung := make(chan struct{})
		mem.SetHook(func(op disk.Op, name string) error {
			if op == disk.OpSync && name == "/b/"+probeName {
				<-hung
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, f := range s.folders {
			go s.probe(ctx, f)
		}
		time.Sleep(probeEvery + slowAfter)
		s.tellConditions()
		if len(s.changes.pending) > 0 {
			t.Error("given up too early")
		}
		time.Sleep((pulseSamples + 2) * probeEvery)
		s.tellConditions()
		if ids, _ := s.changes.take(100); !slices.Equal(ids, inB) {
			t.Errorf("told with the next heartbeat: %v", ids)
		}
		if slow, failing := inCondition(s); !slices.Equal(slow, inB) || len(failing) > 0 {
			t.Errorf("slow %v, failing %v", slow, failing)
		}
		if st := s.folders[1].status(); !st.Sick || st.FreeBytes != 0 || st.LatencyUs == 0 {
			t.Errorf("status %v", st)
		}
		newOnesGoTo(t, s, 21, "/a")
		must(t, write(s, testChunk(int(inB[0])), 1, 0, []byte("x"), false)) // what is there is served
		s.changes.take(100)
		close(hung)
		time.Sleep(fineAfter + 2*pulseSamples*probeEvery)
		if s.tellConditions(); len(s.changes.pending) != len(inB) || s.folders[1].status().Sick {
			t.Errorf("not in service again: %v", s.folders[1].status())
		}
	})
}

// Where every folder is slow, new replicas still find a place.
func TestSlowIsBetterThanNowhere(t *testing.T) {
	s := openStore(t, testOptions(disk.NewMem(), "/a"))
	s.folders[0].pulse.slow = true
	s.folders[0].judge()
	newOnesGoTo(t, s, 1, "/a")
}

// A disk that hangs holds up neither heartbeats nor what they tell of other replicas; those that wait
// for it are told of when it goes on.
func TestHangingDiskDelaysNoHeartbeat(t *testing.T) {
	mem := disk.NewMem()
	s, inB := spread(t, mem)
	s.membership.Store(&membership{testCluster, 7, testCapacity, 3})
	hung, goOn := make(chan struct{}), make(chan struct{})
	mem.SetHook(func(op disk.Op, name string) error {
		if op == disk.OpRemove && strings.HasPrefix(name, "/b/") {
			close(hung)
			<-goOn
		}
		return nil
	})
	deleted := make(chan error)
	go func() { deleted <- s.Delete(inB[0], 1, 3) }()
	<-hung
	s.folders[1].pulse.slow = true
	s.folders[1].judge()
	beats := make(chan *pb.HeartbeatRequest)
	a := &session{agent: newAgent(s, agentOptions{})}
	go func() {
		s.tellConditions()
		for range 2 {
			request, _ := a.compose(t.Context())
			beats <- request
		}
	}()
	next := func() (slow, removed []proto.ChunkID) {
		t.Helper()
		select {
		case request := <-beats:
			for _, r := range request.Changed {
				if r.Slow {
					slow = append(slow, proto.ChunkID(r.Chunk))
				}
			}
			for _, id := range request.Removed {
				removed = append(removed, proto.ChunkID(id))
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the heartbeat waits for the disk")
		}
		return slow, removed
	}
	if slow, removed := next(); !slices.Equal(slow, inB[1:]) || len(removed) > 0 {
		t.Errorf("while the disk hangs: slow %v, removed %v; want %v", slow, removed, inB[1:])
	}
	next()
	close(goOn)
	must(t, <-deleted)
	for removed := []proto.ChunkID(nil); len(removed) == 0; { // who waited for the replica may not have run yet
		go func() {
			request, _ := a.compose(t.Context())
			beats <- request
		}()
		if _, removed = next(); len(removed) > 0 && removed[0] != inB[0] {
			t.Errorf("removed: %v", removed)
		}
	}
}
