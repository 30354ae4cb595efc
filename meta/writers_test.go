package meta

import (
	"testing"
	"time"

	"github.com/distrifs/distrifs/proto/pb"
)

// What a writer that died has left in a chunk that was never committed does not
// become part of the file through the next writer: that one gets another chunk. A
// chunk whose writer lives is shared.
func TestChunkOfADeadWriterIsNotHandedOn(t *testing.T) { // G5
	inCluster(t, 3, Config{SessionTimeout: 30 * time.Second}, func(c *cluster) {
		t := c.t
		dying, living := c.connect(&pb.Hello{}), c.connect(&pb.Hello{})
		defer living.vanish()
		f := dying.file("shared")
		must[*pb.OpenReply](t)(living.api().Open(t.Context(), &pb.OpenRequest{Caller: living.changes(), Inode: f.Attr.Inode, Flags: 2}))
		assign := func(one *client) uint64 {
			t.Helper()
			reply := must[*pb.ChunkLocations](t)(one.api().AssignChunk(t.Context(), &pb.AssignChunkRequest{Caller: one.changes(), Inode: f.Attr.Inode, Count: 1}))
			return reply.Chunks[0].Chunk
		}
		other := c.connect(&pb.Hello{})
		if got := assign(other); got != f.Chunk.Chunk {
			t.Errorf("with both writers alive: chunk %x, want %x", got, f.Chunk.Chunk)
		}
		dying.vanish()
		other.vanish()
		if got := assign(living); got != f.Chunk.Chunk {
			t.Errorf("before they are known to be dead: chunk %x, want %x", got, f.Chunk.Chunk)
		}

		left := c.connect(&pb.Hello{})
		f = left.file("left")
		must[*pb.OpenReply](t)(living.api().Open(t.Context(), &pb.OpenRequest{Caller: living.changes(), Inode: f.Attr.Inode, Flags: 2}))
		left.vanish()
		time.Sleep(time.Minute)
		fresh := assign(living)
		if fresh == f.Chunk.Chunk {
			t.Error("the chunk of a dead writer was handed on")
		}
		if again := assign(living); again != fresh {
			t.Errorf("assigned again: chunk %x, want %x", again, fresh)
		}
		must[*pb.AttrReply](t)(living.api().Commit(t.Context(), &pb.CommitRequest{Caller: living.changes(), Inode: f.Attr.Inode, Size: 5, Chunks: []uint64{fresh}}))
		if got := assign(living); got != fresh {
			t.Errorf("committed, then assigned again: chunk %x, want %x", got, fresh)
		}
	})
}
