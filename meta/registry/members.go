package registry

import (
	"slices"
	"time"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Member is one member of a chain as the registry sees it.
type Member struct {
	Node      proto.NodeID
	Address   string
	Alive     bool          // heard of within the dead-after time
	Connected bool          // takes orders
	Known     bool          // what Holds says is all it has
	Silence   time.Duration // since it was last heard of; since the master's start if never
	Gone      time.Duration // since its process is known to be gone; negative: it is not
	Holds     Replica

	Leaving     bool // it is to give its replica up, for it is decommissioned or the disk is slow
	Maintenance bool // its silence is expected: it is not given up
}

// Good tells whether the member holds a good replica of the version.
func (m Member) Good(v proto.Version) bool {
	return m.Alive && m.Holds.Version == v && m.Holds.Sound()
}

// Members describes a chunk's chain, in its order.
func (r *Registry) Members(c state.Chunk) []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.opts.Now()
	members := make([]Member, len(c.Chain))
	for i, id := range c.Chain {
		members[i].Node, members[i].Gone = id, -1
		n := r.nodes[id]
		if n == nil {
			members[i].Silence = now.Sub(r.started)
			continue
		}
		members[i] = Member{
			Node: id, Address: n.address, Alive: n.alive, Connected: n.alive && n.stream != nil,
			Known: n.known, Silence: now.Sub(n.heard), Gone: r.gone(n, now), Holds: r.holds(n, c.ID, &c),
		}
		members[i].Leaving = n.leaving || members[i].Holds.Slow
		if now.Before(n.away) {
			members[i].Maintenance, members[i].Silence, members[i].Gone = true, 0, -1
		}
	}
	return members
}

// Holds is what a chunkserver holds of a chunk.
func (r *Registry) Holds(id proto.NodeID, c state.Chunk) Replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.nodes[id]; n != nil {
		return r.holds(n, c.ID, &c)
	}
	return Replica{}
}

// Address is where a chunkserver's data plane listens; empty if it is not alive.
func (r *Registry) Address(id proto.NodeID) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.nodes[id]; n != nil && n.alive {
		return n.address
	}
	return ""
}

// Status describes every chunkserver that was ever registered, in order of ids.
func (r *Registry) Status() []*pb.NodeStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.opts.Now()
	list := make([]*pb.NodeStatus, len(r.ordered))
	for i, n := range r.ordered {
		total, free := n.space()
		list[i] = &pb.NodeStatus{
			Node: uint32(n.id), Address: n.address, Alive: n.alive, LastHeardMs: uint64(now.Sub(n.heard).Milliseconds()),
			TotalBytes: total, FreeBytes: free, Chunks: n.chunks, Version: n.version, Disks: n.disks,
			Decommissioned: n.leaving, Reporting: n.alive && (!n.known || len(n.doubts) > 0),
		}
		if now.Before(n.away) {
			list[i].Maintenance = n.away.Unix()
		}
	}
	return list
}

// Space is the raw space of the live chunkservers in bytes.
func (r *Registry) Space() (total, free uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.ordered {
		if n.alive {
			t, f := n.space()
			total, free = total+t, free+f
		}
	}
	return total, free
}

// space is that of the healthy disks.
func (n *node) space() (total, free uint64) {
	for _, d := range n.disks {
		if d.Fault == "" {
			total, free = total+d.TotalBytes, free+d.FreeBytes
		}
	}
	return total, free
}

// Connected tells whether a chunkserver takes orders.
func (r *Registry) Connected(id proto.NodeID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[id]
	return n != nil && n.alive && n.stream != nil
}

// Roomy tells whether a chunkserver may be given a chunk.
func (r *Registry) Roomy(id proto.NodeID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[id]
	return n != nil && r.takes(n)
}

// takes tells whether a chunkserver may be given a chunk.
func (r *Registry) takes(n *node) bool {
	return r.serves(n) && n.room() >= r.opts.MinRoom
}

// serves tells whether a chunkserver is there, and is meant to stay.
func (r *Registry) serves(n *node) bool { return n.serves(r.opts.Now()) }

func (n *node) serves(now time.Time) bool {
	return n.alive && n.stream != nil && !n.leaving && !now.Before(n.away)
}

// Others is the number of chunkservers with room, beside those in a chain.
func (r *Registry) Others(chain []proto.NodeID) (count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.ordered {
		if r.takes(n) && !slices.Contains(chain, n.id) {
			count++
		}
	}
	return count
}

// LastAddress is where a chunkserver's data plane listened last, alive or not.
func (r *Registry) LastAddress(id proto.NodeID) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.nodes[id]; n != nil {
		return n.address
	}
	return ""
}
