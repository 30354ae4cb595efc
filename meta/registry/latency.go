package registry

import (
	"slices"
	"time"
)

// latency is what disks take as a rule. It is taken anew once in a while only, for
// every heartbeat is answered with it.
type latency struct {
	typical uint64 // microseconds; 0: not known
	taken   time.Time
}

const latencyFor = 3 * time.Second

// TypicalLatency is the median of what the disks of all live chunkservers take for a small
// write and its sync, in microseconds; the lower one of two. 0: nobody has told.
func (r *Registry) TypicalLatency() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.opts.Now()
	if !r.latency.taken.IsZero() && now.Sub(r.latency.taken) < latencyFor {
		return r.latency.typical
	}
	var all []uint64
	for _, n := range r.ordered {
		for _, d := range n.disks {
			if n.alive && d.LatencyUs != 0 {
				all = append(all, d.LatencyUs)
			}
		}
	}
	r.latency = latency{taken: now}
	if len(all) > 0 {
		slices.Sort(all)
		r.latency.typical = all[(len(all)-1)/2]
	}
	return r.latency.typical
}
