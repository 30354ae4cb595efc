package meta

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

const (
	slots     = 256     // changes that a session may have under way at once
	maxOpens  = 1 << 20 // open inodes of a session
	maxGroups = 1 << 10 // supplementary groups of a caller
)

// sessions is the soft state of the sessions: who was heard of when, and which
// inodes they have open. That a session exists, and what its slots answered, is in
// the log; a session that is in the log after a start of the master has one time-out
// to be heard of.
type sessions struct {
	now     func() time.Time
	timeout time.Duration

	mu    sync.RWMutex // protects all below, and what sessions say it does
	byID  map[proto.SessionID]*session
	opens map[proto.InodeID]uint32 // of all sessions together

	doomed map[proto.InodeID]bool // orphans that are being reaped
	away   int                    // sessions that are silent
}

// session is one client's presence.
type session struct {
	id     proto.SessionID
	client string
	behind *changesBehind

	working sync.Mutex // protects slots; a leaf
	slots   []*slot    // by number, as far as the client has used them

	// Protected by sessions.mu.
	heard  time.Time
	alive  time.Time // when the last keepalive was answered
	opens  map[proto.InodeID]open
	here   map[proto.InodeID]bool // see openshere.go
	silent bool                   // it is of an earlier start of the master and has not resumed yet
	ended  chan struct{}          // closed when it has ended
	feed   *feed                  // of its last stream; nil: none
}

// slot is what this master remembers of a slot beside the answer that the log keeps.
// Whoever has the token owns the rest.
type slot struct {
	busy      chan struct{} // holds the token while nobody works on the slot
	seen      uint64        // highest sequence
	counted   uint64        // sequence of the last request that counted opens
	truncated uint64        // sequence of the last request that truncated a file it opened
}

// open is what a session has open of one inode.
type open struct {
	count    uint32
	writable bool // some of it for writing
}

func newSessions(now func() time.Time, timeout time.Duration, stored []state.SessionInfo) *sessions {
	s := &sessions{now: now, timeout: timeout, byID: map[proto.SessionID]*session{}, opens: map[proto.InodeID]uint32{}}
	for _, info := range stored {
		s.add(info.ID, info.Client).silent = true
		s.away++
	}
	return s
}

// add takes a session of the log in.
func (s *sessions) add(id proto.SessionID, client string) *session {
	one := &session{id: id, client: client, heard: s.now(), alive: s.now(), opens: map[proto.InodeID]open{}, ended: make(chan struct{}), behind: newChangesBehind()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[id] = one
	return one
}

// find gives a session that lives, and counts as hearing of it; nil: it is gone.
func (s *sessions) find(id proto.SessionID) *session {
	now := s.now()
	s.mu.RLock()
	one := s.byID[id]
	fresh := one == nil || now.Sub(one.heard) < time.Second
	s.mu.RUnlock()
	if fresh {
		return one
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if one = s.byID[id]; one != nil {
		one.heard = now
	}
	return one
}

// lives tells whether a session has not ended; it does not count as hearing of it.
func (s *sessions) lives(id proto.SessionID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byID[id] != nil
}

// slot gives the slot of a number, which is made when it is first used: there are many
// sessions that change nothing.
func (one *session) slot(number uint32) *slot {
	one.working.Lock()
	defer one.working.Unlock()
	for uint32(len(one.slots)) <= number {
		one.slots = append(one.slots, nil)
	}
	if one.slots[number] == nil {
		one.slots[number] = &slot{busy: make(chan struct{}, 1)}
		one.slots[number].busy <- struct{}{}
	}
	return one.slots[number]
}

// take waits until nobody works on a request's slot, and takes it. A request that the
// client has gone beyond is refused: nobody waits for its answer any more.
func (one *session) take(ctx context.Context, caller *pb.Caller) (*slot, error) {
	s := one.slot(caller.Slot)
	select {
	case <-s.busy:
	case <-ctx.Done():
		return nil, proto.Unavailable
	case <-one.ended:
		return nil, proto.SessionExpired
	}
	if ctx.Err() != nil || caller.Sequence < s.seen {
		s.busy <- struct{}{}
		return nil, proto.Interrupted
	}
	s.seen = caller.Sequence
	return s, nil
}

// silent lists the sessions that have been silent for the time-out.
func (s *sessions) silent() (expired []*session) {
	now := s.now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, id := range slices.Sorted(maps.Keys(s.byID)) {
		if one := s.byID[id]; now.Sub(one.heard) >= s.timeout {
			expired = append(expired, one)
		}
	}
	return expired
}

// keepAlive notes a keepalive that is about to be answered; false: the session is gone.
func (s *sessions) keepAlive(one *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.heard, one.alive = s.now(), s.now()
	return s.byID[one.id] == one
}

// unheard gives a session whose keepalives have been missing for so long; nil: it is
// alive, or gone.
func (s *sessions) unheard(id proto.SessionID, dead time.Duration) *session {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if one := s.byID[id]; one != nil && s.now().Sub(one.alive) >= dead {
		return one
	}
	return nil
}

// end forgets a session with all it has open. With a limit, only if its keepalives, or
// any calls of it, have been missing for so long.
func (s *sessions) end(one *session, unheard, dead time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.byID[one.id] != one || now.Sub(one.heard) < unheard || now.Sub(one.alive) < dead {
		return false
	}
	delete(s.byID, one.id)
	if one.silent {
		s.away--
	}
	for ino, o := range one.opens {
		s.uncount(ino, o.count)
	}
	one.opens = nil
	s.forgetHere(one)
	close(one.ended)
	return true
}

// uncount needs mu.
func (s *sessions) uncount(ino proto.InodeID, count uint32) {
	if left := s.opens[ino] - min(count, s.opens[ino]); left > 0 {
		s.opens[ino] = left
	} else {
		delete(s.opens, ino)
	}
}

// opened counts an open of an inode, once for each sequence of a slot. Too many
// files: NoSpace. An orphan is opened like a file with a name, for who looked it up before
// it lost its last, unless it is being reaped (Stale).
func (s *sessions) opened(r *request, ino proto.InodeID, writable, orphan bool) proto.Kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := r.session
	if one == nil || s.byID[one.id] != one {
		return proto.SessionExpired
	}
	if orphan && s.doomed[ino] {
		return proto.Stale
	}
	if r.countedBefore() {
		return proto.OK
	}
	o, there := one.opens[ino]
	if !there && len(one.opens) >= maxOpens {
		return proto.NoSpace
	}
	one.opens[ino] = open{count: o.count + 1, writable: o.writable || writable}
	s.opens[ino]++
	return proto.OK
}

// reserved counts inodes that a session has just reserved as open by it, for writing.
func (s *sessions) reserved(one *session, inodes []proto.InodeID) proto.Kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.byID[one.id] != one:
		return proto.SessionExpired
	case len(one.opens)+len(inodes) > maxOpens:
		return proto.NoSpace
	}
	for _, ino := range inodes {
		one.opens[ino] = open{count: 1, writable: true}
		s.opens[ino]++
	}
	return proto.OK
}

// countedBefore tells whether this very request has counted already.
func (r *request) countedBefore() bool {
	if r.slot == nil {
		return false
	}
	before := r.slot.counted == r.caller.Sequence
	r.slot.counted = r.caller.Sequence
	return before
}

// released takes opens off.
func (s *sessions) released(r *request, closed []*pb.OpenCount) proto.Kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := r.session
	if one == nil || s.byID[one.id] != one {
		return proto.SessionExpired
	}
	if r.countedBefore() {
		return proto.OK
	}
	for _, c := range closed {
		ino := proto.InodeID(c.Inode)
		o := one.opens[ino]
		count := min(c.Count, o.count)
		if o.count -= count; o.count == 0 {
			delete(one.opens, ino)
		} else {
			one.opens[ino] = o
		}
		s.uncount(ino, count)
	}
	return proto.OK
}

// claim sets what a session that resumes has open. Whether for writing is not known
// then: it counts as such. What an earlier stream says of opens does not count any more.
func (s *sessions) claim(one *session, claims []*pb.OpenCount, here []proto.InodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[one.id] != one {
		return
	}
	s.detach(one)
	kept := one.here
	one.here = nil
	for _, ino := range here {
		s.keep(one, ino)
	}
	for ino := range kept {
		s.uncount(ino, 1)
	}
	before := one.opens
	one.opens = make(map[proto.InodeID]open, min(len(claims), maxOpens))
	for _, c := range claims {
		ino := proto.InodeID(c.Inode)
		if _, twice := one.opens[ino]; c.Count == 0 || twice || len(one.opens) >= maxOpens {
			continue
		}
		o, known := before[ino]
		one.opens[ino] = open{count: c.Count, writable: o.writable || !known}
		s.opens[ino] += c.Count
	}
	for ino, o := range before {
		s.uncount(ino, o.count)
	}
}

// writable tells whether the session has the inode open for writing.
func (s *sessions) writable(one *session, ino proto.InodeID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return one != nil && one.opens[ino].writable
}

// written lists the inodes that the session has open for writing.
func (s *sessions) written(one *session) (list []proto.InodeID) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for ino, o := range one.opens {
		if o.writable {
			list = append(list, ino)
		}
	}
	return list
}

// writtenByAny lists what all sessions have open for writing; a file may be in it twice.
func (s *sessions) writtenByAny() (list []proto.InodeID) {
	s.mu.RLock()
	all := slices.Collect(maps.Values(s.byID))
	s.mu.RUnlock()
	for _, one := range all {
		list = append(list, s.written(one)...)
	}
	return list
}

// has tells whether the session has the inode open.
func (s *sessions) has(one *session, ino proto.InodeID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return one != nil && (one.opens[ino].count > 0 || one.here[ino])
}

// complete tells whether all that is open is known: no session of an earlier start of
// the master may still come back and claim its opens.
func (s *sessions) complete() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.away == 0
}

// doom gives those that nobody has open, which nobody can open from now on, until the
// next call.
func (s *sessions) doom(orphans []proto.InodeID) []proto.InodeID {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doomed = make(map[proto.InodeID]bool, len(orphans))
	for _, ino := range orphans {
		if s.opens[ino] == 0 {
			s.doomed[ino] = true
		}
	}
	return slices.DeleteFunc(orphans, func(ino proto.InodeID) bool { return !s.doomed[ino] })
}

// isOpen tells whether any session has the inode open.
func (s *sessions) isOpen(ino proto.InodeID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.opens[ino] > 0
}

// isOpenOnlyBy tells whether nobody but this session has the inode open. A call without a session
// has nothing.
func (s *sessions) isOpenOnlyBy(one *session, ino proto.InodeID) bool {
	if one == nil || !s.complete() {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	here := uint32(0)
	if one.here[ino] {
		here = 1
	}
	return s.opens[ino] == one.opens[ino].count+here
}

// isSilent tells whether a session of an earlier start has not resumed yet.
func (s *sessions) isSilent(one *session) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return one.silent
}

// attach makes a stream the session's; the one before is told to end.
func (s *sessions) attach(one *session) *feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detach(one)
	if one.silent && s.byID[one.id] == one {
		s.away--
	}
	one.feed = newFeed()
	one.heard, one.alive, one.silent = s.now(), s.now(), false
	return one.feed
}

// detach tells the stream of a session to end; s.mu is held.
func (s *sessions) detach(one *session) {
	if one.feed != nil {
		close(one.feed.replaced)
		one.feed = nil
	}
}

// nudge has a session's stream look for recalls. One without a stream looks when it
// resumes.
func (s *sessions) nudge(id proto.SessionID) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if one := s.byID[id]; one != nil && one.feed != nil {
		one.feed.nudge()
	}
}

// isFed tells whether a feed is that of the session's last stream.
func (s *sessions) isFed(one *session, f *feed) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return one.feed == f
}

// status describes the sessions in order of ids.
func (s *sessions) status() (list []*pb.SessionStatus) {
	now := s.now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, id := range slices.Sorted(maps.Keys(s.byID)) {
		one := s.byID[id]
		list = append(list, &pb.SessionStatus{
			Session: uint64(id), Client: one.client, LastHeardMs: uint64(now.Sub(one.heard).Milliseconds()), OpenFiles: uint32(len(one.opens) + len(one.here)),
		})
	}
	return list
}
