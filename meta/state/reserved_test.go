package state

import (
	"testing"

	"github.com/distrifs/distrifs/proto"
)

// reserve makes one inode with a chunk and some without.
func (f *fixture) reserve(others int) Result {
	f.t.Helper()
	chains := make([][]proto.NodeID, 1+others)
	chains[0] = []proto.NodeID{1, 2, 3}
	return f.ok(&Reserve{Header: f.header(root), Chains: chains})
}

// What is made of a reserved inode is what a Make makes, whatever it is.
func TestMakeReservedIsMake(t *testing.T) {
	kinds := []Make{
		{Mode: typeFile | 0o640}, {Mode: typeDir | 0o755}, {Mode: typeLink, Target: []byte("to")},
		{Mode: typeFIFO | 0o600}, {Mode: typeChar | 0o600, Rdev: 77},
	}
	for k, c := range kinds {
		plain, reserved := newFixture(t), newFixture(t)
		plain.reserve(4)
		kept := reserved.reserve(4)
		ino := kept.Inodes[k]
		c.Parent, c.Name, c.Umask = top, []byte("name"), 0o022
		c.Header = reserved.header(root)
		want := plain.ok(&c)
		got := reserved.ok(&MakeReserved{Make: c, Inode: ino})
		if got.Inode != ino || got.Attr.Inode != ino {
			t.Fatalf("%o: made %v of %v", c.Mode, got.Inode, ino)
		}
		got.Attr.Inode = want.Attr.Inode
		if got.Attr != want.Attr || reserved.attr(top) != plain.attr(top) {
			t.Errorf("%o: %+v, %+v, want %+v, %+v", c.Mode, got.Attr, reserved.attr(top), want.Attr, plain.attr(top))
		}
		if s := reserved.Stats(); s.Orphans != 4 || s.Files+s.Directories+s.Others != 6 {
			t.Errorf("%o: %+v", c.Mode, s)
		}
		reserved.want(proto.Stale, &MakeReserved{Make: Make{Header: c.Header, Parent: top, Name: []byte("again"), Mode: typeFile}, Inode: ino})
		reload(t, reserved.State)
	}
}

func TestReservedChunk(t *testing.T) {
	f := newFixture(t)
	r := f.reserve(1)
	if len(r.Inodes) != 2 || len(r.Chunks) != 1 || r.Chunks[0].Inode != r.Inodes[0] {
		t.Fatalf("%+v", r)
	}
	f.want(proto.Invalid, &MakeReserved{Make: Make{Header: f.header(root), Parent: top, Name: []byte("d"), Mode: typeDir}, Inode: r.Inodes[0]})
	f.ok(&MakeReserved{Make: Make{Header: f.header(root), Parent: top, Name: []byte("f"), Mode: typeFile | 0o600}, Inode: r.Inodes[0]})
	f.ok(&Commit{Header: f.header(root), Inode: r.Inodes[0], Size: 5000, Chunks: []proto.ChunkID{r.Chunks[0].ID}})
	if a := f.attr(r.Inodes[0]); a.Size != 5000 || a.Blocks != 16 {
		t.Errorf("%+v", a)
	}
	if freed := f.ok(&Reap{Inodes: r.Inodes}).Freed; len(freed) != 0 || f.Stats().Orphans != 0 {
		t.Errorf("reaped %v, %+v", freed, f.Stats())
	}
	f.want(proto.Stale, &MakeReserved{Make: Make{Header: f.header(root), Parent: top, Name: []byte("late"), Mode: typeFile}, Inode: r.Inodes[1]})
	f.want(proto.TooFewReplicas, &Reserve{Header: f.header(root), Chains: [][]proto.NodeID{nil, {1}}})
	f.want(proto.Invalid, &Reserve{Header: f.header(root)})
}

// A stream goes on behind what was carried out, passes over what it repeats, and stops
// at a command that failed: what is behind it is not carried out. G2
func TestStreamStopsAtAGap(t *testing.T) {
	f := newFixture(t)
	session := f.ok(&OpenSession{Client: "one"}).Session
	step := func(sequence uint64, name string) outcome {
		h := f.header(root)
		h.Origin = Origin{Session: session, Slot: StreamSlot, Sequence: sequence}
		r := f.Apply(0, &Make{Header: h, Parent: top, Name: []byte(name), Mode: typeDir})
		return outcome{r.Kind, r.Repeated, f.lookup(top, name) != 0, f.Streamed(session)}
	}
	for _, s := range []struct {
		sequence uint64
		name     string
		want     outcome
	}{
		{2, "early", outcome{proto.Interrupted, false, false, 0}},
		{1, "a", outcome{proto.OK, false, true, 1}},
		{1, "again", outcome{proto.OK, true, false, 1}},
		{2, "a", outcome{proto.Exists, false, true, 1}},
		{3, "behind", outcome{proto.Interrupted, false, false, 1}},
		{2, "b", outcome{proto.OK, false, true, 2}},
	} {
		if got := step(s.sequence, s.name); got != s.want {
			t.Errorf("%d %s: %+v, want %+v", s.sequence, s.name, got, s.want)
		}
		f.State = reload(t, f.State)
	}
	f.ok(&EndSession{Session: session})
	if got := step(3, "late"); got.Kind != proto.SessionExpired || got.There {
		t.Errorf("after the end: %+v", got)
	}
}

// outcome is what became of a command of a stream.
type outcome struct {
	Kind     proto.Kind
	Repeated bool
	There    bool
	Streamed uint64
}
