package meta

import (
	"context"
	"sync"
	"time"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Changes behind. Under exclusive leases a client answers changes of names itself and
// sends them here in order. They are logged and carried out as they come, many to a sync;
// the client hears when they were received and when they are durable, and keeps them until
// then. Nothing is looked at before the log but whether the session has all that a change
// is of exclusive: so nobody else's change can make it fail, nor be in its way.
//
// A change that fails leaves a gap in the sequence, and the state carries out none behind
// a gap (state.StreamSlot): what is left of a client that dies, or errs, is a prefix of
// what it did (G2).

// changesBehind are a session's changes that were submitted to the log and are not carried out.
type changesBehind struct {
	mu      sync.Mutex // protects below
	idle    *sync.Cond // pending is 0
	pending int
	current *behindStream // that may submit; nil: none
	over    bool          // the session has ended
}

func newChangesBehind() *changesBehind {
	b := &changesBehind{}
	b.idle = sync.NewCond(&b.mu)
	return b
}

// behindStream is one stream of changes, and how far they have come.
type behindStream struct {
	one      *session
	replaced chan struct{} // closed when a later stream has taken its place
	news     chan struct{} // has one when there is something to tell

	telling sync.Mutex // one message at a time, and none when the stream has ended; before mu
	out     behindTeller
	ended   bool // telling

	mu       sync.Mutex // protects below; a leaf
	received uint64     // last sequence submitted
	durable  uint64     // and carried out
	told     uint64     // the client knows that these are durable
	awaited  uint64     // and waits for this one
	later    bool       // a timer runs that will have told what nobody waits for
	failure  *pb.DurableBehind
}

// behindTeller is what behindStream needs of the stream to the client.
type behindTeller interface {
	Send(*pb.DurableBehind) error
}

// tellAfter is when a client hears at the latest that changes are durable that it does not
// wait for. It keeps them until then.
const tellAfter = 10 * time.Millisecond

// attach makes a stream the session's and waits for what the one before has submitted.
func (b *changesBehind) attach(one *session, out behindTeller) *behindStream {
	s := &behindStream{one: one, out: out, replaced: make(chan struct{}), news: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current != nil {
		close(b.current.replaced)
	}
	b.current = s
	b.wait()
	return s
}

// detach ends a stream.
func (b *changesBehind) detach(s *behindStream) {
	s.telling.Lock()
	s.ended = true
	s.telling.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current == s {
		b.current = nil
	}
}

// end lets nothing more in, and waits until what came in is carried out.
func (b *changesBehind) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	b.wait()
}

// wait needs mu, and lets it go meanwhile. The log answers all that was submitted.
func (b *changesBehind) wait() {
	for b.pending > 0 {
		b.idle.Wait()
	}
}

// enter counts changes that are about to be submitted.
func (b *changesBehind) enter(s *behindStream, count int) proto.Kind {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.over:
		return proto.SessionExpired
	case b.current != s:
		return proto.Unavailable
	}
	b.pending += count
	return proto.OK
}

func (b *changesBehind) leave(count int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pending -= count; b.pending == 0 {
		b.idle.Broadcast()
	}
}

// takeBehind submits a message of changes. answer: the client waits for one now.
func (m *Master) takeBehind(s *behindStream, message *pb.ChangesBehind) (answer bool) {
	count := len(message.Changes)
	switch next := s.next(); {
	case count > 0 && message.First != next:
		s.refuse(next, proto.Malformed, "a gap in the sequence")
		return false
	case count > maxBehind:
		s.refuse(next, proto.TooLarge, "too many changes in one message")
		return false
	}
	if kind := s.one.behind.enter(s, count); kind != proto.OK {
		s.refuse(message.First, kind, "")
		return false
	}
	for i, change := range message.Changes {
		if err := m.submitBehind(s, message.First+uint64(i), change); err != nil {
			s.refuse(message.First+uint64(i), proto.KindOf(err), err.Error())
			s.one.behind.leave(count - i)
			count = i
			break
		}
	}
	if message.TellDurable {
		m.group.Hurry()
	}
	return s.took(count, message)
}

// next gives the sequence that the next message should begin with.
func (s *behindStream) next() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received + 1
}

// took notes how many changes of a message were submitted, and what the client waits for.
func (s *behindStream) took(count int, message *pb.ChangesBehind) (answer bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received += uint64(count)
	if message.TellDurable {
		s.awaited = s.received
	}
	s.tellLater()
	return message.TellReceived || message.TellDurable && s.durable >= s.awaited
}

// tellLater sees to it that the client hears of what is not durable now; mu is held.
func (s *behindStream) tellLater() {
	if s.later || s.told >= s.received {
		return
	}
	s.later = true
	time.AfterFunc(tellAfter, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.later = false
		s.wake()
	})
}

func (m *Master) submitBehind(s *behindStream, sequence uint64, change *pb.ChangeBehind) error {
	if !m.leases.off() && !m.leases.owns(s.one, proto.InodeID(change.Inode), proto.InodeID(change.Parent), proto.InodeID(change.NewParent), proto.InodeID(change.Replaced)) {
		return proto.E(proto.Stale, "change behind", inodeName(change.Inode), "the session has not got exclusive what it changes")
	}
	c, err := commandBehind(s.one, sequence, change)
	if err != nil {
		return err
	}
	op, data, err := encode(c)
	if err != nil {
		return err
	}
	return m.group.Submit(context.Background(), uint8(op), data, func(result any, err error) {
		s.done(sequence, result, err)
		s.one.behind.leave(1)
	})
}

// done notes what became of a change. It is called in the order of sequences.
func (s *behindStream) done(sequence uint64, result any, err error) {
	r, _ := result.(state.Result)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failure != nil && s.failure.Failed < sequence:
		return
	case err != nil:
		return // the log has failed, and this master ends: the client will hear of the next one
	case r.Kind != proto.OK:
		s.fail(sequence, r.Kind, "")
		s.wake()
	default:
		if s.durable = sequence; sequence <= s.awaited {
			s.wake()
		}
	}
}

// refuse notes a change that was not submitted, nor is any behind it.
func (s *behindStream) refuse(sequence uint64, kind proto.Kind, detail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil || sequence < s.failure.Failed {
		s.fail(sequence, kind, detail)
	}
	s.wake()
}

func (s *behindStream) fail(sequence uint64, kind proto.Kind, detail string) {
	s.failure = &pb.DurableBehind{Failed: sequence, Kind: uint32(kind), Detail: detail}
}

func (s *behindStream) wake() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// start has the client told from where to go on.
func (s *behindStream) start(durable uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received, s.durable = durable, durable
	s.wake()
}

// tell sends how far the changes have come.
func (s *behindStream) tell() error {
	s.telling.Lock()
	defer s.telling.Unlock()
	if s.ended {
		return nil
	}
	return s.out.Send(s.progress())
}

// progress is what there is to tell. What was received before a change that failed comes
// first: the client gives up what is behind that.
func (s *behindStream) progress() *pb.DurableBehind {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = s.durable
	s.tellLater()
	now := &pb.DurableBehind{Received: max(s.received, s.durable), Durable: s.durable}
	if s.failure != nil && s.durable+1 >= s.failure.Failed {
		now.Failed, now.Kind, now.Detail = s.failure.Failed, s.failure.Kind, s.failure.Detail
	}
	return now
}
