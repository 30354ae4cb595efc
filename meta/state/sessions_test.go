package state

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

func TestRepeatedRequestsAreAnswered(t *testing.T) {
	f := newFixture(t)
	id := f.ok(&OpenSession{Client: "host 1"}).Session
	header := func(slot uint32, sequence uint64) Header {
		h := f.header(root)
		h.Origin = Origin{Session: id, Slot: slot, Sequence: sequence}
		return h
	}
	create := &Make{Header: header(3, 1), Parent: top, Name: []byte("f"), Chain: []proto.NodeID{1, 2, 3}}
	first := f.ok(create)
	again := f.ok(create)
	if !again.Repeated || first.Repeated {
		t.Fatalf("repeated: %v, %v", first.Repeated, again.Repeated)
	}
	again.Repeated = false
	first.Attr.Plain = false // is not kept
	if !reflect.DeepEqual(first, again) {
		t.Errorf("first answer\n%+v\nsecond\n%+v", first, again)
	}
	fails := &Make{Header: header(3, 2), Parent: top, Name: []byte("f")}
	if r := f.Apply(0, fails); r.Kind != proto.Exists || r.Repeated {
		t.Errorf("%+v", r)
	}
	if r := f.Apply(0, fails); r.Kind != proto.Exists || !r.Repeated {
		t.Errorf("a failure repeated: %+v", r)
	}
	loaded := reload(t, f.State)
	if r, ok := loaded.Repeated(fails.Origin); !ok || r.Kind != proto.Exists {
		t.Errorf("after a checkpoint: %+v, %v", r, ok)
	}
	for _, o := range []Origin{create.Origin, {}, {id, 4, 1}, {id + 1, 3, 2}, {id, 3, 3}, {id, MaxSlots, 1}} {
		if _, ok := f.Repeated(o); ok {
			t.Errorf("%+v is answered from a slot", o)
		}
	}
	f.want(proto.Malformed, create) // its answer is forgotten
	f.want(proto.Invalid, &Make{Header: header(MaxSlots, 1), Parent: top, Name: []byte("g")})
	stranger := &Make{Header: header(0, 1), Parent: top, Name: []byte("g")}
	stranger.Session = 99
	f.want(proto.SessionExpired, stranger)
	if list := f.Sessions(); len(list) != 1 || list[0] != (SessionInfo{ID: id, Client: "host 1", Slots: 1}) {
		t.Errorf("sessions %+v", list)
	}
	f.ok(&EndSession{Session: id})
	f.want(proto.SessionExpired, &EndSession{Session: id})
	f.want(proto.SessionExpired, fails)
	if next := f.ok(&OpenSession{}).Session; next == id || f.HasSession(id) || !f.HasSession(next) {
		t.Errorf("session %d after %d", next, id)
	}
	f.want(proto.Invalid, &OpenSession{Client: strings.Repeat("c", MaxAddress+1)})
	reload(t, f.State)
}

func TestManySessionsAndSlots(t *testing.T) {
	f := newFixture(t)
	var ids []proto.SessionID
	for range 100 {
		ids = append(ids, f.ok(&OpenSession{Client: "c"}).Session)
	}
	for i, id := range ids {
		for slot := range uint32(20) {
			h := Header{Origin: Origin{id, slot * 51, uint64(i) + 1}, Now: f.now}
			f.Apply(0, &SetAttr{Header: h, Inode: top, Set: SetAtimeNow})
		}
	}
	loaded := reload(t, f.State)
	for i, id := range ids {
		for slot := range uint32(20) {
			if r, ok := loaded.Repeated(Origin{id, slot * 51, uint64(i) + 1}); !ok || r.Attr.Inode != top {
				t.Fatalf("session %d slot %d: %+v", id, slot, r)
			}
		}
		f.ok(&EndSession{Session: id})
	}
	if m := reload(t, f.State); m.Stats().Sessions != 0 || f.slots.live != 0 {
		t.Errorf("%d slots are left", f.slots.live)
	}
}

func TestNodesKeepTheirIDs(t *testing.T) {
	f := newFixture(t)
	r := f.ok(&RegisterNode{Instance: uuid.UUID{2}, Address: "moved:2"})
	if r.Node != 2 {
		t.Errorf("node %d", r.Node)
	}
	if r := f.ok(&RegisterNode{Instance: uuid.UUID{99}, Address: "new:2"}); r.Node != 5 {
		t.Errorf("new node %d", r.Node)
	}
	list := reload(t, f.State).Nodes()
	if len(list) != 5 || list[1] != (NodeInfo{ID: 2, Instance: uuid.UUID{2}, Address: "moved:2"}) || list[4].Address != "new:2" {
		t.Errorf("nodes %+v", list)
	}
	f.want(proto.Invalid, &RegisterNode{Address: "no instance"})
	f.want(proto.Invalid, &RegisterNode{Instance: uuid.UUID{3}, Address: strings.Repeat("a", MaxAddress+1)})
}

func TestInitAndEpochs(t *testing.T) {
	good := Init{Cluster: proto.ClusterID{1}, ChunkSize: testChunk, Replicas: 3, MinReplicas: 2}
	s := New()
	if r := s.Apply(0, &Make{Parent: top, Name: []byte("f")}); r.Kind != proto.Invalid {
		t.Errorf("a command before Init: %v", r.Kind)
	}
	reload(t, s)
	for _, spoil := range []func(*Init){
		func(c *Init) { c.Cluster = proto.ClusterID{} },
		func(c *Init) { c.ChunkSize = testChunk + 1 },
		func(c *Init) { c.ChunkSize = testChunk / 2 },
		func(c *Init) { c.ChunkSize = 2 * proto.MaxChunkSize },
		func(c *Init) { c.MinReplicas = 0 },
		func(c *Init) { c.MinReplicas = 4 },
		func(c *Init) { c.Replicas = MaxChain + 1 },
	} {
		bad := good
		spoil(&bad)
		if r := s.Apply(0, &bad); r.Kind != proto.Invalid {
			t.Errorf("%+v: %v", bad, r.Kind)
		}
	}
	if r := s.Apply(0, &good); r.Kind != proto.OK || r.Inode != top {
		t.Fatalf("init: %+v", r)
	}
	if r := s.Apply(0, &good); r.Kind != proto.Exists {
		t.Errorf("init again: %v", r.Kind)
	}
	for _, c := range []struct {
		epoch proto.Epoch
		want  proto.Kind
	}{{1, proto.OK}, {1, proto.OldEpoch}, {5, proto.OK}, {4, proto.OldEpoch}} {
		if r := s.Apply(0, &BeginEpoch{c.epoch}); r.Kind != c.want {
			t.Errorf("epoch %d: %v", c.epoch, r.Kind)
		}
	}
	if c := reload(t, s).Config(); c.Epoch != 5 || c.Cluster != good.Cluster {
		t.Errorf("configuration %+v", c)
	}
}

// G8: replaying the log twice is safe.
func TestRecordsOfThePastChangeNothing(t *testing.T) {
	f := newFixture(t)
	make := &Make{Header: f.header(root), Parent: top, Name: []byte("f")}
	if r := f.Apply(7, make); r.Kind != proto.OK || f.Applied() != 7 {
		t.Fatal(r.Kind)
	}
	f.Apply(8, &Unlink{Header: f.header(root), Parent: top, Name: []byte("f")})
	before := f.Hash()
	for _, s := range []*State{f.State, reload(t, f.State)} {
		if r := s.Apply(7, make); !r.Repeated || s.Hash() != before || s.Applied() != 8 {
			t.Errorf("applied again: %+v", r)
		}
	}
}
