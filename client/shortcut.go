package client

import (
	"container/list"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/pipeline/loan"
	"github.com/distrifs/distrifs/proto"
)

// Short-circuit reads. A chunk that has a replica on this host and is read more than once
// is borrowed from the chunkserver (package loan), and its file is read without it.
//
// Why what is read is right (G3): the file is borrowed, and thereby the version confirmed,
// after the lease of the inode was granted; and it is used while that same lease is held
// (its tenure), at that version. Under the lease nobody but this client writes to the file.
// What this client wrote is in its runs until the whole chain has it, which reads see first;
// from then on the file has it too, or else the chain was replaced, and this client knows the
// chunk at another version. Without leases nothing is borrowed.
//
// A write that failed may have left bytes in some replicas that are never acknowledged: then
// what was borrowed is given back, and the chunkserver lends only what is whole.
//
// Any doubt is settled by reading as usual, first from the replica that was doubted: if it
// is damaged, its chunkserver notices and all hear of it (L13).

const (
	maxShortcuts   = 512              // chunks, of which something is known
	shortcutReads  = 2                // a chunk that was read so often is borrowed
	awayTime       = 30 * time.Second // an address with nobody on this host is not tried again for so long
	refusedTime    = time.Second      // likewise a chunk
	shortcutUnused = 10 * time.Second // what was not used for so long, or twice that, is given back
	maxAway        = 1 << 12
)

// shortcut is what is known of reading one chunk of a file. Guarded by shortcuts.mu.
type shortcut struct {
	ino   proto.InodeID
	index uint64 // of the chunk in the file
	elem  *list.Element

	chunk   proto.ChunkID
	version proto.Version
	tenure  uint64        // of the lease under which it was borrowed
	replica *loan.Replica // nil: not borrowed
	node    proto.NodeID  // whose
	reads   int           // as usual
	until   time.Time     // not to be asked for before
	asking  bool
	idle    bool // not used since the last sweep
}

// shortcuts is the table of borrowed chunks. Its mu is a leaf.
type shortcuts struct {
	borrow func(address string, chunk uuid.UUID, version proto.Version) (*loan.Replica, error) // nil: never

	mu       sync.Mutex
	files    map[proto.InodeID]map[uint64]*shortcut // by index
	used     list.List                              // of *shortcut, most recently used first
	away     map[string]time.Time                   // addresses of chunkservers that are not on this host, until when
	sweeping *time.Timer                            // nil: nothing to sweep
	served   uint64                                 // reads
	closed   bool
}

func newShortcuts(opts *Options) *shortcuts {
	s := &shortcuts{borrow: opts.Borrow, files: map[proto.InodeID]map[uint64]*shortcut{}, away: map[string]time.Time{}}
	if s.borrow == nil && opts.Dial == nil { // who has a network of its own has nobody on this host
		s.borrow = loan.Borrow
	}
	if opts.NoShortCircuit {
		s.borrow = nil
	}
	return s
}

// borrowed tells whether a chunk of a file is likely to be read without its chunkserver.
func (s *shortcuts) borrowed(ino proto.InodeID, index uint64) bool {
	if s.borrow == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sc := s.files[ino][index]
	return sc != nil && sc.replica != nil
}

// usable finds a borrowed chunk that may be used for a read at that location under the
// lease of that tenure.
func (s *shortcuts) usable(ino proto.InodeID, index uint64, loc location, tenure uint64) *loan.Replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc := s.files[ino][index]
	if sc == nil || sc.replica == nil {
		return nil
	}
	if sc.chunk != loc.chunk || sc.version != loc.version || sc.tenure != tenure {
		s.giveBack(sc)
		return nil
	}
	sc.idle = false
	s.used.MoveToFront(sc.elem)
	s.served++
	return sc.replica
}

// readNearby fills p from the chunk's file, if it is borrowed and beyond doubt. suspect is
// the node whose replica was doubted.
func (c *Client) readNearby(ino proto.InodeID, index uint64, loc location, p []byte, at int64) (ok bool, suspect proto.NodeID) {
	if c.shortcuts.borrow == nil {
		return false, 0
	}
	tenure, held := c.leases.tenure(ino)
	if !held {
		return false, 0
	}
	replica := c.shortcuts.usable(ino, index, loc, tenure)
	if replica == nil {
		return false, 0
	}
	err := replica.Read(p, at)
	if err == nil {
		return true, 0
	}
	c.opts.Logger.Debug("a borrowed chunk is in doubt", "chunk", loc.chunk.String(), "error", err)
	return false, c.shortcuts.doubt(ino, index, replica, err)
}

// doubt is called when a read of a borrowed chunk has failed. Bytes that do not fit may just
// be being written; whatever else it is, the file is given back.
func (s *shortcuts) doubt(ino proto.InodeID, index uint64, replica *loan.Replica, err error) (suspect proto.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc := s.files[ino][index]
	if sc == nil || sc.replica != replica {
		return 0
	}
	if proto.KindOf(err) != proto.DataCorrupt {
		s.giveBack(sc)
		sc.until = time.Now().Add(refusedTime)
	}
	return sc.node
}

// wasRead notes that a chunk was read as usual, and has it borrowed if that pays.
func (c *Client) wasRead(ino proto.InodeID, index uint64, loc location) {
	s := c.shortcuts
	if s.borrow == nil {
		return
	}
	tenure, held := c.leases.tenure(ino)
	if !held {
		return
	}
	if sc, hops := s.due(ino, index, loc, tenure); sc != nil {
		c.workers.Go(func() { s.obtain(sc, c.cluster.ChunkUUID(loc.chunk), loc.version, hops) })
	}
}

// due counts a read as usual. If the chunk is to be borrowed now, it gives the hops to ask.
func (s *shortcuts) due(ino proto.InodeID, index uint64, loc location, tenure uint64) (*shortcut, []pipeline.Hop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil
	}
	sc := s.files[ino][index]
	if sc == nil {
		sc = s.add(ino, index)
	}
	sc.idle = false
	if sc.asking || sc.replica != nil && sc.version == loc.version && sc.tenure == tenure {
		return nil, nil
	}
	if sc.chunk != loc.chunk {
		sc.reads = 0
	}
	sc.reads++
	now := time.Now()
	if sc.chunk = loc.chunk; sc.reads < shortcutReads || now.Before(sc.until) {
		return nil, nil
	}
	var hops []pipeline.Hop
	for _, hop := range loc.chain {
		if hop.Address != "" && !now.Before(s.away[hop.Address]) {
			hops = append(hops, hop)
		}
	}
	if len(hops) == 0 {
		return nil, nil
	}
	s.giveBack(sc)
	sc.asking, sc.version, sc.tenure = true, loc.version, tenure
	return sc, hops
}

// obtain borrows a chunk from the first of the hops that is on this host and lends it.
func (s *shortcuts) obtain(sc *shortcut, chunk uuid.UUID, version proto.Version, hops []pipeline.Hop) {
	for _, hop := range hops {
		replica, err := s.borrow(hop.Address, chunk, version)
		if err == nil {
			s.obtained(sc, replica, hop.Node)
			return
		}
		if proto.KindOf(err) == proto.Unavailable {
			s.isAway(hop.Address)
		}
	}
	s.obtained(sc, nil, 0)
}

func (s *shortcuts) isAway(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.away) >= maxAway {
		clear(s.away)
	}
	s.away[address] = time.Now().Add(awayTime)
}

func (s *shortcuts) obtained(sc *shortcut, replica *loan.Replica, node proto.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc.asking = false
	switch {
	case replica == nil:
		sc.until = time.Now().Add(refusedTime)
	case s.closed || s.files[sc.ino][sc.index] != sc:
		closeBorrowed(replica)
	default:
		sc.replica, sc.node = replica, node
	}
}

// giveBack closes the file of a chunk, if it has one; s.mu is held.
func (s *shortcuts) giveBack(sc *shortcut) {
	if sc.replica != nil {
		closeBorrowed(sc.replica)
		sc.replica = nil
	}
}

// closeBorrowed closes a file that was only read: nothing is lost whatever it says.
func closeBorrowed(replica *loan.Replica) { _ = replica.Close() }

// add makes the record of a chunk; s.mu is held.
func (s *shortcuts) add(ino proto.InodeID, index uint64) *shortcut {
	sc := &shortcut{ino: ino, index: index}
	sc.elem = s.used.PushFront(sc)
	if s.files[ino] == nil {
		s.files[ino] = map[uint64]*shortcut{}
	}
	s.files[ino][index] = sc
	if s.used.Len() > maxShortcuts {
		s.remove(s.used.Back().Value.(*shortcut))
	}
	s.armSweep()
	return sc
}

// remove is the opposite of add; s.mu is held.
func (s *shortcuts) remove(sc *shortcut) {
	s.giveBack(sc)
	s.used.Remove(sc.elem)
	delete(s.files[sc.ino], sc.index)
	if len(s.files[sc.ino]) == 0 {
		delete(s.files, sc.ino)
	}
}

// each calls f for every record; f may remove it. s.mu is held.
func (s *shortcuts) each(f func(*shortcut)) {
	for e := s.used.Front(); e != nil; {
		sc := e.Value.(*shortcut)
		e = e.Next()
		f(sc)
	}
}

// armSweep sees to it that what is not used is given back: a file that is held open keeps
// its space when its chunk is deleted or moves away. s.mu is held.
func (s *shortcuts) armSweep() {
	if s.sweeping == nil {
		s.sweeping = time.AfterFunc(shortcutUnused, s.sweep)
	}
}

func (s *shortcuts) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.each(func(sc *shortcut) {
		if sc.idle && !sc.asking {
			s.remove(sc)
		}
		sc.idle = true
	})
	s.sweeping = nil
	if s.used.Len() > 0 && !s.closed {
		s.armSweep()
	}
}

// forget gives back what was borrowed of a file that nobody has open any more.
func (s *shortcuts) forget(ino proto.InodeID) {
	if s.borrow == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sc := range s.files[ino] {
		s.remove(sc)
	}
}

// close gives everything back, for good.
func (s *shortcuts) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.each(s.remove)
	if s.sweeping != nil {
		s.sweeping.Stop()
	}
}

// tenure names the lease that is held on an inode, and not being recalled: another one is
// another tenure.
func (l *leases) tenure(ino proto.InodeID) (tenure uint64, held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.usable(ino)
	if h == nil || h.recall != nil {
		return 0, false
	}
	return h.granted, true
}
