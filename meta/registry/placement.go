package registry

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"github.com/distrifs/distrifs/proto"
)

// Place chooses want chunkservers for a new chunk, head first, and fewer if there are
// not enough, but at least least of them. Those in exclude are not chosen.
//
// Chosen are connected chunkservers with room: on distinct hosts before several on
// one host, the less loaded before the more loaded, the emptier before the fuller,
// and among equals the one that was not chosen for longest. Suspects are left out where least
// others are there.
//
// NoSpace: enough are alive, and too few have room. TooFewReplicas: too few are alive.
func (r *Registry) Place(want, least int, exclude ...proto.NodeID) ([]proto.NodeID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var candidates []*node
	connected := 0
	for _, n := range r.ordered {
		if !r.serves(n) || slices.Contains(exclude, n.id) {
			continue
		}
		connected++
		if n.room() >= r.opts.MinRoom {
			candidates = append(candidates, n)
		}
	}
	switch {
	case connected < least:
		return nil, proto.E(proto.TooFewReplicas, "place chunk", "",
			fmt.Sprintf("%d chunkservers are alive and %d are needed; start more", connected, least))
	case len(candidates) < least:
		return nil, proto.E(proto.NoSpace, "place chunk", "",
			fmt.Sprintf("%d of %d live chunkservers have room and %d are needed; delete files or add chunkservers", len(candidates), connected, least))
	}
	if trusted := slices.DeleteFunc(slices.Clone(candidates), func(n *node) bool { return n.suspect }); len(trusted) >= least {
		candidates = trusted
	}
	slices.SortFunc(candidates, better)
	return r.pick(candidates, want, map[string]bool{}), nil
}

// PlaceBeside chooses up to want chunkservers for further replicas of a chunk, as
// Place does, on other hosts than those of the chain if there are any. Those that are
// busy, and suspects, are not chosen.
func (r *Registry) PlaceBeside(want int, chain []proto.NodeID, busy func(proto.NodeID) bool) []proto.NodeID {
	r.mu.Lock()
	defer r.mu.Unlock()
	hosts := map[string]bool{}
	var candidates []*node
	for _, n := range r.ordered {
		switch {
		case slices.Contains(chain, n.id):
			hosts[n.host] = n.alive || hosts[n.host]
		case r.takes(n) && !n.suspect && !busy(n.id):
			candidates = append(candidates, n)
		}
	}
	slices.SortFunc(candidates, better)
	return r.pick(candidates, want, hosts)
}

// pick takes the first of each host that is not in hosts, then the first of the rest.
func (r *Registry) pick(candidates []*node, want int, hosts map[string]bool) []proto.NodeID {
	chosen := make([]proto.NodeID, 0, want)
	for _, distinct := range []bool{true, false} {
		for _, n := range candidates {
			if len(chosen) == want {
				break
			}
			if distinct && hosts[n.host] || slices.Contains(chosen, n.id) {
				continue
			}
			hosts[n.host] = true
			chosen = append(chosen, n.id)
			r.picks++
			n.picked = r.picks
			n.placed++
		}
	}
	return chosen
}

// Both measures are coarse, so that servers that are much alike take turns.
func better(a, b *node) int {
	return cmp.Or(
		cmp.Compare(a.loadClass(), b.loadClass()),
		cmp.Compare(b.freeClass(), a.freeClass()),
		cmp.Compare(a.picked, b.picked),
	)
}

// loadClass is the power of two of what is under way there, beyond a base that
// counts as idle. Chunks placed since the last heartbeat are load to come.
func (n *node) loadClass() int { return bits.Len32((n.load + n.placed) / 64) }

// freeClass is the free space in tenths of the size.
func (n *node) freeClass() uint64 {
	total, free := n.space()
	return free / max(total/10, 1)
}

// Suspect notes that a client could not reach chunkservers. One that was stopped or cut off
// would hold up every writer that is given a chunk there. Their next heartbeats clear them.
func (r *Registry) Suspect(ids []proto.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if n := r.nodes[id]; n != nil {
			n.suspect = true
		}
	}
}

// Full notes that chunkservers had no room for a write. Their next heartbeats tell more.
func (r *Registry) Full(ids []proto.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if n := r.nodes[id]; n != nil {
			n.full = true
		}
	}
}

// room is the free space of the emptiest healthy disk: a chunk lies on one disk.
func (n *node) room() (room uint64) {
	if n.full {
		return 0
	}
	for _, d := range n.disks {
		if d.Fault == "" {
			room = max(room, d.FreeBytes)
		}
	}
	return room
}
