package client

import (
	"bytes"
	"sync"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
)

// A chunkserver without room is left out of the chain: nobody sees an error while others
// have some. When too few have, the writer is told at once.
func TestAFullChunkserverIsLeftOut(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	mustWrite(t, f, noise(1, 1000), 0)
	must(t, f.Sync(t.Context()))
	var full sync.Map // ids of nodes
	for _, n := range cluster.Nodes {
		n.Hook(func(op string, _ uuid.UUID, _ uint64, _ int) error {
			if _, is := full.Load(n.ID); is && op == "write" {
				return proto.NoSpace
			}
			return nil
		})
	}
	chain := cluster.Chain(f.Inode(), 0)
	full.Store(chain[len(chain)-1].ID, nil)
	mustWrite(t, f, noise(2, 1000), 1000)
	must(t, f.Sync(t.Context()))
	for _, n := range cluster.Nodes {
		full.Store(n.ID, nil)
	}
	mustWrite(t, f, noise(3, 1000), 2000)
	wantKind(t, "all are full", f.Sync(t.Context()), proto.NoSpace)
	full.Clear()
	must(t, f.Close())
	want := append(noise(1, 1000), noise(2, 1000)...)
	if got := contents(t, open(t, connect(t, cluster), "/f", unix.O_RDONLY)); !bytes.Equal(got, want) {
		t.Errorf("%d bytes, which differ from byte %d on", len(got), differ(got, want))
	}
}

// Who has waited for room in vain is told that there is none, not that servers are away.
func TestPatienceEndsWithNoSpace(t *testing.T) {
	c := connect(t, clienttest.New(t, clienttest.Options{}))
	for last, want := range map[proto.Kind]proto.Kind{proto.NoSpace: proto.NoSpace, proto.Unavailable: proto.Timeout} {
		p := c.newPatience(t.Context())
		cause := &pipeline.ChainError{Err: proto.E(last, "write", "chunk", ""), FailedNode: 3}
		wantKind(t, last.String(), p.spent("write", "inode", cause), want)
		p.cancel()
	}
}
