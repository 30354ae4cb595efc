package state

import (
	"bytes"
	"testing"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

const testChunk = proto.MinChunkSize

// fixture is a state with four chunkservers and a clock that ticks at each command.
type fixture struct {
	t *testing.T
	*State
	now Time
}

var (
	root  = Cred{}
	alice = Cred{UID: 1000, GID: 100, Groups: []uint32{200}}
	bob   = Cred{UID: 1001, GID: 101}
)

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, State: New(), now: Time{Sec: 1_000_000}}
	f.ok(&Init{Cluster: proto.ClusterID{1, 2, 3}, ChunkSize: testChunk, Replicas: 3, MinReplicas: 2, Seed: 7, Now: f.now})
	for i := range 4 {
		f.ok(&RegisterNode{Instance: uuid.UUID{byte(i + 1)}, Address: "host:1"})
	}
	return f
}

func (f *fixture) header(cred Cred) Header {
	f.now.Nsec += 1000
	return Header{Cred: cred, Now: f.now}
}

func (f *fixture) ok(c Command) Result {
	f.t.Helper()
	return f.want(proto.OK, c)
}

// want applies a command, as the log would bring it back, and checks the kind. One that
// fails must change nothing.
func (f *fixture) want(kind proto.Kind, c Command) Result {
	f.t.Helper()
	decoded, err := Decode(c.Op(), c.Encode(nil))
	if err != nil {
		f.t.Fatalf("%T does not survive the log: %v", c, err)
	}
	var before uint64
	if kind != proto.OK {
		before = f.Hash()
	}
	r := f.Apply(0, decoded)
	if r.Kind != kind {
		f.t.Fatalf("%T %+v: %v, want %v", c, c, r.Kind, kind)
	}
	if kind != proto.OK && f.Hash() != before {
		f.t.Fatalf("%T %+v failed and changed the state", c, c)
	}
	return r
}

func (f *fixture) make(cred Cred, parent proto.InodeID, name string, mode uint32) proto.InodeID {
	f.t.Helper()
	c := &Make{Header: f.header(cred), Parent: parent, Name: []byte(name), Mode: mode}
	if mode&typeMask == typeLink {
		c.Target = []byte("target")
	}
	return f.ok(c).Inode
}

func (f *fixture) attr(ino proto.InodeID) Attr {
	f.t.Helper()
	a, kind := f.State.Attr(ino)
	if kind != proto.OK {
		f.t.Fatalf("attributes of %v: %v", ino, kind)
	}
	return a
}

func (f *fixture) lookup(parent proto.InodeID, name string) proto.InodeID {
	f.t.Helper()
	a, kind := f.Lookup(parent, []byte(name), root)
	if kind != proto.OK {
		return 0
	}
	return a.Inode
}

func checkpointOf(t testing.TB, s *State) []byte {
	t.Helper()
	var b bytes.Buffer
	sn := s.Snapshot()
	defer sn.Release()
	if n, err := sn.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("checkpoint of %d bytes: %d, %v", b.Len(), n, err)
	}
	return b.Bytes()
}

// liveBlocks counts the blocks of the arena that are in use.
func (a *arena) liveBlocks() (n int) {
	for _, m := range a.meta {
		n += int(m.live)
	}
	return n
}

// reload gives the state as a checkpoint brings it back, after checking that nothing is
// different and nothing leaked.
func reload(t testing.TB, s *State) *State {
	t.Helper()
	image := checkpointOf(t, s)
	loaded, err := Load(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	if s.Hash() != loaded.Hash() {
		t.Fatal("the hash is different after a checkpoint")
	}
	if again := checkpointOf(t, loaded); !bytes.Equal(image, again) {
		t.Fatal("the checkpoint of a loaded checkpoint is different")
	}
	was, is := s.Stats(), loaded.Stats()
	was.Memory, is.Memory = Memory{}, Memory{}
	if was != is {
		t.Fatalf("counters %+v, after a checkpoint %+v", was, is)
	}
	if a, b := s.arena.liveBlocks(), loaded.arena.liveBlocks(); a != b {
		t.Fatalf("%d blocks in use, %d needed", a, b)
	}
	for _, live := range [][2]uint32{
		{s.inodes.live, loaded.inodes.live}, {s.dirs.live, loaded.dirs.live}, {s.chunks.live, loaded.chunks.live},
		{s.maps.live, loaded.maps.live}, {s.sessions.live, loaded.sessions.live}, {s.slots.live, loaded.slots.live},
	} {
		if live[0] != live[1] {
			t.Fatalf("%d records in use, %d needed", live[0], live[1])
		}
	}
	if s.colds.live < loaded.colds.live || s.colds.live > s.inodes.live {
		t.Fatalf("%d cold records in use, %d needed", s.colds.live, loaded.colds.live)
	}
	return loaded
}
