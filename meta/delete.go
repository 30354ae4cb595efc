package meta

import (
	"context"
	"sync"
	"time"

	"github.com/distrifs/distrifs/meta/registry"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
)

// Replicas of freed chunks are removed by order, some time after (G10). The queue is
// bounded and is not logged: what falls out of it, or what its chunkserver did not
// confirm, is homeless at its next block report and is queued again.

const (
	maxDeletes    = 1 << 20 // waiting, of all chunkservers together
	deleteEvery   = 200 * time.Millisecond
	deleteBatch   = 1 << 10 // orders to one chunkserver in a round
	deletesAtOnce = 64      // orders to one chunkserver under way
)

// deletes is the queue.
type deletes struct {
	mu     sync.Mutex // protects all below; a leaf
	byNode map[proto.NodeID]map[proto.ChunkID]proto.Version
	count  int
}

func newDeletes() *deletes {
	return &deletes{byNode: map[proto.NodeID]map[proto.ChunkID]proto.Version{}}
}

func (d *deletes) add(node proto.NodeID, chunk proto.ChunkID, version proto.Version) {
	d.mu.Lock()
	defer d.mu.Unlock()
	queue := d.byNode[node]
	if queue == nil {
		queue = map[proto.ChunkID]proto.Version{}
		d.byNode[node] = queue
	}
	had, there := queue[chunk]
	if !there {
		if d.count >= maxDeletes {
			return
		}
		d.count++
	}
	queue[chunk] = max(had, version)
}

// take hands over some of what waits for one chunkserver.
func (d *deletes) take(node proto.NodeID, limit int) map[proto.ChunkID]proto.Version {
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := map[proto.ChunkID]proto.Version{}
	for chunk, version := range d.byNode[node] {
		if len(taken) == limit {
			break
		}
		taken[chunk] = version
		delete(d.byNode[node], chunk)
		d.count--
	}
	return taken
}

func (d *deletes) waiting() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return uint64(d.count)
}

// nodes lists those that have something to delete.
func (d *deletes) nodes() (list []proto.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for node, queue := range d.byNode {
		if len(queue) > 0 {
			list = append(list, node)
		}
	}
	return list
}

// deleteReplicas is the loop. What waits for a chunkserver that is away stays queued.
func (m *Master) deleteReplicas(ctx context.Context) {
	every(ctx, deleteEvery, nil, func() {
		if m.deletes.waiting() == 0 || m.inSafeMode() {
			return
		}
		var group sync.WaitGroup
		for _, node := range m.deletes.nodes() {
			if m.nodes.Connected(node) {
				group.Go(func() { m.deleteSome(ctx, node) })
			}
		}
		group.Wait()
	})
}

func (m *Master) deleteSome(ctx context.Context, node proto.NodeID) {
	room := make(chan struct{}, deletesAtOnce)
	var group sync.WaitGroup
	for chunk, version := range m.deletes.take(node, deleteBatch) {
		if m.fate(chunk) != state.Freed { // L2
			continue
		}
		room <- struct{}{}
		group.Go(func() {
			defer func() { <-room }()
			if err := m.deleteFrom(ctx, node, chunk, version, "freed"); err != nil {
				m.log.Debug("delete replica of a freed chunk: it is tried again after the next block report", "chunk", chunk, "node", node, "error", err)
			}
		})
	}
	group.Wait()
}

func (m *Master) fate(id proto.ChunkID) (f state.Fate) {
	m.machine.read(func(st *state.State) { f = st.Fate(id) })
	return f
}

// homeless deals with replicas whose chunk is not live. Freed ones are deleted, unless their disk
// has failed: they go with it, or when it is in service again. Of
// those whose chunk this master never issued nothing is known, so they stay where
// they are (L1, L2).
func (m *Master) homeless(list []registry.Stray) {
	for _, s := range list {
		switch m.fate(s.Chunk) {
		case state.Freed:
			if !s.Replica.Failing {
				m.deletes.add(s.Node, s.Chunk, s.Replica.Version)
			}
		case state.NeverIssued:
			m.log.Error("a chunkserver holds a replica of a chunk that this master never issued: it is left alone",
				"chunk", s.Chunk, "version", s.Replica.Version, "node", s.Node, "seen", m.foreign.Add(1))
		}
	}
}
