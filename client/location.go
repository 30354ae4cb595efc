package client

import (
	"container/list"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

const (
	maxLocations   = 1 << 16 // cached, of all files together
	maxKnownFiles  = 1 << 15 // of which something is remembered
	lookupCount    = 64      // chunks asked for at once
	openLocations  = 16      // chunks that come with the answer to an open
	maxAssignAhead = 16      // chunks assigned at once to a sequential writer
)

// location is where a chunk is: what is needed to read or write it.
type location struct {
	chunk     proto.ChunkID // 0: a hole
	version   proto.Version
	committed bool // part of the file; else readers find zeros in its place
	shared    bool // with other places, so that nobody may write to it
	chain     []pipeline.Hop
	until     time.Time // what is not committed is believed so long: another client may commit it
}

func locationOf(l *pb.ChunkLocation) location {
	loc := location{chunk: proto.ChunkID(l.Chunk), version: proto.Version(l.Version), committed: l.Committed, shared: l.Shared}
	for _, replica := range l.Chain {
		loc.chain = append(loc.chain, pipeline.Hop{Node: proto.NodeID(replica.Node), Address: replica.Address})
	}
	return loc
}

// silent tells whether the master did not know where a replica is: nothing can be
// written to the chain then. It suspects nobody, for the master may know by now.
func (l location) silent() bool {
	return slices.ContainsFunc(l.chain, func(hop pipeline.Hop) bool { return hop.Address == "" })
}

// serves tells whether what could not be written to old can be written here: at a
// higher version or in another chunk. Where nothing was sent because a replica was
// silent, the same version serves when none is.
func (l location) serves(old location) bool {
	return l.chunk != old.chunk || l.version > old.version || old.silent() && !l.silent()
}

func (l location) errSilent(op string) error {
	return proto.E(proto.ChainBroken, op, "chunk "+l.chunk.String(), "the master does not know where a replica is")
}

// locations caches where chunks are, and which state of a file this client saw
// last. It is bounded: the least recently used file is forgotten first.
type locations struct {
	mu    sync.Mutex
	files map[proto.InodeID]*list.Element // of *knownFile
	used  list.List                       // most recently used first
	total int                             // locations in all files
	asks  uint64                          // how often the master was asked
	floor uint64                          // the highest since of a file that was forgotten
}

type knownFile struct {
	ino     proto.InodeID
	change  uint64 // Attr.Change as last seen; 0: not known
	byIndex map[uint64]location
	since   uint64 // what was asked for up to then may tell of chunks that are shared now as if they were not
}

func newLocations() *locations {
	return &locations{files: map[proto.InodeID]*list.Element{}}
}

// file finds or makes the record of a file; l.mu is held.
func (l *locations) file(ino proto.InodeID) *knownFile {
	if e, ok := l.files[ino]; ok {
		l.used.MoveToFront(e)
		return e.Value.(*knownFile)
	}
	if len(l.files) >= maxKnownFiles {
		l.forget(l.used.Back())
	}
	f := &knownFile{ino: ino, since: l.floor}
	l.files[ino] = l.used.PushFront(f)
	return f
}

func (l *locations) forget(e *list.Element) {
	f := e.Value.(*knownFile)
	l.total -= len(f.byIndex)
	l.floor = max(l.floor, f.since)
	delete(l.files, f.ino)
	l.used.Remove(e)
}

func (l *locations) get(ino proto.InodeID, index uint64) (location, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.files[ino]
	if !ok {
		return location{}, false
	}
	loc, ok := e.Value.(*knownFile).byIndex[index]
	if ok && !loc.committed && time.Now().After(loc.until) {
		return location{}, false
	}
	return loc, ok
}

// assigned is get for a writer: only chunks that exist and are not shared, committed or
// not.
func (l *locations) assigned(ino proto.InodeID, index uint64) (location, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.files[ino]; ok {
		loc := e.Value.(*knownFile).byIndex[index]
		return loc, loc.chunk != 0 && !loc.shared
	}
	return location{}, false
}

// asking is called before the master is asked where chunks of a file are: the answer
// counts as of then.
func (l *locations) asking() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asks++
	return l.asks
}

// putAsked is put for an answer, unless the file may have got other chunks since it was
// asked for, or its chunks may have become shared.
func (l *locations) putAsked(asked uint64, ino proto.InodeID, index uint64, loc location) {
	l.mu.Lock()
	void := asked <= l.file(ino).since
	l.mu.Unlock()
	if !void {
		l.put(ino, index, loc)
	}
}

// put remembers a location. Of one chunk the higher version stays (L3).
func (l *locations) put(ino proto.InodeID, index uint64, loc location) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !loc.committed {
		loc.until = time.Now().Add(cacheTTL)
	}
	f := l.file(ino)
	old, had := f.byIndex[index]
	if had && loc.chunk != 0 && old.chunk == loc.chunk {
		if old.version > loc.version {
			return
		}
		loc.committed = loc.committed || old.committed
		loc.shared = loc.shared || old.shared
	}
	if f.byIndex == nil {
		f.byIndex = map[uint64]location{}
	}
	f.byIndex[index] = loc
	if !had {
		l.total++
		l.shrink(f)
	}
}

// shrink keeps the bound by forgetting other files first, then any chunk of this one.
func (l *locations) shrink(keep *knownFile) {
	for l.total > maxLocations {
		if oldest := l.used.Back(); oldest.Value.(*knownFile) != keep {
			l.forget(oldest)
			continue
		}
		for index := range keep.byIndex {
			delete(keep.byIndex, index)
			l.total--
			break
		}
	}
}

// drop forgets a location that turned out to be wrong, unless a newer one is there.
func (l *locations) drop(ino proto.InodeID, index uint64, wrong location) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.files[ino]; ok {
		f := e.Value.(*knownFile)
		if loc, ok := f.byIndex[index]; ok && loc.chunk == wrong.chunk && loc.version == wrong.version {
			delete(f.byIndex, index)
			l.total--
		}
	}
}

// dropFrom forgets the locations of chunks from first on, and what answers that are under
// way say of any: the file was truncated, or others may have changed it.
func (l *locations) dropFrom(ino proto.InodeID, first uint64) {
	l.outdate(ino, first, math.MaxUint64)
}

// dropRange forgets the locations of chunks at first <= index < end.
func (l *locations) dropRange(ino proto.InodeID, first, end uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.files[ino]; ok {
		f := e.Value.(*knownFile)
		for index := range f.byIndex {
			if first <= index && index < end {
				delete(f.byIndex, index)
				l.total--
			}
		}
	}
}

// outdate forgets locations as dropRange does, and what answers that are under way say.
func (l *locations) outdate(ino proto.InodeID, first, end uint64) {
	l.dropRange(ino, first, end)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file(ino).since = l.asks
}

// saw notes the state of a file and tells whether it is the one seen last. If
// it is not, another client changed the file, and its locations are forgotten; so is
// what was asked for before the state was.
func (l *locations) saw(ino proto.InodeID, change, asked uint64) (same bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.file(ino)
	if f.change == change && change != 0 {
		return true
	}
	if change < f.change {
		return false // an answer that was overtaken
	}
	f.change = change
	f.since = max(f.since, asked-1)
	l.total -= len(f.byIndex)
	f.byIndex = nil
	return false
}

// ownChange notes a change that this client made. If the master counted more
// than that one, another client's is among them and the next open will differ.
func (l *locations) ownChange(ino proto.InodeID, change uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.files[ino]; ok {
		f := e.Value.(*knownFile)
		if f.change != 0 && change == f.change+1 {
			f.change = change
		}
	}
}

// begin notes the first state of a file that this client made.
func (l *locations) begin(ino proto.InodeID, change uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file(ino).change = change
}

// locate tells where a chunk is, from the cache or the master.
func (c *Client) locate(ctx context.Context, ino proto.InodeID, index uint64) (location, error) {
	if loc, ok := c.locations.get(ino, index); ok {
		return loc, nil
	}
	return c.locateAfresh(ctx, ino, index)
}

func (c *Client) locateAfresh(ctx context.Context, ino proto.InodeID, index uint64) (location, error) {
	asked := c.locations.asking()
	reply, err := ask(ctx, c, c.cred, "locate chunk of", inodeName(ino), func(ctx context.Context, who *pb.Caller) (*pb.ChunkLocations, error) {
		return c.master.GetChunkLocation(ctx, &pb.GetChunkLocationRequest{Caller: who, Inode: uint64(ino), First: index, Count: lookupCount})
	})
	if err != nil {
		return location{}, err
	}
	found := c.rememberRange(asked, ino, index, lookupCount, reply.Chunks)
	return found, nil
}

// rememberRange caches an answer about count chunks from first on, holes
// included, and returns the location of the first.
func (c *Client) rememberRange(asked uint64, ino proto.InodeID, first, count uint64, chunks []*pb.ChunkLocation) location {
	var at location
	next := first
	for _, chunk := range chunks {
		if chunk.Index < next || chunk.Index >= first+count {
			continue
		}
		for ; next < chunk.Index; next++ {
			c.locations.putAsked(asked, ino, next, location{})
		}
		loc := locationOf(chunk)
		c.locations.putAsked(asked, ino, chunk.Index, loc)
		if chunk.Index == first {
			at = loc
		}
		next = chunk.Index + 1
	}
	for ; next < first+count; next++ {
		c.locations.putAsked(asked, ino, next, location{})
	}
	return at
}

// assign asks for the chunk at index to write to, and for some behind it.
func (c *Client) assign(ctx context.Context, ino proto.InodeID, index uint64, ahead uint32) (location, error) {
	count := 1 + min(ahead, maxAssignAhead-1)
	asked := c.locations.asking()
	reply, err := c.sendAssign(ctx, ino, index, count)
	if err != nil && count > 1 && proto.KindOf(err) == proto.NoSpace {
		reply, err = c.sendAssign(ctx, ino, index, 1)
	}
	if err != nil {
		return location{}, err
	}
	var at location
	for _, chunk := range reply.Chunks {
		loc := locationOf(chunk)
		c.locations.putAsked(asked, ino, chunk.Index, loc)
		if chunk.Index == index {
			at = loc
		}
	}
	if at.shared {
		return location{}, proto.E(proto.Unavailable, "assign chunk of", inodeName(ino), "it was shared again meanwhile")
	}
	if at.chunk == 0 || len(at.chain) == 0 {
		return location{}, proto.E(proto.Malformed, "assign chunk of", inodeName(ino), "the master answered without the chunk")
	}
	return at, nil
}

func (c *Client) sendAssign(ctx context.Context, ino proto.InodeID, index uint64, count uint32) (*pb.ChunkLocations, error) {
	return ask(ctx, c, c.cred, "assign chunk of", inodeName(ino), func(ctx context.Context, who *pb.Caller) (*pb.ChunkLocations, error) {
		return c.master.AssignChunk(ctx, &pb.AssignChunkRequest{Caller: who, Inode: uint64(ino), First: index, Count: count})
	})
}
