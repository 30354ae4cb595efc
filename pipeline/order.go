package pipeline

import (
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// order is one chunk with writes in flight, or with a broken chain: the list of its
// writes in the order in which they are applied, here and by all successors. Those
// up to one are applied; their ranges are dirty until they are acknowledged from
// below. The shard's mu protects it.
type order struct {
	first, last *request
	applying    bool          // a goroutine applies, or is about to
	changed     chan struct{} // closed when a write ends; nil if nobody waits for that
	broken      *breakage
}

// breakage says that at some version this replica and those behind it may differ:
// a write was applied in one place and failed in another. Writes of that version are
// refused, and reads of the ranges, until the master has raised the version, which
// makes the replicas equal.
type breakage struct {
	version proto.Version
	err     error
	ranges  []span
}

type span struct{ from, to uint64 } // bytes of the chunk; to is excluded

func (r *request) span() span { return span{r.offset, r.offset + r.length} }

func (a span) overlaps(b span) bool { return a.from < b.to && b.from < a.to }

const shardCount = 16

// shard holds the orders of some chunks. Its mu comes before the locks of a Client
// and its connections, and after none.
type shard struct {
	mu       sync.Mutex
	orders   map[uuid.UUID]*order
	arrivals uint64
	spare    []*order
}

func (s *Server) shardOf(chunk uuid.UUID) *shard {
	return &s.shards[chunk[15]%shardCount]
}

// join appends r to its chunk's order, unless the chunk is broken at r's version.
func (sh *shard) join(r *request) (*order, error) {
	o := sh.orders[r.chunk]
	if o == nil {
		if last := len(sh.spare) - 1; last >= 0 {
			o, sh.spare = sh.spare[last], sh.spare[:last]
		} else {
			o = new(order)
		}
		sh.orders[r.chunk] = o
	}
	if o.broken != nil && o.broken.version == r.version {
		return nil, o.broken.err
	}
	sh.arrivals++
	r.arrival = sh.arrivals
	r.prev = o.last
	if o.last == nil {
		o.first = r
	} else {
		o.last.next = r
	}
	o.last = r
	return o, nil
}

// leave takes r out of its chunk's order.
func (sh *shard) leave(r *request) {
	o := sh.orders[r.chunk]
	if r.prev == nil {
		o.first = r.next
	} else {
		r.prev.next = r.next
	}
	if r.next == nil {
		o.last = r.prev
	} else {
		r.next.prev = r.prev
	}
	o.wakeReaders()
	sh.dropUnused(r.chunk, o)
}

func (o *order) wakeReaders() {
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

func (sh *shard) dropUnused(chunk uuid.UUID, o *order) {
	if o.first != nil || o.applying || o.broken != nil {
		return
	}
	delete(sh.orders, chunk)
	if len(sh.spare) < 64 {
		*o = order{}
		sh.spare = append(sh.spare, o)
	}
}

// settle is called for r when all its parts have ended: it learns from a failure. first
// tells that the chunk was not broken at that version before.
func (o *order) settle(r *request) (first bool) {
	if r.localErr == nil && o.broken != nil && o.broken.version < r.version {
		o.broken = nil
	}
	kind := proto.KindOf(r.localErr)
	fenced := kind == proto.WrongVersion || kind == proto.NoReplica // nothing is at this version here
	if r.hops == 0 || fenced || r.localErr == nil && r.remoteErr == nil {
		return false
	}
	if o.broken == nil || o.broken.version < r.version {
		o.broken = &breakage{version: r.version, err: r.brokenErr()}
		first = true
	}
	if o.broken.version == r.version && r.length > 0 {
		o.broken.ranges = append(o.broken.ranges, r.span())
	}
	return first
}

// brokenErr is what later requests are refused with.
func (r *request) brokenErr() error {
	node := r.node
	if ce, ok := r.remoteErr.(*ChainError); ok && r.localErr == nil {
		node = ce.FailedNode
	}
	e := proto.E(proto.ChainBroken, "", "", fmt.Sprintf("a write of version %d has failed at node %d: a later version is needed", r.version, node))
	return &ChainError{Err: e, FailedNode: node}
}

// result is the error of r, nil if all parts went well. This node's own comes first.
func (r *request) result() error {
	if r.localErr != nil {
		return r.localErr
	}
	return r.remoteErr
}

// conflict says what stands between the read r and an answer: a write in its range,
// arrived up to limit, that is not acknowledged, until changed is closed; or a broken
// chain. With neither, the range is clean.
func (sh *shard) conflict(r *request, limit uint64) (changed <-chan struct{}, err error) {
	o := sh.orders[r.chunk]
	if o == nil {
		return nil, nil
	}
	if b := o.broken; b != nil && b.version == r.version {
		for _, s := range b.ranges {
			if s.overlaps(r.span()) {
				return nil, b.err
			}
		}
	}
	for w := o.first; w != nil && w.arrival <= limit; w = w.next {
		if w.version == r.version && w.span().overlaps(r.span()) {
			if o.changed == nil {
				o.changed = make(chan struct{})
			}
			return o.changed, nil
		}
	}
	return nil, nil
}

// Forget drops what the server remembers of failed writes of a chunk: to be called
// when its replica was removed or replaced.
func (s *Server) Forget(chunk uuid.UUID) {
	sh := s.shardOf(chunk)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if o := sh.orders[chunk]; o != nil {
		o.broken = nil
		sh.dropUnused(chunk, o)
	}
}
