package meta

import (
	"context"
	"sync"
	"time"

	"github.com/distrifs/distrifs/meta/leases"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// leaseLimits bound the memory for leases to about 300 MB.
var leaseLimits = leases.Limits{Held: 4 << 20, HeldBySession: 256 << 10}

// maxOwing is how long a session that is otherwise alive may owe an answer to a recall.
const maxOwing = time.Minute

// leasing is the table of leases among the sessions. Nothing of it is logged: after a
// start the sessions of the log say what they had exclusive, and until all have, or what
// they had has run out, whoever might be in their way waits.
type leasing struct {
	sessions *sessions
	period   time.Duration // how long leases outlive the last answer to a keepalive; 0: there are none
	thawed   chan struct{} // closed when all leases of an earlier start are known or over
	thawing  sync.Once

	mu    sync.Mutex // protects below
	table *leases.Table
	// orphans are those that the reaper found not to be open in its last round. Who has none of
	// them open is granted no lease on them: it would have to be asked again, and for ever.
	orphans map[proto.InodeID]bool
	// abandoned, if set, is told of the files that a session had exclusive when it ended
	// without saying so. It is called without mu, and must not block.
	abandoned func(ino proto.InodeID)
}

func newLeasing(s *sessions, period time.Duration) *leasing {
	k := &leasing{sessions: s, period: period, thawed: make(chan struct{}), table: leases.New(leaseLimits, s.now)}
	k.thaw(period == 0)
	return k
}

// off tells that no leases are granted at all.
func (k *leasing) off() bool { return k.period == 0 }

// thaw is called when a session has come back or is gone; over, when the leases of an
// earlier start have run out.
func (k *leasing) thaw(over bool) {
	if over || k.sessions.complete() {
		k.thawing.Do(func() { close(k.thawed) })
	}
}

// frozen tells whether there may be leases that the table does not know.
func (k *leasing) frozen() bool {
	select {
	case <-k.thawed:
		return false
	default:
		return true
	}
}

// runOut thaws when whatever was granted by an earlier start is over (L8).
func (m *Master) runOut(ctx context.Context) {
	select {
	case <-time.After(m.leases.period):
		m.leases.thaw(true)
	case <-m.leases.thawed:
	case <-ctx.Done():
	}
}

// open begins to grant leases to a session. One that resumes for the first time after a
// start of the master gets back what it had exclusive.
func (k *leasing) open(one *session, exclusive []uint64) {
	if k.off() {
		return
	}
	k.use(func(t *leases.Table) {
		exclusive = exclusive[:min(len(exclusive), leaseLimits.HeldBySession)]
		t.Open(one.id)
		if k.sessions.isSilent(one) {
			for _, ino := range exclusive {
				t.Restore(one.id, proto.InodeID(ino))
			}
		}
	})
}

// use works on the table, and tells sessions that there are recalls for them.
func (k *leasing) use(fn func(t *leases.Table)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fn(k.table)
	for _, id := range k.table.News() {
		k.sessions.nudge(id)
	}
}

// end forgets the leases of a session that has ended. When it did not say goodbye, it
// may have left behind what it wrote under exclusive ones.
func (k *leasing) end(one *session, goodbye bool) {
	if k.abandoned != nil && !goodbye { // before others are granted them
		for _, ino := range k.exclusive(one) {
			k.abandoned(ino)
		}
	}
	k.use(func(t *leases.Table) { t.End(one.id) })
}

// exclusive lists what a session has exclusive.
func (k *leasing) exclusive(one *session) []proto.InodeID {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.table.Exclusive(one.id)
}

// leased is what a request has to do with leases.
type leased struct {
	named        [4]proto.InodeID // what it is about
	names        int
	alone        proto.InodeID      // of these, one to be granted exclusive if nobody else has it open
	entries      []*pb.DirEntry     // whose inodes it is about, with their attributes, if they can be had
	also         []*pb.ReadDirReply // directories that are told with their names, if they can be had; else End is taken from them
	entriesAlone bool               // entries are granted exclusive where alone would be
	recalls      bool               // what of others stands against that is recalled
	claim        leases.Claim
	frozen       bool // it waits for the table to be thawed, not for its claim
	grants       *pb.Grants
}

// name adds an inode to those that a request is about.
func (r *request) name(ino proto.InodeID) {
	for _, other := range r.named[:r.names] {
		if other == ino {
			return
		}
	}
	r.named[r.names] = ino
	r.names++
}

// id of the request's session; 0: none.
func (r *request) id() proto.SessionID {
	if r.session == nil {
		return 0
	}
	return r.session.id
}

// observe runs look, which reads, and names what it reads, when no other session has
// that exclusive. What was named is granted with the answer. look may run several times;
// only the last one counts.
func (m *Master) observe(ctx context.Context, r *request, look func(st *state.State) proto.Kind) error {
	return m.await(ctx, r, look, func() bool { return m.leases.admit(r, leases.Read) })
}

// secure runs check, which says whether a change may be made, and names what it changes,
// when no other session has a lease on that. None is granted until the request is left.
// check may run several times.
func (m *Master) secure(ctx context.Context, r *request, check func(st *state.State) proto.Kind) error {
	return m.await(ctx, r, check, func() bool { return m.leases.admit(r, leases.Write) })
}

// await runs look until it fails, or what it named is admitted at that same moment.
func (m *Master) await(ctx context.Context, r *request, look func(st *state.State) proto.Kind, admit func() bool) error {
	for {
		var kind proto.Kind
		ready := true
		m.machine.read(func(st *state.State) {
			r.names = 0
			if kind = look(st); kind == proto.OK && r.names > 0 && !m.leases.off() {
				ready = admit()
			}
		})
		if ready {
			return r.fail(kind, "")
		}
		if err := m.wait(ctx, r); err != nil {
			return err
		}
	}
}

// admit tells whether a request may go on with what it named. If not, it has claimed
// that, and waits. It is called with the machine's lock held, so that what was named, and
// read, is as of the grants.
func (k *leasing) admit(r *request, want leases.Want) (ready bool) {
	k.use(func(t *leases.Table) {
		named := r.named[:r.names]
		if r.frozen = k.frozen() && !holdsAll(t, r.id(), named); r.frozen {
			return
		}
		if !covers(&r.claim, named, want) {
			t.Release(&r.claim)
		}
		if want == leases.Read && (r.claim.IsGranted() || areFree(t, r.id(), named)) {
			k.grant(t, r)
			ready = true
			return
		}
		if !r.claim.Queued() {
			r.claim.Reset()
			r.claim.Session = r.id()
			for _, ino := range named {
				r.claim.Add(ino, want)
			}
			t.Make(&r.claim)
		}
		ready = r.claim.IsGranted()
	})
	return ready
}

// acquire is admit for a request that asks for a lease.
func (k *leasing) acquire(r *request, want leases.Want) (ready bool) {
	k.use(func(t *leases.Table) {
		ino := r.named[0]
		if r.frozen = k.frozen() && t.Holds(r.id(), ino) != leases.Exclusive; r.frozen {
			return
		}
		if t.Holds(r.id(), ino) == leases.Exclusive || want == leases.Share && t.Free(r.id(), ino, leases.Shared) {
			if k.grant(t, r); r.grants != nil {
				ready = true
				return
			}
		}
		if !r.claim.Queued() {
			r.claim.Session = r.id()
			r.claim.Add(ino, want)
			t.Make(&r.claim)
		}
		if ready = r.claim.IsGranted(); ready {
			t.Acquire(&r.claim)
			k.grant(t, r)
		}
	})
	return ready
}

// isAwaited tells whether others wait for a claim that was granted.
func (k *leasing) isAwaited(c *leases.Claim) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return c.IsGranted() && k.table.IsAwaited(c)
}

func covers(c *leases.Claim, named []proto.InodeID, want leases.Want) bool {
	for _, ino := range named {
		if !c.Covers(ino, want) {
			return false
		}
	}
	return true
}

func areFree(t *leases.Table, id proto.SessionID, named []proto.InodeID) bool {
	for _, ino := range named {
		if !t.Free(id, ino, leases.Shared) {
			return false
		}
	}
	return true
}

// owns tells whether a session has all of these inodes exclusive; 0 is nothing to have.
func (k *leasing) owns(one *session, inodes ...proto.InodeID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, ino := range inodes {
		if ino != 0 && k.table.Holds(one.id, ino) != leases.Exclusive {
			return false
		}
	}
	return true
}

// exclusiveBy tells whether a session has an inode exclusive, and whether another one has it, or may
// have it.
func (k *leasing) exclusiveBy(one *session, ino proto.InodeID) (own, another bool) {
	if k.off() {
		return false, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	own = k.table.Holds(one.id, ino) == leases.Exclusive
	return own, !own && (k.frozen() || !k.table.Free(one.id, ino, leases.Shared))
}

func holdsAll(t *leases.Table, id proto.SessionID, named []proto.InodeID) bool {
	for _, ino := range named {
		if t.Holds(id, ino) != leases.Exclusive {
			return false
		}
	}
	return true
}

// grant fills in r.grants. Entries of a directory that another session has exclusive go
// without their attributes.
func (k *leasing) grant(t *leases.Table, r *request) {
	var g *pb.Grants
	add := func(ino proto.InodeID, mode leases.Mode) (got leases.Mode) {
		if k.orphans[ino] && !k.sessions.has(r.session, ino) {
			return leases.None
		}
		got = t.Grant(r.id(), ino, mode)
		if g == nil && got != leases.None {
			g = &pb.Grants{Recalls: t.Sent(r.id())}
		}
		switch got {
		case leases.Shared:
			g.Shared = append(g.Shared, uint64(ino))
		case leases.Exclusive:
			g.Exclusive = append(g.Exclusive, uint64(ino))
		}
		return got
	}
	mode := func(ino proto.InodeID, alone bool) leases.Mode {
		if alone && k.sessions.isOpenOnlyBy(r.session, ino) {
			return leases.Exclusive
		}
		return leases.Shared
	}
	for _, ino := range r.named[:r.names] {
		add(ino, mode(ino, ino == r.alone))
	}
	entries := r.entries
	for _, dir := range r.also {
		ino := proto.InodeID(dir.Inode)
		if dir.End = t.Free(r.id(), ino, leases.Shared) && add(ino, leases.Shared) != leases.None; dir.End {
			entries = append(entries, dir.Entries...)
		}
	}
	for _, e := range entries {
		ino := proto.InodeID(e.Inode)
		want, got := mode(ino, r.entriesAlone), leases.None
		if e.Attr != nil && t.Free(r.id(), ino, leases.Shared) {
			got = add(ino, want)
		} else {
			e.Attr, e.First = nil, nil
		}
		switch {
		case !r.recalls || got >= want:
		case want == leases.Exclusive:
			t.AskOthers(r.id(), ino, leases.None)
		default:
			t.AskOthers(r.id(), ino, leases.Shared)
		}
	}
	r.grants = g
}

// attest runs look, which reads what the answer to a change says, and names it to be
// granted with it.
func (m *Master) attest(r *request, look func(st *state.State)) {
	m.machine.read(func(st *state.State) {
		r.names = 0
		if look(st); r.names > 0 && !m.leases.off() && !m.leases.frozen() {
			m.leases.use(func(t *leases.Table) { m.leases.grant(t, r) })
		}
	})
}

// wait waits until a request's claim is granted, or the table is thawed.
func (m *Master) wait(ctx context.Context, r *request) error {
	granted := r.claim.Granted()
	if r.frozen {
		granted = m.leases.thawed
	}
	var ended chan struct{}
	if r.session != nil {
		ended = r.session.ended
	}
	select {
	case <-granted:
		return nil
	case <-ended:
		return r.fail(proto.SessionExpired, "open a new session")
	case <-m.stopping.Done():
		return m.goingDown(r.op)
	case <-ctx.Done():
		return r.fail(proto.Interrupted, "while others were asked for their leases")
	}
}

// leave ends a request: its claim, if it has one.
func (m *Master) leave(r *request) {
	if r.claim.Queued() {
		m.leases.use(func(t *leases.Table) { t.Release(&r.claim) })
	}
}
