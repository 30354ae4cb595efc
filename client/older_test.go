package client

import (
	"testing"

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
