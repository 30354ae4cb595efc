package meta

import (
	"slices"
	"sync"
	"time"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// need is a chunk that lacks replicas, or whose replicas are to move.
type need struct {
	chunk proto.ChunkID
	good  int
	bytes uint64 // of the chunk
	hot   bool   // it is being written to: its writers wait for the copy

	leaving   bool           // replicas are where they must not stay
	unsettled bool           // or would be: it was assigned, and not all members have one
	from      proto.NodeID   // 0, or rebalancing wants to move a replica from there
	to        []proto.NodeID // to one of these
}

// moves tells whether the chunk lacks nothing.
func (n need) moves() bool { return n.leaving || n.from != 0 }

// tally counts what a look at all chunks has found.
type tally struct {
	chunks uint64
	moving uint64                  // of these: lack nothing
	bytes  uint64                  // of the chunks
	toMove map[proto.NodeID]uint64 // chunks that a chunkserver still has which is to give up all, or those on sick disks
}

func (t *tally) add(n need) {
	t.chunks++
	t.bytes += n.bytes
	if n.moves() {
		t.moving++
	}
}

// repairs is which chunks wait for repair, which are being worked on, and who is
// busy with them.
type repairs struct {
	streams int // copies that one chunkserver takes part in

	mu      sync.Mutex // protects all below; a leaf
	waiting []need     // the neediest first; as the last look found them
	tally   tally      // of the last look, less what was begun since
	active  map[proto.ChunkID]need
	busy    map[proto.NodeID]int
	meter   meter
	done    uint64 // chunks since the start
	told    uint64 // of done

	finished chan struct{} // has one when some work has ended
}

func newRepairs(streams int) *repairs {
	return &repairs{streams: streams, active: map[proto.ChunkID]need{}, busy: map[proto.NodeID]int{}, finished: make(chan struct{}, 1)}
}

// found replaces the queue by what a look at all chunks has found.
func (r *repairs) found(list []need, t tally) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting, r.tally = list, t
}

// working tells whether a chunk is being worked on.
func (r *repairs) working(id proto.ChunkID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, active := r.active[id]
	return active
}

// occupied tells whether anything waits or is being worked on.
func (r *repairs) occupied() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting)+len(r.active) > 0
}

// toMove is how many chunks a chunkserver has to give up. Of one that is decommissioned it is
// known if the last look began after the order, and after the master's start.
func (r *repairs) toMove(node proto.NodeID) (chunks uint64, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	chunks, known = r.tally.toMove[node]
	return chunks, known
}

// queue is a copy of what waits, and how many more may be worked on.
func (r *repairs) queue() (list []need, room int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.waiting), maxRepairs - len(r.active)
}

// isBusy tells whether a chunkserver takes part in as many copies as it may.
func (r *repairs) isBusy(node proto.NodeID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.busy[node] >= r.streams
}

// byLoad orders chunkservers by the copies that they take part in.
func (r *repairs) byLoad(nodes []proto.NodeID) []proto.NodeID {
	r.mu.Lock()
	defer r.mu.Unlock()
	sorted := slices.Clone(nodes)
	slices.SortStableFunc(sorted, func(a, b proto.NodeID) int { return r.busy[a] - r.busy[b] })
	return sorted
}

// begin takes a chunk out of the queue; it keeps chunkservers busy until end.
func (r *repairs) begin(n need, nodes []proto.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(n)
	r.active[n.chunk] = n
	for _, node := range nodes {
		r.busy[node]++
	}
}

// skip takes a chunk out of the queue that has no work now.
func (r *repairs) skip(n need) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(n)
}

// drop needs mu.
func (r *repairs) drop(n need) {
	r.waiting = slices.DeleteFunc(r.waiting, func(other need) bool { return other.chunk == n.chunk })
	r.tally.chunks -= min(r.tally.chunks, 1)
	r.tally.bytes -= min(r.tally.bytes, n.bytes)
	if n.moves() {
		r.tally.moving -= min(r.tally.moving, 1)
	}
}

// end takes note of work that has ended, with so many copies made.
func (r *repairs) end(n need, nodes []proto.NodeID, copies int, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.active, n.chunk)
	for _, node := range nodes {
		if r.busy[node]--; r.busy[node] == 0 {
			delete(r.busy, node)
		}
	}
	if copies > 0 {
		r.meter.add(now, n.bytes*uint64(copies))
		r.done++
	}
	select {
	case r.finished <- struct{}{}:
	default: // somebody will look already
	}
}

// news is how many chunks were repaired since it was asked last.
func (r *repairs) news() (chunks, waiting uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	chunks = r.done - r.told
	r.told = r.done
	return chunks, r.tally.chunks
}

func (r *repairs) status(now time.Time, limit uint64) *pb.RepairStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := &pb.RepairStatus{
		Waiting: r.tally.chunks, Moving: r.tally.moving, Active: uint64(len(r.active)), BytesLeft: r.tally.bytes, BytesPerSecond: r.meter.rate(now),
		Limit: limit, Streams: uint64(r.streams), Repaired: r.done,
	}
	for _, n := range r.active {
		st.BytesLeft += n.bytes
	}
	if st.BytesPerSecond > 0 && st.BytesLeft > 0 {
		st.SecondsLeft = max(1, st.BytesLeft/st.BytesPerSecond)
	}
	return st
}

// meterSpan is the time over which a rate is taken, in seconds.
const meterSpan = 10

// meter measures a rate over the last seconds. The zero value has measured nothing.
type meter struct {
	seconds [meterSpan]struct {
		second int64
		bytes  uint64
	}
	first int64 // second
}

func (m *meter) add(now time.Time, bytes uint64) {
	second := now.Unix()
	if m.first == 0 || m.rate(now) == 0 {
		m.first = second
	}
	at := &m.seconds[second%meterSpan]
	if at.second != second {
		at.second, at.bytes = second, 0
	}
	at.bytes += bytes
}

// rate is in bytes a second.
func (m *meter) rate(now time.Time) uint64 {
	second := now.Unix()
	var sum uint64
	for _, at := range m.seconds {
		if second-at.second < meterSpan {
			sum += at.bytes
		}
	}
	return sum / uint64(min(meterSpan, max(1, second-m.first+1)))
}

// lengthOf is how many bytes of a chunk its file has.
func lengthOf(st *state.State, c state.Chunk, chunkSize uint64) uint64 {
	attr, kind := st.Attr(c.Inode)
	start := c.Index * chunkSize
	if c.Shared() {
		return chunkSize // which files it stands in is not looked up
	}
	if kind != proto.OK || attr.Size <= start {
		return 0
	}
	return min(chunkSize, attr.Size-start)
}
