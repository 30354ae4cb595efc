package client

import (
	"sync"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/proto"
)

// wantSynced checks that every replica of a chunk is on stable storage.
func wantSynced(t *testing.T, cluster *clienttest.Cluster, ino proto.InodeID, index uint64) {
	t.Helper()
	for _, n := range cluster.Chain(ino, index) {
		if _, synced, ok := cluster.Replica(n, ino, index); !ok || !synced {
			t.Errorf("chunk index %d at node %d: synced %v, there %v", index, n.ID, synced, ok)
		}
	}
}

// TestSyncOfWhatWasWrittenBefore: fsync is of the file, not of what was written
// through this open: write, close, open, fsync makes all of it durable.
func TestSyncOfWhatWasWrittenBefore(t *testing.T) { // G1
	for name, other := range map[string]bool{"same client": false, "another client": true} {
		t.Run(name, func(t *testing.T) {
			cluster := clienttest.New(t, clienttest.Options{})
			c := connect(t, cluster)
			f := create(t, c, "/f")
			mustWrite(t, f, noise(1, 2<<20+5), 0)
			must(t, f.Close())
			if other {
				c = connect(t, cluster)
			}
			f = open(t, c, "/f", unix.O_RDONLY)
			must(t, f.Sync(t.Context()))
			for index := range uint64(3) {
				wantSynced(t, cluster, f.Inode(), index)
			}
			before := cluster.Nodes[0].Count("sync")
			must(t, f.Sync(t.Context()))
			if after := cluster.Nodes[0].Count("sync"); after != before {
				t.Errorf("%d syncs of what is synced", after-before)
			}
		})
	}
}

// TestSyncOfAChunkThatIsCutOff: while a file is synced another client cuts it to nothing and is
// about to write to it anew. Nobody has a replica of its new chunk yet, and nobody has to.
func TestSyncOfAChunkThatIsCutOff(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	writer, syncer := connect(t, cluster), connect(t, cluster)
	w := create(t, writer, "/f")
	mustWrite(t, w, noise(1, 4096), 0)
	must(t, w.Flush(t.Context()))
	f := open(t, syncer, "/f", unix.O_RDONLY)
	head := cluster.Chain(f.Inode(), 0)[0]
	var cut sync.Once
	head.Hook(func(op string, _ uuid.UUID, _ uint64, _ int) (err error) {
		if op != "sync" {
			return nil
		}
		cut.Do(func() {
			if err = w.Truncate(t.Context(), 0); err == nil {
				_, err = writer.assign(t.Context(), f.Inode(), 0, 0)
			}
			if err == nil {
				err = proto.NoReplica
			}
		})
		return err
	})
	must(t, f.Sync(t.Context()))
	if n := head.Count("sync"); n != 1 {
		t.Errorf("%d syncs: the new chunk is none of this one", n)
	}
}
