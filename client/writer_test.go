package client

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/proto"
)

// TestFailureOfAnOldVersion: a sync has the chain replaced while frames of the
// version before are under way. They fail; the new chain is not to blame.
func TestFailureOfAnOldVersion(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{Nodes: 2, Replicas: 2})
	c := connect(t, cluster, impatient(5*time.Second))
	f := create(t, c, "/f")
	mustWrite(t, f, noise(1, 1000), 0)
	must(t, f.Flush(t.Context()))
	held, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	cluster.Nodes[0].Hook(func(op string, _ uuid.UUID, _ uint64, _ int) error {
		if op == "write" {
			once.Do(func() { close(held); <-goOn })
		}
		return nil
	})
	data := noise(2, 1000)
	mustWrite(t, f, data, 0)
	f.ino.mu.Lock()
	f.ino.sealAll(false, nil)
	st := f.ino.streams[0]
	f.ino.mu.Unlock()
	<-held
	cluster.Bump(f.Inode())
	must(t, st.sync(t.Context())) // finds the version out of date
	close(goOn)
	must(t, f.Sync(t.Context()))
	if n := cluster.Count("ReportChainFailure"); n != 0 {
		t.Errorf("%d reports of a chain that works", n)
	}
	if got := contents(t, f); !bytes.Equal(got, data) {
		t.Error("wrong bytes")
	}
}

// TestSilentReplica: a replica that the master has not heard of when the file is
// opened, and has by the time that somebody asks, stays in the chain.
func TestSilentReplica(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{Nodes: 2, Replicas: 2})
	f := create(t, connect(t, cluster), "/f")
	mustWrite(t, f, noise(1, 1000), 0)
	must(t, f.Close())
	cluster.Silence(cluster.Nodes[1], true)
	f = open(t, connect(t, cluster, impatient(5*time.Second)), "/f", unix.O_RDWR)
	cluster.Silence(cluster.Nodes[1], false)
	data := noise(2, 1000)
	mustWrite(t, f, data, 0)
	must(t, f.Sync(t.Context()))
	if chain := cluster.Chain(f.Inode(), 0); len(chain) != 2 {
		t.Errorf("%d replicas are left of 2", len(chain))
	}
	for _, n := range cluster.Nodes {
		if got, synced, _ := cluster.Replica(n, f.Inode(), 0); !bytes.Equal(got, data) || !synced {
			t.Errorf("node %d: %d bytes, synced %v", n.ID, len(got), synced)
		}
	}
}

// TestNeededSuspect: one broken connection between the only two replicas is a pause.
func TestNeededSuspect(t *testing.T) { // G7
	cluster := clienttest.New(t, clienttest.Options{Nodes: 2, Replicas: 2})
	f := create(t, connect(t, cluster, impatient(5*time.Second)), "/f")
	mustWrite(t, f, noise(1, 1000), 0)
	must(t, f.Sync(t.Context()))
	chain := cluster.Chain(f.Inode(), 0)
	chain[1].Kill()
	cluster.Hook(func(method string, _ any, after bool) error {
		if method == "ReportChainFailure" && !after {
			chain[1].Start()
		}
		return nil
	})
	data := noise(2, 1000)
	mustWrite(t, f, data, 0)
	must(t, f.Sync(t.Context()))
	for _, n := range cluster.Nodes {
		if got, synced, _ := cluster.Replica(n, f.Inode(), 0); !bytes.Equal(got, data) || !synced {
			t.Errorf("node %d: %d bytes, synced %v", n.ID, len(got), synced)
		}
	}
}

// TestReplicaBehind: who has not heard of the present version is no suspect.
func TestReplicaBehind(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	f := create(t, connect(t, cluster, impatient(5*time.Second)), "/f")
	mustWrite(t, f, noise(1, 1000), 0)
	must(t, f.Flush(t.Context()))
	behind := true
	var mu sync.Mutex
	cluster.Nodes[1].Hook(func(op string, _ uuid.UUID, _ uint64, _ int) error {
		mu.Lock()
		defer mu.Unlock()
		if op == "write" && behind {
			return proto.WrongVersion
		}
		return nil
	})
	cluster.Hook(func(method string, _ any, after bool) error {
		mu.Lock()
		defer mu.Unlock()
		if method == "ReportChainFailure" && !after { // brings it forward
			behind = false
		}
		return nil
	})
	data := noise(2, 1000)
	mustWrite(t, f, data, 0)
	must(t, f.Sync(t.Context()))
	if chain := cluster.Chain(f.Inode(), 0); len(chain) != 3 {
		t.Errorf("%d replicas are left of 3", len(chain))
	}
}
