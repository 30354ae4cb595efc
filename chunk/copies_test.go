package chunk

import (
	"bytes"
	"context"
	"log/slog"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// cloner is a chunkserver, node 7, that another one, node 8, holds the same chunk with.
type cloner struct {
	*session
	mem     *disk.Mem
	content []byte
	remote  int // reads from node 8
}

func newCloner(t *testing.T) *cloner {
	c := &cloner{mem: disk.NewMem(), content: bytes.Repeat([]byte("shared bytes"), 30_000)}
	store := openStore(t, testOptions(c.mem, "/data"))
	store.membership.Store(&membership{testCluster, 7, testCapacity, 3})
	clear(c.content[50_000:300_000])
	must(t, write(store, testChunk(1), 3, 0, c.content, true))
	c.session = &session{agent: newAgent(store, agentOptions{
		log: slog.New(slog.DiscardHandler), forget: func(uuid.UUID) {},
		peers: fakePeers{func(_ context.Context, r pipeline.ReadRequest, dst []byte) (int, error) {
			c.remote++
			if r.Chunk != testChunk(1) || r.Version != 3 || r.From.Node != 8 {
				return 0, proto.E(proto.WrongVersion, "read", r.Chunk.String(), "")
			}
			return copy(dst, c.content[min(int(r.Offset), len(c.content)):]), nil
		}},
	})}
	return c
}

// clone carries out the order to make chunk id a copy of chunk 1.
func (c *cloner) clone(t *testing.T, id proto.ChunkID, nodes ...uint32) error {
	order := &pb.CopyChunk{Chunk: uint64(id), Version: 1, OfChunk: 1, OfVersion: 3}
	for _, node := range nodes {
		order.Sources = append(order.Sources, &pb.Replica{Node: node, Address: "host:1"})
	}
	return c.copy(t.Context(), id, order)
}

func (c *cloner) check(t *testing.T, s *Store, id int) {
	t.Helper()
	if got, err := read(t, s, testChunk(id), 1, 0, testCapacity); err != nil || !bytes.Equal(got, c.content) {
		t.Errorf("the clone has %d bytes, %v", len(got), err)
	}
}

func TestACloneIsMadeOfTheOwnReplica(t *testing.T) {
	c := newCloner(t)
	must(t, c.clone(t, 2, 8, 7))
	if c.remote != 0 {
		t.Errorf("%d reads from another chunkserver", c.remote)
	}
	c.check(t, c.store, 2)
	must(t, write(c.store, testChunk(2), 1, 5, []byte("only here"), false))
	if got, err := read(t, c.store, testChunk(1), 3, 0, testCapacity); err != nil || !bytes.Equal(got, c.content) {
		t.Errorf("the source after a write to its clone: %d bytes, %v", len(got), err)
	}
	must(t, c.clone(t, 2, 7)) // an order that is given again keeps what is there
	if got, _ := read(t, c.store, testChunk(2), 1, 5, 9); string(got) != "only here" {
		t.Errorf("cloned again it has %q", got)
	}
	wantKind(t, "a copy of itself", c.copy(t.Context(), 3, &pb.CopyChunk{Chunk: 3, Version: 1, Sources: []*pb.Replica{{Node: 7}}}), proto.Invalid)
	wantKind(t, "another version", c.copy(t.Context(), 3, &pb.CopyChunk{
		Chunk: 3, Version: 1, OfChunk: 1, OfVersion: 2, Sources: []*pb.Replica{{Node: 7}},
	}), proto.WrongVersion)
}

// G5: what the own replica cannot give comes from another chunkserver; without one there
// is no clone.
func TestACloneOfADamagedReplica(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, c *cloner){
		"flipped bit": func(t *testing.T, c *cloner) {
			flip(t, c.mem, chunkFile(1), int64(len(c.content)-1))
		},
		"unreadable": func(t *testing.T, c *cloner) {
			t.Cleanup(c.mem.Inject(disk.Fault{Op: disk.OpRead, Err: syscall.EIO}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloner(t)
			damage(t, c)
			if err := c.clone(t, 2, 7); err == nil || c.store.find(2) != nil {
				t.Errorf("a clone was made of a damaged replica: %v", err)
			}
			if left, err := c.mem.ReadDir("/data/tmp"); err != nil || len(left) > 0 {
				t.Errorf("left in tmp: %v, %v", left, err)
			}
			if name == "unreadable" {
				return // the folder is out of service: nothing can be made in it
			}
			must(t, c.clone(t, 2, 7, 8))
			c.check(t, c.store, 2)
			if c.remote == 0 || !c.store.replicaState(1).Corrupt {
				t.Errorf("%d reads from another chunkserver; the source is %v", c.remote, c.store.replicaState(1))
			}
		})
	}
}

// A power cut in the middle of a clone leaves all of it or nothing, and the order can be
// given again.
func TestCrashWhileCloning(t *testing.T) {
	c := newCloner(t)
	must(t, c.store.Sync(testChunk(1), 3))
	var crashed []*disk.Mem
	c.mem.SetHook(func(op disk.Op, _ string) error {
		if op != disk.OpRead {
			crashed = append(crashed, c.mem.CrashClone(uint64(len(crashed))))
		}
		return nil
	})
	must(t, c.clone(t, 2, 7))
	c.mem.SetHook(nil)
	c.check(t, openStoreAt(t, c.mem.CrashClone(1)), 2) // durable when it returns
	if len(crashed) < 5 {
		t.Fatalf("%d steps", len(crashed))
	}
	for _, mem := range crashed {
		d := &cloner{content: c.content, mem: mem, session: &session{agent: newAgent(openStoreAt(t, mem), c.agentOptions)}}
		if d.store.find(2) != nil {
			d.check(t, d.store, 2)
		}
		must(t, d.clone(t, 2, 7, 8))
		d.check(t, d.store, 2)
	}
}
