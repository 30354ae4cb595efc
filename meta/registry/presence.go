package registry

import (
	"math/bits"
	"slices"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
)

// Replica is what a chunkserver is known to hold of a chunk. Version 0: nothing.
type Replica struct {
	Version  proto.Version
	Unclean  bool // was being written at an unclean stop
	Corrupt  bool // its chunkserver found a block that does not match
	Complete bool // unclean, and nothing that it acknowledged can be missing
	Broken   bool // a write of its version failed behind it: the chain may differ in bytes never acknowledged
	Accused  bool // a reader got bytes that do not match; the chunkserver has not confirmed it
	Slow     bool // its disk is far slower than others: it is to move elsewhere
	Failing  bool // its disk has failed: it can be read at best
}

// Sound is neither unclean nor corrupt nor accused.
func (h Replica) Sound() bool { return !h.Unclean && !h.Corrupt && !h.Accused }

// Whole tells whether the replica has every byte that it acknowledged: it may differ
// from others in bytes that nobody has acknowledged, no more.
func (h Replica) Whole() bool { return !h.Corrupt && !h.Accused && (!h.Unclean || h.Complete) }

func (h Replica) digest(id proto.ChunkID) uint64 {
	return proto.ReplicaDigest(id, h.Version, proto.FlagsOf(h.Unclean, h.Corrupt, h.Complete, h.Broken).OnDisk(h.Slow, h.Failing))
}

// holds gives what n holds of a chunk; c is the chunk, or nil when it is not live.
func (r *Registry) holds(n *node, id proto.ChunkID, c *state.Chunk) Replica {
	if c != nil {
		if at := slices.Index(c.Chain, n.id); at >= 0 && r.bits(id)>>at&1 != 0 {
			return Replica{Version: c.Version}
		}
	}
	return n.strays[id]
}

// set makes n hold a replica of a chunk, or none (Version 0), and keeps the digests.
func (r *Registry) set(n *node, id proto.ChunkID, c *state.Chunk, now Replica) {
	delete(n.doubts, id)
	before := r.holds(n, id, c)
	if before == now {
		return
	}
	r.put(n, id, c, Replica{})
	bucket := proto.BucketOf(id, Buckets)
	if before.Version != 0 {
		n.digests[bucket] -= before.digest(id)
		n.counts[bucket]--
	}
	if now.Version != 0 && r.put(n, id, c, now) {
		n.digests[bucket] += now.digest(id)
		n.counts[bucket]++
	}
}

// put stores without counting: as a bit where that says it all, else as a stray.
// It answers false when there is no room for another stray.
func (r *Registry) put(n *node, id proto.ChunkID, c *state.Chunk, now Replica) bool {
	at := -1
	if c != nil {
		at = slices.Index(c.Chain, n.id)
	}
	if at >= 0 {
		mask := r.bits(id) &^ (1 << at)
		if now == (Replica{Version: c.Version}) {
			mask |= 1 << at
			now = Replica{}
		}
		r.setBits(id, mask)
	}
	return r.stray(n, id, now)
}

// stray remembers what a node has beside presence; Version 0: nothing.
func (r *Registry) stray(n *node, id proto.ChunkID, now Replica) bool {
	if len(n.strays) == 0 && now.Version == 0 {
		return true
	}
	_, there := n.strays[id]
	switch {
	case now.Version == 0:
		if there {
			delete(n.strays, id)
			if r.strayed[id]--; r.strayed[id] == 0 {
				delete(r.strayed, id)
			}
		}
		return true
	case !there && len(n.strays) >= maxStrays:
		return false
	case !there:
		r.strayed[id]++
	}
	n.strays[id] = now
	return true
}

func (r *Registry) bits(id proto.ChunkID) uint8 {
	if slot := id.Slot(); int(slot) < len(r.presence) {
		return r.presence[slot]
	}
	return 0
}

func (r *Registry) setBits(id proto.ChunkID, mask uint8) {
	before := r.bits(id)
	if before == mask {
		return
	}
	slot := int(id.Slot())
	if slot >= len(r.presence) {
		r.presence = append(r.presence, make([]uint8, slot+1-len(r.presence))...)
	}
	r.presence[slot] = mask
	switch {
	case before == 0:
		r.held++
	case mask == 0:
		r.held--
	}
}

// Held is the number of chunks of which some chunkserver, alive or not, confirmed a
// sound replica at the current version.
func (r *Registry) Held() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}

// Changed follows a change of a chunk's chain or version: what was confirmed at the
// version before becomes stray, and what was stray may now be what is wanted.
func (r *Registry) Changed(before, after state.Chunk) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := after.ID
	for at, member := range before.Chain {
		if n := r.nodes[member]; n != nil && r.bits(id)>>at&1 != 0 {
			r.stray(n, id, Replica{Version: before.Version})
		}
	}
	r.setBits(id, 0)
	for _, member := range after.Chain {
		if n := r.nodes[member]; n != nil {
			r.put(n, id, &after, n.strays[id])
		}
	}
	r.recent.add(id)
}

// Freed follows the end of a chunk. It returns who may hold a replica of it that can be
// removed: from a disk that has failed nothing can.
func (r *Registry) Freed(c state.Chunk) (holders []proto.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	holders = slices.Clone(c.Chain)
	if r.strayed[c.ID] > 0 {
		for _, n := range r.ordered {
			if _, stray := n.strays[c.ID]; stray && !slices.Contains(holders, n.id) {
				holders = append(holders, n.id)
			}
		}
	}
	for _, member := range c.Chain {
		if n := r.nodes[member]; n != nil {
			if held := r.holds(n, c.ID, &c); held.Version != 0 {
				r.set(n, c.ID, &c, Replica{})
				if r.put(n, c.ID, nil, held) { // until it is deleted
					bucket := proto.BucketOf(c.ID, Buckets)
					n.digests[bucket] += held.digest(c.ID)
					n.counts[bucket]++
				}
			}
		}
	}
	r.setBits(c.ID, 0)
	return slices.DeleteFunc(holders, func(id proto.NodeID) bool {
		n := r.nodes[id]
		return n != nil && n.strays[c.ID].Failing
	})
}

// Committed follows a first commit: the client has the word of every member of the
// chain. c is the chunk as it is now; it was assigned when since chunkservers had arrived. The
// word of one that has arrived later may be that of an earlier start, and its machine
// have lost its power since: whether it has a replica it says itself.
func (r *Registry) Committed(c state.Chunk, since uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recent.add(c.ID)
	for _, member := range c.Chain {
		if n := r.nodes[member]; n != nil && n.arrival <= since && n.strays[c.ID].Version == 0 {
			r.set(n, c.ID, &c, Replica{Version: c.Version})
		}
	}
}

// Accuse notes that a reader got wrong bytes from a replica, and tells whether the
// replica counted as sound until now.
func (r *Registry) Accuse(c state.Chunk, id proto.NodeID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[id]
	if n == nil {
		return false
	}
	held := r.holds(n, c.ID, &c)
	if held.Version != c.Version || !held.Sound() {
		return false
	}
	held.Accused = true
	r.set(n, c.ID, &c, held)
	return true
}

// Removed notes that a chunkserver holds nothing of a chunk any more.
func (r *Registry) Removed(id proto.NodeID, chunk proto.ChunkID, view Chunks) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.nodes[id]; n != nil {
		r.set(n, chunk, r.live(view, chunk), Replica{})
	}
}

// live looks a chunk up; nil: it is not live. It is good until the next call, and needs mu.
func (r *Registry) live(view Chunks, id proto.ChunkID) *state.Chunk {
	if view.ChunkInto(id, r.looked) {
		return r.looked
	}
	return nil
}

// Good is the number of good replicas of a chunk. One on a disk that has failed counts only
// if there is no other.
func (r *Registry) Good(c state.Chunk) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	mask, failing := r.bits(c.ID), 0
	for at, member := range c.Chain {
		n := r.nodes[member]
		switch {
		case n == nil || !n.alive:
			mask &^= 1 << at
		case mask>>at&1 == 0 && n.strays[c.ID] == Replica{Version: c.Version, Slow: true}:
			mask |= 1 << at
		case mask>>at&1 == 0 && n.strays[c.ID].readOnly(c.Version):
			failing++
		}
	}
	if mask == 0 {
		return failing
	}
	return bits.OnesCount8(mask)
}

// readOnly tells whether all that is wrong with a replica of the version is its disk,
// which has failed.
func (h Replica) readOnly(v proto.Version) bool {
	return h.Version == v && h.Failing && h.Sound() && !h.Broken
}

// Stray is a replica that is not what the log says.
type Stray struct {
	Node    proto.NodeID
	Alive   bool
	Chunk   proto.ChunkID
	Replica Replica
}

// Strays lists up to limit strays for which want answers true, in no order. want
// is called with the registry's lock held.
func (r *Registry) Strays(limit int, want func(Stray) bool) (list []Stray) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.ordered {
		for id, held := range n.strays {
			s := Stray{Node: n.id, Alive: n.alive, Chunk: id, Replica: held}
			if !want(s) {
				continue
			}
			if list = append(list, s); len(list) == limit {
				return list
			}
		}
	}
	return list
}
