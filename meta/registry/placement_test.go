package registry

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// server describes a chunkserver of a placement test.
type server struct {
	host  string
	free  uint64 // of 1000 MiB
	load  uint32
	down  bool // not connected
	fault bool // its disk is out of service
}

const mib = 1 << 20

func registryOf(t *testing.T, servers ...server) *Registry {
	t.Helper()
	now := time.Unix(1000, 0)
	r := New(Options{Now: func() time.Time { return now }, DeadAfter: 10 * time.Second, Recent: 5 * time.Second, MinRoom: 8 * mib}, nil)
	for i, s := range servers {
		id := proto.NodeID(i + 1)
		disk := &pb.DiskStatus{TotalBytes: 1000 * mib, FreeBytes: s.free * mib}
		if s.fault {
			disk.Fault = "input/output error"
		}
		if err := r.Register(Identity{Node: id, Incarnation: 1, Address: fmt.Sprintf("%s:%d", s.host, 9421+i)}, []*pb.DiskStatus{disk}, 0); err != nil {
			t.Fatal(err)
		}
		if s.down {
			continue
		}
		stream, err := r.Connect(id, 1)
		if err != nil {
			t.Fatal(err)
		}
		req := &pb.HeartbeatRequest{Node: uint32(id), Incarnation: 1, Sequence: 1, Load: s.load, Disks: []*pb.DiskStatus{disk}}
		if _, ok := r.Heartbeat(stream, req, noChunks{}); !ok {
			t.Fatal("the heartbeat was not taken")
		}
	}
	return r
}

func TestPlace(t *testing.T) {
	for _, c := range []struct {
		name        string
		servers     []server
		want, least int
		exclude     []proto.NodeID
		first       string // the placements one after the other
		kind        proto.Kind
	}{
		{"equals take turns", []server{{"a", 500, 0, false, false}, {"b", 500, 0, false, false}, {"c", 500, 0, false, false}, {"d", 500, 0, false, false}}, 3, 2, nil, "[1 2 3] [4 1 2] [3 4 1]", 0},
		{"the emptier first", []server{{"a", 100, 0, false, false}, {"b", 900, 0, false, false}, {"c", 500, 0, false, false}}, 2, 2, nil, "[2 3] [2 3] [2 3]", 0},
		{"the less loaded first", []server{{"a", 500, 1000, false, false}, {"b", 100, 0, false, false}, {"c", 100, 0, false, false}}, 2, 2, nil, "[2 3] [2 3] [2 3]", 0},
		{"distinct hosts first", []server{{"a", 500, 0, false, false}, {"a", 500, 0, false, false}, {"b", 400, 0, false, false}}, 2, 2, nil, "[1 3] [2 3] [1 3]", 0},
		{"one host if there is no other", []server{{"a", 500, 0, false, false}, {"a", 500, 0, false, false}, {"a", 500, 0, false, false}}, 3, 2, nil, "[1 2 3] [1 2 3] [1 2 3]", 0},
		{"fewer than wanted", []server{{"a", 500, 0, false, false}, {"b", 500, 0, false, false}, {"c", 500, 0, true, false}}, 3, 2, nil, "[1 2] [1 2] [1 2]", 0},
		{"the full are left out", []server{{"a", 500, 0, false, false}, {"b", 500, 0, false, false}, {"c", 7, 0, false, false}}, 3, 2, nil, "[1 2] [1 2] [1 2]", 0},
		{"excluded", []server{{"a", 500, 0, false, false}, {"b", 500, 0, false, false}, {"c", 500, 0, false, false}}, 2, 1, []proto.NodeID{1, 3}, "[2] [2] [2]", 0},
		{"too few alive", []server{{"a", 500, 0, false, false}, {"b", 500, 0, true, false}}, 3, 2, nil, "", proto.TooFewReplicas},
		{"no room", []server{{"a", 500, 0, false, false}, {"b", 7, 0, false, false}}, 3, 2, nil, "", proto.NoSpace},
		{"a disk out of service is no room", []server{{"a", 500, 0, false, false}, {"b", 500, 0, false, true}}, 3, 2, nil, "", proto.NoSpace},
		{"nobody", nil, 3, 1, nil, "", proto.TooFewReplicas},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := registryOf(t, c.servers...)
			var got string
			for i := range 3 {
				chain, err := r.Place(c.want, c.least, c.exclude...)
				if proto.KindOf(err) != c.kind {
					t.Fatalf("%v, want %v", err, c.kind)
				}
				if err != nil {
					return
				}
				if i > 0 {
					got += " "
				}
				got += fmt.Sprint(chain)
			}
			if got != c.first {
				t.Errorf("placed %s, want %s", got, c.first)
			}
		})
	}
}

// Who had no room for a write is given nothing until its next heartbeat says that it has some.
func TestFullUntilTheNextHeartbeat(t *testing.T) {
	r := registryOf(t, server{"a", 500, 0, false, false}, server{"b", 500, 0, false, false})
	n := r.nodes[1]
	disks := n.disks
	r.Full([]proto.NodeID{1, 99})
	if got := must(r.Place(2, 1)); !slices.Equal(got, []proto.NodeID{2}) {
		t.Errorf("placed on %v", got)
	}
	r.Heartbeat(n.stream, &pb.HeartbeatRequest{Node: 1, Incarnation: 1, Sequence: 100, Disks: disks}, noChunks{})
	if got := must(r.Place(2, 1)); len(got) != 2 {
		t.Errorf("placed on %v", got)
	}
}

// Who could not be reached is given nothing that others can take, until its next heartbeat.
func TestSuspectsUntilTheNextHeartbeat(t *testing.T) {
	r := registryOf(t, server{"a", 500, 0, false, false}, server{"b", 500, 0, false, false}, server{"c", 500, 0, false, false})
	n := r.nodes[2]
	disks := n.disks
	r.Suspect([]proto.NodeID{2, 99})
	if got := must(r.Place(3, 2)); !slices.Equal(got, []proto.NodeID{1, 3}) {
		t.Errorf("placed on %v", got)
	}
	if got := must(r.Place(3, 3)); len(got) != 3 {
		t.Errorf("where three are needed, on %v", got)
	}
	if got := r.PlaceBeside(2, 5, []proto.NodeID{1}, func(proto.NodeID) bool { return false }); !slices.Equal(got, []proto.NodeID{3}) {
		t.Errorf("beside 1, on %v", got)
	}
	r.Heartbeat(n.stream, &pb.HeartbeatRequest{Node: 2, Incarnation: 1, Sequence: 100, Disks: disks}, noChunks{})
	if got := must(r.Place(3, 2)); len(got) != 3 {
		t.Errorf("placed on %v", got)
	}
}

func must(list []proto.NodeID, err error) []proto.NodeID {
	if err != nil {
		panic(err)
	}
	return list
}

// Of many chunkservers only some are looked at, and all of them get their share.
func TestPlaceAmongMany(t *testing.T) {
	const count = 3*manyCandidates + 7
	servers := make([]server, count)
	for i := range servers {
		servers[i] = server{host: fmt.Sprint("host-", i), free: 500}
	}
	r := registryOf(t, servers...)
	given := map[proto.NodeID]int{}
	for range 10 * count {
		for _, id := range must(r.Place(3, 2)) {
			given[id]++
		}
	}
	for i := range count {
		if n := given[proto.NodeID(i+1)]; n < 15 || n > 60 {
			t.Errorf("chunkserver %d was given %d of %d chunks", i+1, n, 30*count)
		}
	}
	for i := range count - 2 {
		r.Suspect([]proto.NodeID{proto.NodeID(i + 1)})
	}
	if got := must(r.Place(2, 2)); len(got) != 2 || got[0]+got[1] != 2*count-1 {
		t.Errorf("placed on %v, and only the last two are trusted", got)
	}
}
