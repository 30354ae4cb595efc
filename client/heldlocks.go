package client

import (
	"sync"

	"github.com/distrifs/distrifs/internal/ranges"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// heldLocks is what this client knows of its locks: those it holds, to claim them
// again after a restart of the master, and who waits for his turn. It follows the
// master's answers, which inode.locking puts in order, or its own (lockshere.go). It is
// bounded by the master's limits for a session.
type heldLocks struct {
	mu      sync.Mutex
	files   map[proto.InodeID]map[lockOwner]*ownedLocks // no map is empty
	held    int                                         // ranges, of all files
	lost    map[proto.InodeID]bool                      // files whose locks went with a session
	tickets uint64                                      // given out so far
	waiting map[uint64]chan struct{}
}

// lockOwner is one owner on a file.
type lockOwner struct {
	owner uint64
	flock bool
}

type ownedLocks struct {
	ranges  ranges.Map[LockMode]
	process uint32
	unsure  bool // a request was not answered: there may be more at the master
}

func newHeldLocks() *heldLocks {
	return &heldLocks{files: map[proto.InodeID]map[lockOwner]*ownedLocks{}, lost: map[proto.InodeID]bool{}, waiting: map[uint64]chan struct{}{}}
}

// answered takes in what became of a request; nil: it was done.
func (h *heldLocks) answered(ino proto.InodeID, l Lock, queued bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.take(ino, l, queued, err)
}

// take needs mu.
func (h *heldLocks) take(ino proto.InodeID, l Lock, queued bool, err error) {
	key := l.by()
	owners := h.files[ino]
	if owners == nil {
		owners = map[lockOwner]*ownedLocks{}
		h.files[ino] = owners
	}
	o := owners[key]
	if o == nil {
		o = &ownedLocks{}
		owners[key] = o
	}
	before := o.ranges.Len()
	switch kind := proto.KindOf(err); {
	case err == nil && !queued && l.Mode != LockNone:
		o.ranges, o.process = o.ranges.With(l.span(), l.Mode), l.Process
	case err == nil && !queued:
		o.ranges = o.ranges.Without(l.span())
		o.unsure = o.unsure && l.span() != ranges.All
	case transient(kind):
		o.unsure = true
	case l.Flock: // not to be had, and what was to be traded for it is gone
		o.ranges = o.ranges.Without(l.span())
	}
	h.held += o.ranges.Len() - before
	if o.ranges.Len() == 0 && !o.unsure {
		if delete(owners, key); len(owners) == 0 {
			delete(h.files, ino)
		}
	}
}

// has tells whether an owner may hold anything on a file.
func (h *heldLocks) has(ino proto.InodeID, by lockOwner) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.files[ino][by] != nil
}

// gives tells whether a request would give up exclusive rights to some bytes.
func (h *heldLocks) gives(ino proto.InodeID, l Lock) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.files[ino][l.by()]
	if o == nil || l.Mode == LockExclusive {
		return false
	}
	for _, e := range o.ranges.Over(l.span()) {
		if e.Value == LockExclusive {
			return true
		}
	}
	return o.unsure
}

// wire lists what is held, for a Hello.
func (h *heldLocks) wire() (list []*pb.Lock) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ino := range h.files {
		list = h.wireOf(list, ino)
	}
	return list
}

// on lists what is held of a file.
func (h *heldLocks) on(ino proto.InodeID) []*pb.Lock {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wireOf(nil, ino)
}

// wireOf needs mu.
func (h *heldLocks) wireOf(list []*pb.Lock, ino proto.InodeID) []*pb.Lock {
	for by, o := range h.files[ino] {
		for _, e := range o.ranges.Over(ranges.All) {
			l := Lock{Owner: by.owner, Flock: by.flock, Mode: e.Value, Start: e.Start, End: e.End, Process: o.process}
			list = append(list, l.wire(ino))
		}
	}
	return list
}

// expire is called when the session has ended, and all its locks with it.
func (h *heldLocks) expire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ino, owners := range h.files {
		for _, o := range owners {
			if o.ranges.Len() > 0 {
				h.lost[ino] = true
			}
		}
	}
	clear(h.files)
	h.held = 0
}

// takeLost tells whether locks on a file were lost since the last call.
func (h *heldLocks) takeLost(ino proto.InodeID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	lost := h.lost[ino]
	delete(h.lost, ino)
	return lost
}

// wait gives a ticket, and the channel that has one when it is time to ask.
func (h *heldLocks) wait() (ticket uint64, turn <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tickets++
	ch := make(chan struct{}, 1)
	h.waiting[h.tickets] = ch
	return h.tickets, ch
}

// leave ends what wait began.
func (h *heldLocks) leave(ticket uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, ticket)
}

// turn wakes the waiter with a ticket, if he still waits.
func (h *heldLocks) turn(ticket uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	nudge(h.waiting[ticket])
}

// turnAll wakes everybody: the master may know nothing of them.
func (h *heldLocks) turnAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ch := range h.waiting {
		nudge(ch)
	}
}

// nudge does not block; a nil channel is nobody.
func nudge(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
