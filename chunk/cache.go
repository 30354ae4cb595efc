package chunk

import (
	"sync"
	"sync/atomic"
)

// cache bounds the replicas that are open: their descriptors and tables. It is a
// clock: a replica that was used since the hand last passed stays. Using an open
// replica takes no lock of the cache.
//
// A replica may be closed with unsynced bytes. It is opened again to be synced, and
// the kernel tells a write-back error that nobody has seen to whoever opens the file
// next (errseq_sample), so the sync still fails (L9).
type cache struct {
	maxOpen  int          // replicas
	maxBytes int64        // of tables
	bytes    atomic.Int64 // of tables

	mu   sync.Mutex // protects all below
	ring []*replica // the open ones, and some that were closed since
	hand int        // index of the next one to look at
}

func (c *cache) over() bool { return len(c.ring) > c.maxOpen || c.bytes.Load() > c.maxBytes }

// add takes note of a replica that was opened, and closes others if there are too
// many. Needs r.mu for writing.
func (c *cache) add(r *replica) {
	c.charge(r)
	r.used.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring = append(c.ring, r)
	// It gives up after two rounds: what is in use stays open.
	for look := 2 * len(c.ring); look > 0 && c.over(); look-- {
		c.look(r)
	}
}

// look closes the replica under the hand, or moves on. Needs mu.
func (c *cache) look(keep *replica) {
	if c.hand >= len(c.ring) {
		c.hand = 0
	}
	r := c.ring[c.hand]
	if r == keep || r.used.Swap(false) || !r.mu.TryLock() {
		c.hand++
		return
	}
	defer r.mu.Unlock()
	if r.pins.Load() > 0 || r.stale && r.lost.Load() == nil {
		c.hand++
		return
	}
	r.close()
	last := len(c.ring) - 1
	c.ring[c.hand], c.ring[last] = c.ring[last], nil
	c.ring = c.ring[:last]
}

// charge counts the memory that a replica's table has now. Needs r.mu for writing.
func (c *cache) charge(r *replica) {
	now := int64(cap(r.table)) * entrySize
	c.bytes.Add(now - r.charged)
	r.charged = now
}
