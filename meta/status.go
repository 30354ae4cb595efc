package meta

import (
	"context"
	"runtime/metrics"
	"slices"
	"sync"
	"time"

	"github.com/distrifs/distrifs/meta/registry"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Status tells operators how the cluster is. It is answered in every condition.
func (m *Master) Status(context.Context, *pb.StatusRequest) (*pb.StatusReply, error) {
	var stats state.Stats
	m.machine.read(func(st *state.State) { stats = st.Stats() })
	log := m.group.Status()
	total, free := m.nodes.Space()
	reply := &pb.StatusReply{
		Cluster: m.cluster.Cluster.String(), Version: m.cfg.Version, Epoch: uint64(m.cluster.Epoch),
		LogIndex: log.LastIndex, CheckpointIndex: log.CheckpointIndex,
		UptimeSeconds: uint64(m.cfg.Now().Sub(m.started).Seconds()), MemoryBytes: liveHeap(),
		Nodes: m.nodes.Status(), Files: stats.Files - min(stats.Orphans, stats.Files), Directories: stats.Directories, OtherInodes: stats.Others,
		Chunks: m.countChunks(stats), TotalBytes: total, FreeBytes: free,
		Replicas: m.cluster.Replicas, MinReplicas: m.cluster.MinReplicas, ChunkSize: m.cluster.ChunkSize,
		Sessions: m.sessions.status(), SafeMode: m.inSafeMode(),
		Repair: m.repairs.status(m.cfg.Now(), m.cfg.RepairRate), Rebalancing: m.rebalancing(),
	}
	if log.Full != nil {
		reply.LogFault = log.Full.Error()
	}
	leases := m.leases.stats()
	reply.Leases, reply.Claims, reply.Recalls = uint64(leases.Held), uint64(leases.Waiting), leases.Recalls
	for _, n := range reply.Nodes {
		left, known := m.repairs.toMove(proto.NodeID(n.Node))
		if n.Decommissioned && !known {
			left = m.membersOf(proto.NodeID(n.Node))
		}
		n.ToMove = left
	}
	if address := m.address.Load(); address != nil {
		reply.Address = *address
	}
	return reply, nil
}

func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// census is the last count of chunks by condition.
type census struct {
	mu    sync.Mutex // held while counting: one counts for all who ask
	taken time.Time
	found pb.ChunkStatus
}

// A count looks at every chunk. With many chunks it is used again for a while.
const (
	cheapCensus = 1 << 18 // chunks
	censusFor   = 5 * time.Second
)

// countCorrupt counts the replicas that do not match their checksums and wait to be
// replaced (L13). One on a disk that has failed cannot be removed there: it does not wait any
// more when its chunk has left it behind.
func (m *Master) countCorrupt() (count uint64) {
	m.machine.read(func(st *state.State) {
		m.nodes.Strays(1, func(s registry.Stray) bool {
			bad := s.Alive && (s.Replica.Corrupt || s.Replica.Accused)
			if bad && s.Replica.Failing {
				c, ok := st.Chunk(s.Chunk)
				bad = ok && slices.Contains(c.Chain, s.Node)
			}
			if bad {
				count++
			}
			return false
		})
	})
	return count
}

// countChunks counts committed chunks by their good replicas.
func (m *Master) countChunks(stats state.Stats) *pb.ChunkStatus {
	m.census.mu.Lock()
	defer m.census.mu.Unlock()
	found, now := &m.census.found, m.cfg.Now()
	if stats.Chunks < cheapCensus || now.Sub(m.census.taken) >= censusFor {
		found.UnderReplicated, found.Missing = 0, 0
		m.eachChunk(func(c state.Chunk) bool {
			good := m.nodes.Good(c)
			switch {
			case !c.Committed || good >= int(m.cluster.Replicas):
			case good == 0:
				found.Missing++
			default:
				found.UnderReplicated++
			}
			return true
		})
		found.CorruptReplicas = m.countCorrupt()
		m.census.taken = now
	}
	return &pb.ChunkStatus{
		Total: stats.Chunks, Assigned: stats.Assigned, ToDelete: m.deletes.waiting(),
		UnderReplicated: found.UnderReplicated, Missing: found.Missing, CorruptReplicas: found.CorruptReplicas,
	}
}
