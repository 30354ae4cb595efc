package registry

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"github.com/distrifs/distrifs/proto"
)

// manyCandidates are enough to choose from.
const manyCandidates = 64

// Place chooses want chunkservers for a new chunk, head first, and fewer if there are
// not enough, but at least least of them. Those in exclude are not chosen.
//
// Chosen are connected chunkservers with room: on distinct hosts before several on
// one host, the less loaded before the more loaded, the emptier before the fuller,
// and among equals the one that was not chosen for longest. Suspects are left out where least
// others are there. Of many chunkservers some are looked at, every time others: a
// placement costs the same however many there are.
//
// NoSpace: enough are alive, and too few have room. TooFewReplicas: too few are alive.
func (r *Registry) Place(want, least int, exclude ...proto.NodeID) ([]proto.NodeID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.opts.Now()
	candidates := make([]candidate, 0, min(manyCandidates, len(r.ordered)))
	connected, trusted := 0, 0
	for i := 0; i < len(r.ordered) && trusted < manyCandidates; i++ {
		n := r.ordered[(r.turn+i)%len(r.ordered)]
		if !n.serves(now) || slices.Contains(exclude, n.id) {
			continue
		}
		connected++
		if n.room() < r.opts.MinRoom {
			continue
		}
		candidates = append(candidates, n.candidate())
		if !n.suspect {
			trusted++
		}
		if trusted == manyCandidates {
			r.turn = (r.turn + i + 1) % len(r.ordered)
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
	if trusted >= least {
		candidates = slices.DeleteFunc(candidates, func(c candidate) bool { return c.suspect })
	}
	slices.SortFunc(candidates, better)
	return r.pick(candidates, want, map[string]bool{}), nil
}

// PlaceBeside chooses up to want chunkservers for further replicas of a chunk, as
// Place does, on other hosts than those of the chain if there are any. One that still has an
// older replica, of a chain that it was in, comes before others: little is copied to
// it. Those that are busy, and suspects, are not chosen.
func (r *Registry) PlaceBeside(want int, id proto.ChunkID, chain []proto.NodeID, busy func(proto.NodeID) bool) []proto.NodeID {
	r.mu.Lock()
	defer r.mu.Unlock()
	hosts := map[string]bool{}
	var candidates []candidate
	for _, n := range r.ordered {
		switch {
		case slices.Contains(chain, n.id):
			hosts[n.host] = n.alive || hosts[n.host]
		case r.takes(n) && !n.suspect && !busy(n.id):
			c := n.candidate()
			held := n.strays[id]
			c.has = held.Version != 0 && !held.Corrupt && !held.Accused && !held.Slow && !held.Failing
			candidates = append(candidates, c)
		}
	}
	slices.SortFunc(candidates, better)
	return r.pick(candidates, want, hosts)
}

// pick takes the first of each host that is not in hosts, then the first of the rest.
func (r *Registry) pick(candidates []candidate, want int, hosts map[string]bool) []proto.NodeID {
	chosen := make([]proto.NodeID, 0, want)
	for _, distinct := range []bool{true, false} {
		for _, c := range candidates {
			n := c.node
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

// candidate is a chunkserver with what it is chosen by. Both measures are coarse, so that
// servers that are much alike take turns.
type candidate struct {
	*node
	has  bool // an older replica of the chunk
	load int
	free uint64
}

func (n *node) candidate() candidate { return candidate{n, false, n.loadClass(), n.freeClass()} }

func better(a, b candidate) int {
	if a.has != b.has {
		if a.has {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(a.load, b.load), cmp.Compare(b.free, a.free), cmp.Compare(a.picked, b.picked))
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
