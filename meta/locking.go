package meta

import (
	"math"
	"sync"

	"github.com/distrifs/distrifs/internal/ranges"
	"github.com/distrifs/distrifs/meta/locks"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// lockLimits bound the memory for locks to about 100 MB.
var lockLimits = locks.Limits{Held: 1 << 20, HeldBySession: 1 << 16, Waits: 1 << 16, WaitsOfSession: 1 << 13}

// maxTurns is how many turns a stream may be behind with.
const maxTurns = 1 << 14

// locking is the table of locks among the sessions. Nothing of it is logged: after a
// start the sessions of the log claim what they hold, and until all have, or have
// expired, nothing that could be another's is given.
//
// Of a file that the table does not know the locks may be with the session that has it
// exclusive, for it may have offered to keep them. It hands them over before that lease is
// lowered. So whoever else asks for such a file has the lease lowered first; while the
// table knows the file, nobody keeps its locks. Its mutex comes before that of the leases: what
// the table knows and who has the file exclusive is one look.
type locking struct {
	sessions *sessions

	mu    sync.Mutex // protects table
	table *locks.Table
}

func newLocking(s *sessions) *locking {
	k := &locking{sessions: s, table: locks.New(lockLimits)}
	k.thaw()
	return k
}

// use works on the table for a session that lives, and sends out the turns.
func (k *locking) use(one *session, fn func(t *locks.Table) proto.Kind) proto.Kind {
	k.mu.Lock()
	defer k.mu.Unlock()
	if one == nil {
		return proto.SessionExpired
	}
	select {
	case <-one.ended: // end comes behind it and would not see what is done now
		return proto.SessionExpired
	default:
	}
	kind := fn(k.table)
	k.sessions.tell(k.table.TakeTurns())
	return kind
}

// end forgets the locks of a session that has ended.
func (k *locking) end(one *session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.table.EndSession(one.id)
	k.sessions.tell(k.table.TakeTurns())
}

// thaw has the table give locks when every session of the log has come back or is gone.
func (k *locking) thaw() {
	if !k.sessions.complete() {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.table.Thaw()
	k.sessions.tell(k.table.TakeTurns())
}

// claim takes over what a session says it holds when it resumes for the first time after
// a start of the master, and returns how many locks are not its any more. At any later
// time the table knows better.
func (k *locking) claim(one *session, claims []*pb.Lock) (lost int) {
	if !k.sessions.isSilent(one) {
		return 0
	}
	k.use(one, func(t *locks.Table) proto.Kind {
		lost = claimAll(t, one, claims)
		return proto.OK
	})
	return lost
}

// claimAll takes over what a session says it holds, and returns how many locks it cannot have.
func claimAll(t *locks.Table, one *session, claims []*pb.Lock) (lost int) {
	for _, c := range claims {
		l, kind := lockOf(c, one)
		if kind != proto.OK || l.Mode == 0 || t.Claim(l) != proto.OK {
			lost++
		}
	}
	t.Claimed(one.id)
	return lost
}

// tell puts turns into the feeds of their sessions. One without a stream asks by itself
// when it resumes.
func (s *sessions) tell(turns []locks.Turn) {
	if len(turns) == 0 {
		return
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, turn := range turns {
		if one := s.byID[turn.Session]; one != nil && one.feed != nil {
			one.feed.add(turn.Ticket)
		}
	}
}

// lockOf reads the wire form of a lock of a session. Mode 0 is none.
func lockOf(l *pb.Lock, one *session) (locks.Lock, proto.Kind) {
	r := ranges.Range{Start: l.GetStart(), End: l.GetEnd()}
	if l == nil || r.Start > r.End || r.End > math.MaxInt64 || l.Mode < 0 || l.Mode > pb.LockMode_LOCK_EXCLUSIVE {
		return locks.Lock{}, proto.Invalid
	}
	lock := locks.Lock{
		Inode: proto.InodeID(l.Inode), Owner: locks.Owner{Session: one.id, ID: l.Owner},
		Mode: locks.Mode(l.Mode), Range: r, Process: l.Process,
	}
	if l.Flock {
		lock.Space, lock.Range = locks.Flock, ranges.All
	}
	return lock, proto.OK
}
