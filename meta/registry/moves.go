package registry

import (
	"slices"
	"time"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Operate follows what the log says that operators want of a chunkserver.
func (r *Registry) Operate(info state.NodeInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[info.ID]
	if n == nil {
		return
	}
	n.leaving, n.away = info.Decommissioned, time.Time{}
	if info.Maintenance.Sec != 0 {
		n.away = time.Unix(info.Maintenance.Sec, 0)
	}
}

// Leaving tells whether any chunkserver is to give up what it has, or any replica is on
// a disk that is failing.
func (r *Registry) Leaving() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.ordered {
		if n.leaving || n.alive && n.sick() {
			return true
		}
	}
	return false
}

// Decommissioned lists the chunkservers that are to give up all they have.
func (r *Registry) Decommissioned() (list []proto.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.ordered {
		if n.leaving {
			list = append(list, n.id)
		}
	}
	return list
}

// Stay tells whether all members of a chain are there, or were a moment ago, and are meant to stay.
func (r *Registry) Stay(chain []proto.NodeID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.opts.Now()
	return !slices.ContainsFunc(chain, func(id proto.NodeID) bool {
		n := r.nodes[id]
		return n == nil || !n.alive || n.leaving || now.Before(n.away)
	})
}

// sick tells whether a disk of the chunkserver is to give up what it has.
func (n *node) sick() bool {
	return slices.ContainsFunc(n.disks, func(d *pb.DiskStatus) bool { return d.Sick })
}

// Staying is the number of chunkservers that are there and meant to stay, without one.
func (r *Registry) Staying(but proto.NodeID) (count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.ordered {
		if n.id != but && r.serves(n) {
			count++
		}
	}
	return count
}

// Use is how full a chunkserver is.
type Use struct {
	Node  proto.NodeID
	Total uint64 // bytes
	Used  uint64 // bytes
}

// Share is the used part of the whole.
func (u Use) Share() float64 { return float64(u.Used) / float64(max(1, u.Total)) }

// Uses tells how full the chunkservers are that are there and meant to stay.
func (r *Registry) Uses() (list []Use) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.ordered {
		if total, free := n.space(); r.serves(n) && total > 0 {
			list = append(list, Use{n.id, total, total - min(free, total)})
		}
	}
	return list
}
