package registry

import (
	"cmp"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Buckets is the number of buckets of block reports.
const Buckets = 1024

// maxStrays bounds what is remembered of one chunkserver beside presence. What goes
// beyond is heard of again with every report.
const maxStrays = 1 << 20

// Chunks is the view of the log's truth that reports are judged by. The caller
// holds whatever lock it needs.
type Chunks interface {
	ChunkInto(proto.ChunkID, *state.Chunk) bool // uses the chunk and its chain again
	Fate(proto.ChunkID) state.Fate
	EachChunk(from uint32, fn func(state.Chunk) bool)
}

// Options of a Registry.
type Options struct {
	Now       func() time.Time
	DeadAfter time.Duration // silence after which a chunkserver is dead
	MinRoom   uint64        // free bytes that one disk needs to be given a chunk
	Recent    time.Duration // how long, to twice as long, a chunk counts as recently written
}

// Registry knows the chunkservers of a cluster.
type Registry struct {
	opts Options

	mu       sync.Mutex // protects all below
	nodes    map[proto.NodeID]*node
	ordered  []*node               // by id
	presence []uint8               // by chunk slot
	strayed  map[proto.ChunkID]int // how many nodes have a stray of the chunk
	looked   *state.Chunk          // by live
	held     uint64                // slots of presence that have a bit
	recent   recent
	orderID  uint64
	arrivals uint64 // starts of chunkservers that have registered
	picks    uint64 // placements so far, for round-robin
	turn     int    // of ordered: where the next placement begins to look
	started  time.Time
	latency  latency
}

// node is one chunkserver.
type node struct {
	id       proto.NodeID
	instance string
	address  string
	host     string

	// Since it registered with this master; zero before.
	incarnation uint64
	arrival     uint64 // Registry.arrivals when this incarnation registered
	heartbeat   uint64 // highest sequence of a heartbeat
	report      uint64 // highest sequence of a block report
	version     string
	heard       time.Time // last; the master's start before the first
	alive       bool
	buried      time.Time // when it was known to be dead without waiting; zero: it is not
	stream      *Stream   // nil: none stands

	// Load and space, of the last heartbeat.
	disks   []*pb.DiskStatus
	chunks  uint64
	load    uint32
	full    bool      // it had no room for a write since that heartbeat
	suspect bool      // a client could not reach it since that heartbeat
	leaving bool      // decommissioned
	away    time.Time // end of maintenance

	placed uint32 // chunks given to it since that heartbeat
	picked uint64 // Registry.picks when it was last given one

	// What it holds.
	digests []uint64 // by bucket
	counts  []uint32 // by bucket
	touched []uint64 // by bucket: sequence of the last heartbeat that changed something there
	strays  map[proto.ChunkID]Replica
	wanted  map[uint32]struct{}        // buckets asked for and not yet received
	doubts  map[proto.ChunkID]struct{} // counted as held, and missing in a report: see forgetOthers
	known   bool
}

// New makes a registry of the chunkservers that the log knows.
func New(opts Options, nodes []state.NodeInfo) *Registry {
	r := &Registry{opts: opts, nodes: map[proto.NodeID]*node{}, strayed: map[proto.ChunkID]int{}, looked: &state.Chunk{}, started: opts.Now()}
	r.recent.start(r.started)
	for _, info := range nodes {
		r.add(info.ID, info.Instance.String(), info.Address)
		r.Operate(info)
	}
	return r
}

// add needs mu, or to be the only one who knows r.
func (r *Registry) add(id proto.NodeID, instance, address string) *node {
	n := &node{
		id: id, instance: instance, heard: r.started,
		digests: make([]uint64, Buckets), counts: make([]uint32, Buckets), touched: make([]uint64, Buckets),
		strays: map[proto.ChunkID]Replica{}, wanted: map[uint32]struct{}{}, doubts: map[proto.ChunkID]struct{}{},
	}
	n.setAddress(address)
	r.nodes[id] = n
	at, _ := slices.BinarySearchFunc(r.ordered, id, func(n *node, id proto.NodeID) int { return cmp.Compare(n.id, id) })
	r.ordered = slices.Insert(r.ordered, at, n)
	return n
}

func (n *node) setAddress(address string) {
	n.address, n.host = address, address
	if host, _, err := net.SplitHostPort(address); err == nil {
		n.host = host
	}
}

// Identity is who a chunkserver says it is.
type Identity struct {
	Node        proto.NodeID
	Instance    string // UUID of its data folders
	Incarnation uint64
	Address     string // of its data plane
	Version     string
}

// Register takes a chunkserver in that has its id from the log. A stream of it that
// still stands is closed. OldEpoch: a later start of the same chunkserver is here.
func (r *Registry) Register(who Identity, disks []*pb.DiskStatus, chunks uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[who.Node]
	if n == nil {
		n = r.add(who.Node, who.Instance, who.Address)
	}
	if who.Incarnation < n.incarnation {
		return proto.E(proto.OldEpoch, "register", who.Address, "a later start of this chunkserver is registered already") // L5
	}
	if who.Incarnation > n.incarnation {
		r.arrivals++
		n.incarnation, n.arrival, n.heartbeat, n.report, n.known = who.Incarnation, r.arrivals, 0, 0, false
		clear(n.touched)
		clear(n.wanted)
		clear(n.doubts)
	}
	n.close()
	n.version, n.disks, n.chunks, n.load, n.placed = who.Version, disks, chunks, 0, 0
	n.setAddress(who.Address)
	n.hear(r.opts.Now())
	return nil
}

// Arrivals counts the starts of chunkservers that have registered.
func (r *Registry) Arrivals() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.arrivals
}

func (n *node) hear(now time.Time) { n.heard, n.alive, n.buried = now, true, time.Time{} }

// Bury declares a chunkserver dead without waiting for missing heartbeats, unless it
// has a stream again, or a later incarnation: its process is known to be gone.
func (r *Registry) Bury(id proto.NodeID, incarnation uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[id]
	if n == nil || n.stream != nil || n.incarnation != incarnation || !n.alive {
		return false
	}
	n.alive, n.buried = false, r.opts.Now()
	return true
}

// gone is how long the chunkserver's process is known to be gone; negative: it is not.
func (r *Registry) gone(n *node, now time.Time) time.Duration {
	if n.buried.IsZero() {
		return -1
	}
	return now.Sub(n.buried)
}

// Known tells whether a chunkserver is the one of that incarnation which registered
// with this master.
func (r *Registry) Known(id proto.NodeID, incarnation uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[id]
	return n != nil && n.incarnation != 0 && n.incarnation == incarnation
}

// Tick declares chunkservers dead that have been silent for too long; it returns them.
func (r *Registry) Tick() (died []proto.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.opts.Now()
	r.recent.turn(now, r.opts.Recent)
	for _, n := range r.ordered {
		if n.alive && now.Sub(n.heard) >= r.opts.DeadAfter {
			n.alive = false
			n.close()
			died = append(died, n.id)
		}
	}
	return died
}

// recent remembers the chunks that were committed, or whose chain changed, a while
// ago at most. It is bounded; what does not fit counts as old.
type recent struct {
	young, old map[proto.ChunkID]struct{}
	turned     time.Time
}

const maxRecent = 1 << 18 // in each of both

func (t *recent) start(now time.Time) {
	t.young, t.old, t.turned = map[proto.ChunkID]struct{}{}, nil, now
}

func (t *recent) turn(now time.Time, every time.Duration) {
	if now.Sub(t.turned) >= every {
		t.young, t.old, t.turned = map[proto.ChunkID]struct{}{}, t.young, now
	}
}

func (t *recent) add(id proto.ChunkID) {
	if len(t.young) < maxRecent {
		t.young[id] = struct{}{}
	}
}

func (t *recent) has(id proto.ChunkID) bool {
	_, young := t.young[id]
	_, old := t.old[id]
	return young || old
}

// Touch marks a chunk as recently written: it is in use, and a block report that was
// under way does not know of it.
func (r *Registry) Touch(id proto.ChunkID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recent.add(id)
}

// Recent tells whether the chunk was committed, or its chain changed, a moment ago
// (Options.Recent).
func (r *Registry) Recent(id proto.ChunkID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.recent.has(id)
}
