package client

import (
	"container/list"
	"sync"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Leases, the holder's side. A lease on an inode makes right what is cached of it, here
// and in the kernel: attributes, names and absent names of a directory, target, chunks
// and data; an exclusive one, unwritten data too. Leases come with answers of the master
// (Grants) or are acquired (acquire.go), last while the master answers KeepAlives
// (validity.go), and go when they are recalled (recall.go).
//
// An answer may be overtaken by a recall, by a change of this client, or by an answer
// that is newer. So it is cached only if
//
//   - the lease that it rests upon was granted with it: none that came with it counts
//     if a recall of its inode with a higher number was seen;
//   - the call began after the last change of the inode by this client whose outcome in
//     attributes is not known;
//   - nothing newer is known, by Attr.Change.

const (
	maxLeases   = 1 << 16 // held by a client; the least recently used is given back first
	maxNames    = 1 << 18 // remembered in all directories
	maxRecalls  = 1 << 14 // inodes whose last recall is remembered
	shrinkShare = 16      // the part of them that is given back at a time
)

// Caches are what somebody above the client, the kernel, keeps of what it was told
// under leases. Neither method may call the client back.
type Caches interface {
	// DropAttrs has attributes forgotten. It may wait for reads of an inode that is
	// being let go of, for nothing else.
	DropAttrs(ino proto.InodeID)
	// DropPages has the data of a file forgotten, and attributes. It may wait for reads
	// and writes of the file, and has mapped pages written back.
	DropPages(ino proto.InodeID)
	// DropNames has names of a directory forgotten. It may wait for calls that change names
	// of the directory, or list them.
	DropNames(dir proto.InodeID, names []string)
}

type noCaches struct{}

func (noCaches) DropAttrs(proto.InodeID)           {}
func (noCaches) DropPages(proto.InodeID)           {}
func (noCaches) DropNames(proto.InodeID, []string) {}

// leases is the table of leases that a client holds. Its mutex is a leaf.
type leases struct {
	mu      sync.Mutex
	changed *sync.Cond // a pin, a wait, a recall or the validity has changed

	wanted      bool          // Options.NoLeases is not set
	duration    time.Duration // Welcome.lease_ms; 0: the master grants none
	until       time.Time     // the end of the validity
	session     proto.SessionID
	suspended   bool   // from a Hello that resumes until it is answered
	suspensions uint64 // so far
	claimed     map[proto.InodeID]bool
	epoch       uint64

	clock      uint64 // counts changes by this client and new leases, to tell which calls began before
	oldest     uint64 // of clock: answers to calls that began before grant nothing
	held       map[proto.InodeID]*lease
	used       list.List // of *lease, most recently used first
	names      int       // in all directories
	recalls    recallLog
	distrusted distrusted
	leaving    map[placeOf]int                 // names that this client is taking away
	above      map[proto.InodeID]proto.InodeID // of directories in listings that are kept, the one listed
	walk       walk
	limit      int                   // maxLeases
	carryOut   func(*lease)          // gives a lease back that has a recall, in another goroutine
	unreserve  func([]proto.InodeID) // has the master hear that nothing will be made of them
	letGo      func([]*lease)        // likewise of inodes without a name that are not open
	acquiring  map[proto.InodeID]*acquisition
	pool       pool
	reserve    func(*pb.ReserveRequest) // has the pool filled; nil: nothing is answered behind
	expires    func()                   // the session has ended
	contested  inodesFor
	restless   inodesFor
	born       time.Time // what second counts from
	toldName   time.Time // when the kernel was told a name last
	wantedDirs int       // asked for exclusively, one soon after the other
	wantedDir  proto.InodeID
	wantedAt   time.Time // the last one
	opened     uint32    // opens here so far

	caches   Caches
	untold   []untold       // what the kernel is to forget
	returned []*pb.Returned // to be sent
	send     func()         // has returned sent
}

// lease is one lease. Guarded by leases.mu.
type lease struct {
	ino  proto.InodeID
	mode pb.LeaseMode
	elem *list.Element

	grants  *pb.Grants // that it came with last
	since   uint64     // clock: answers to calls that began before are not cached
	granted uint64     // clock when it was new

	recall *recall // under way; nil: none
	pins   int     // writers under way
	busy   int     // changes by this client under way at the master
	tries  int     // changes of a directory's names at the master since it was not exclusive

	spell   uint64    // how often it has ceased to be exclusive
	locks   lockPlace // of a file
	handing bool      // they are on their way to the master

	attr    Attr
	hasAttr bool
	loose   bool      // of a directory: attr is right but for size, links, times and change
	names   *dirNames // of a directory
	listing listing   // of them, under way
	along   along     // likewise, of names that were not asked for yet
	target  *string   // of a symlink
	lacking []string  // extended attributes that it has not
	row     row       // of a file
	pageEnd pageEnd   // of a directory, the one that was listed last

	told     bool      // the kernel may have attributes
	toldAt   time.Time // last
	toldName time.Time // a name of the directory
	blind    time.Time // until then the kernel may keep names that are not remembered
}

func newLeases(wanted bool) *leases {
	l := &leases{
		wanted: wanted, limit: maxLeases, held: map[proto.InodeID]*lease{}, leaving: map[placeOf]int{}, above: map[proto.InodeID]proto.InodeID{},
		acquiring: map[proto.InodeID]*acquisition{}, caches: noCaches{}, send: func() {},
		contested: inodesFor{time: contestedTime}, restless: inodesFor{time: restlessTime},
	}
	l.changed = sync.NewCond(&l.mu)
	return l
}

// enabled tells whether leases rule; otherwise attributes are believed for cacheTTL, and
// data goes from close to open.
func (l *leases) enabled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.enabledLocked()
}

func (l *leases) enabledLocked() bool { return l.wanted && l.duration > 0 }

// begin is called before a call whose answer may be cached.
func (l *leases) begin() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.clock
}

// usable finds a lease that what is cached under it may be used; l.mu is held.
func (l *leases) usable(ino proto.InodeID) *lease {
	h := l.held[ino]
	if h == nil || !l.validFor(h) {
		return nil
	}
	l.used.MoveToFront(h.elem)
	return h
}

// admit takes in the grants of an answer. began is when the call began.
func (l *leases) admit(began uint64, g *pb.Grants) {
	if g == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admitLocked(began, g)
}

func (l *leases) admitLocked(began uint64, g *pb.Grants) {
	if !l.enabledLocked() || began < l.oldest {
		return
	}
	for _, ino := range g.Shared {
		l.grant(began, proto.InodeID(ino), pb.LeaseMode_LEASE_SHARED, g)
	}
	for _, ino := range g.Exclusive {
		l.grant(began, proto.InodeID(ino), pb.LeaseMode_LEASE_EXCLUSIVE, g)
	}
	l.shrink()
	l.changed.Broadcast()
}

// grant takes one lease in. An exclusive one that comes while a Hello is under way is not:
// the Hello does not claim it, so a master that was started anew may not know it, or it is that
// master's already, and goes with all that were the last one's when the Hello is answered. A
// writer would rely on it all the same.
func (l *leases) grant(began uint64, ino proto.InodeID, mode pb.LeaseMode, g *pb.Grants) {
	if l.suspended && mode == pb.LeaseMode_LEASE_EXCLUSIVE {
		return
	}
	if l.recalls.voids(ino, g.Recalls) || l.distrusted.has(ino) {
		return
	}
	h := l.held[ino]
	if h == nil {
		l.clock++
		h = &lease{ino: ino, since: began, granted: l.clock}
		h.elem = l.used.PushFront(h)
		l.held[ino] = h
	}
	if h.recall != nil {
		return
	}
	h.mode = max(h.mode, mode)
	h.grants = g
	if a := l.acquiring[ino]; a != nil && a.got == nil && h.writes() {
		a.got = h
		h.pins++
	}
}

// distrust gives up what is cached of inodes, and caches nothing of them for a while:
// whether a change of theirs will be carried out is not known. l.mu is held.
func (l *leases) distrust(inodes ...proto.InodeID) {
	for _, ino := range inodes {
		l.distrusted.add(ino)
		if h := l.held[ino]; h != nil {
			l.unlearn(h)
		}
	}
}

// unlearn forgets all that is cached under a lease; l.mu is held.
func (l *leases) unlearn(h *lease) {
	h.hasAttr, h.loose, h.target, h.lacking = false, false, nil, nil
	l.dropNames(h)
	l.clock++
	h.since = l.clock
}

// remove takes a lease out of the table; l.mu is held.
func (l *leases) remove(h *lease) {
	l.unlearn(h)
	l.used.Remove(h.elem)
	delete(l.held, h.ino)
}

// shrink gives leases back when there are too many, some at a time, those that were not
// used for the longest time first; l.mu is held.
func (l *leases) shrink() {
	if len(l.held) <= l.limit && l.names <= maxNames {
		return
	}
	leases, names := l.limit-l.limit/shrinkShare, maxNames-maxNames/shrinkShare
	var gone []proto.InodeID
	going := 0
	for e := l.used.Back(); e != nil && (len(l.held)-going > leases || l.names > names); {
		h := e.Value.(*lease)
		e = e.Prev()
		switch {
		case h.recall != nil:
			going++
		case h.pins > 0 || len(l.held)-going <= leases && h.names == nil:
		case h.writes() || h.keepsNames(time.Now()):
			if l.carryOut != nil {
				h.recall = &recall{} // of our own accord
				l.carryOut(h)
				going++
			}
		default:
			l.untell(h)
			l.remove(h)
			gone = append(gone, h.ino)
		}
	}
	if len(gone) > 0 {
		l.giveBack(0, pb.LeaseMode_LEASE_NONE, gone...)
	}
}

// giveBack has a Returned sent; l.mu is held. Where nobody asked for them, an answer that
// is on its way may be from before the return.
func (l *leases) giveBack(number uint64, keep pb.LeaseMode, inodes ...proto.InodeID) {
	r := &pb.Returned{Number: number, Keep: keep}
	for _, ino := range inodes {
		r.Inodes = append(r.Inodes, uint64(ino))
		if number == 0 {
			l.distrusted.add(ino)
		}
	}
	l.returned = append(l.returned, r)
	l.send()
}

// takeReturned empties the queue of what is to be sent.
func (l *leases) takeReturned() []*pb.Returned {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.returned
	l.returned = nil
	return list
}

// recallLog remembers the number of the last recall of inodes, those of the last
// recalls at least.
type recallLog struct {
	last  map[proto.InodeID]uint64
	order []recalled // oldest first
	floor uint64     // the highest number that was forgotten
}

type recalled struct {
	ino    proto.InodeID
	number uint64
}

func (r *recallLog) note(ino proto.InodeID, number uint64) {
	if r.last == nil {
		r.last = map[proto.InodeID]uint64{}
	}
	r.last[ino] = max(r.last[ino], number)
	r.order = append(r.order, recalled{ino, number})
	if len(r.order) > maxRecalls {
		oldest := r.order[0]
		r.order = r.order[1:]
		r.floor = max(r.floor, oldest.number)
		if r.last[oldest.ino] == oldest.number {
			delete(r.last, oldest.ino)
		}
	}
}

// voids tells whether an inode was, or may have been, recalled after so many recalls.
func (r *recallLog) voids(ino proto.InodeID, recalls uint64) bool {
	return recalls < r.floor || recalls < r.last[ino]
}
