package state

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/meta/acl"
	"github.com/distrifs/distrifs/proto"
)

var update = flag.Bool("update", false, "write the golden files anew")

// samples has every command with every field filled.
func samples() []Command {
	h := Header{
		Origin: Origin{Session: 0x1122334455667788, Slot: 0x99aa, Sequence: 0xbbccdd},
		Cred:   Cred{UID: 1000, GID: 100, Groups: []uint32{7, 8}},
		Now:    Time{Sec: 1_700_000_000, Nsec: 123_456_789},
	}
	return []Command{
		&Init{Cluster: proto.ClusterID(uuid.MustParse("00112233-4455-6677-8899-aabbccddeeff")), ChunkSize: 64 << 20, Replicas: 3, MinReplicas: 2, Seed: 0xfeed, Now: h.Now},
		&BeginEpoch{Epoch: 42},
		&OpenSession{Client: "host:1", Now: h.Now},
		&EndSession{Session: 5, Now: h.Now},
		&RegisterNode{Instance: uuid.MustParse("ffeeddcc-bbaa-9988-7766-554433221100"), Address: "10.0.0.1:9421", Incarnation: 1<<20 | 7},
		&Make{Header: h, Parent: 1, Name: []byte("name"), Mode: 0o100644, Rdev: 9, Target: []byte("target"), Chain: []proto.NodeID{3, 1, 2}},
		&Link{Header: h, Inode: 2, Parent: 1, Name: []byte("name")},
		&Unlink{Header: h, Parent: 1, Name: []byte("name"), Dir: true},
		&Rename{Header: h, Parent: 1, Name: []byte("old"), NewParent: 2, NewName: []byte("new"), NoReplace: true, Exchange: true},
		&SetAttr{Header: h, Inode: 2, Set: SetMode | SetSize, Mode: 0o600, UID: 1, GID: 2, Size: 1 << 40, Atime: Time{-1, 5}, Mtime: h.Now},
		&SetXattr{Header: h, Inode: 2, Name: []byte("user.a"), Value: []byte("value"), Create: true, Replace: true},
		&RemoveXattr{Header: h, Inode: 2, Name: []byte("user.a")},
		&AssignChunks{Header: h, Inode: 2, First: 1 << 42, Chains: [][]proto.NodeID{{1, 2, 3}, {2, 3}}},
		&Commit{Header: h, Inode: 2, Size: 77, Chunks: []proto.ChunkID{1, 2<<32 | 3}, Mtime: h.Now},
		&SetChain{Chunk: 2<<32 | 3, From: 4, To: 5, Chain: []proto.NodeID{2, 1}},
		&Reap{Inodes: []proto.InodeID{2, 1<<32 | 3}},
		&DropAssigned{Inode: 2, Chunks: []proto.ChunkID{4, 5}},
		&Make{Header: h, Parent: 1, Name: []byte("masked"), Mode: 0o040777, Umask: 0o027},
		&Fallocate{Header: h, Inode: 2, Offset: 1 << 20, Length: 3 << 20, Tail: true, Size: 1 << 41},
		&MakeUnnamed{Header: h, Parent: 1, Mode: 0o640, Umask: 0o027, Chain: []proto.NodeID{2, 1}},
		&Access{Reads: []Read{{Inode: 2, At: h.Now}, {Inode: 1<<32 | 3, At: Time{-1, 5}}}},
		&CopyChunks{Header: h, From: 2, To: 1<<32 | 3, FromIndex: 4, ToIndex: 1 << 42, Count: 160, Size: 1 << 41, FromChange: 77},
		&TakeClone{Clone: 2<<32 | 3},
		&Operate{Node: 3, Move: Maintenance, On: true, Until: Time{1 << 31, 5}},
		&Reserve{Header: h, Chains: [][]proto.NodeID{{1, 2, 3}, {2, 3}}},
		&MakeReserved{Make: Make{Header: h, Parent: 1, Name: []byte("made"), Mode: 0o100644, Umask: 0o027, Rdev: 9, Target: []byte("target")}, Inode: 1<<32 | 3},
	}
}

func TestCommandsSurviveTheLog(t *testing.T) {
	ops := map[Op]bool{}
	for _, c := range samples() {
		ops[c.Op()] = true
		payload := c.Encode([]byte("before"))
		got, err := Decode(c.Op(), payload[len("before"):])
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%T came back as %+v, %v", c, got, err)
		}
		for n := range payload[len("before"):] {
			if got, err := Decode(c.Op(), payload[len("before"):][:n]); err == nil {
				t.Fatalf("%T cut to %d bytes is %+v", c, n, got)
			}
		}
		if _, err := Decode(c.Op(), append(payload[len("before"):], 0)); proto.KindOf(err) != proto.Malformed {
			t.Errorf("%T with a byte too many: %v", c, err)
		}
	}
	for op := OpInit; op < opEnd; op++ {
		if !ops[op] {
			t.Errorf("operation %d has no sample", op)
		}
	}
	if _, err := Decode(opEnd, nil); proto.KindOf(err) != proto.Malformed {
		t.Errorf("an unknown operation: %v", err)
	}
}

// The log outlives the program: its bytes never change.
func TestGoldenCommands(t *testing.T) {
	var b strings.Builder
	for _, c := range samples() {
		fmt.Fprintf(&b, "%d %s %s\n", c.Op(), strings.TrimPrefix(fmt.Sprintf("%T", c), "*state."), hex.EncodeToString(c.Encode(nil)))
	}
	golden(t, "testdata/commands.golden", []byte(b.String()))
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what is written today:\n%s", name, got)
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range samples() {
		f.Add(uint8(c.Op()), c.Encode(nil))
	}
	f.Fuzz(func(t *testing.T, op uint8, payload []byte) {
		c, err := Decode(Op(op), payload)
		if err != nil {
			if proto.KindOf(err) != proto.Malformed {
				t.Fatal(err)
			}
			return
		}
		if again := c.Encode(nil); c.Op() != Op(op) || !bytes.Equal(again, payload) {
			t.Fatalf("%x is read as %+v, written as %x", payload, c, again)
		}
	})
}

// FuzzApply: no command, however absurd, breaks the state.
func FuzzApply(f *testing.F) {
	for _, c := range samples() {
		f.Add(uint8(c.Op()), c.Encode(nil), uint8(OpReap), (&Reap{Inodes: []proto.InodeID{2, 3}}).Encode(nil))
	}
	list := &SetXattr{Inode: 2, Name: []byte(defaultACL), Value: acl.List{owner(7), user(5, 6), owning(5), mask(7), other(0)}.Encode(nil)}
	inheriting := &Make{Parent: 2, Name: []byte("heir"), Mode: typeDir | 0o770, Umask: 0o077}
	f.Add(uint8(list.Op()), list.Encode(nil), uint8(inheriting.Op()), inheriting.Encode(nil))
	f.Fuzz(func(t *testing.T, op1 uint8, p1 []byte, op2 uint8, p2 []byte) {
		fx := newFixture(t)
		dir := fx.make(root, top, "d", typeDir|0o777)
		fx.ok(&Make{Header: fx.header(root), Parent: dir, Name: []byte("name"), Chain: []proto.NodeID{1, 2, 3}})
		fx.ok(&OpenSession{})
		for _, in := range []struct {
			op uint8
			p  []byte
		}{{op1, p1}, {op2, p2}} {
			if c, err := Decode(Op(in.op), in.p); err == nil {
				fx.Apply(0, c)
			}
		}
		reload(t, fx.State)
	})
}

func FuzzDecodeResult(f *testing.F) {
	chunk := Chunk{ID: 1, Version: 2, Index: 3, Inode: 4, Committed: true, Chain: []proto.NodeID{1, 2}}
	for _, r := range []Result{{}, {Kind: proto.Exists}, {Inode: 1, Replaced: 2, Nlink: 3, Attr: Attr{Inode: 1, Mode: 2, Atime: Time{3, 4}}, Chunks: []Chunk{chunk}}} {
		f.Add(encodeResult(nil, &r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, ok := decodeResult(b); ok && !bytes.Equal(encodeResult(nil, &r), b) {
			t.Fatalf("%x is written as %x", b, encodeResult(nil, &r))
		}
	})
}
