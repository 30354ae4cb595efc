package client

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/distrifs/distrifs/internal/again"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// A session ends at the master, not when a stream breaks: sessions keeps a
// stream open, sends keepalives at a third of the time-out, and resumes with
// the files that are open after a break or a restart of the master. Only when
// the master says Expired does it begin a new session.

const (
	goodbyeWait  = time.Second // for the master to confirm a goodbye
	releaseBatch = 1024        // inodes in one Release
	releaseDelay = 20 * time.Millisecond
)

// session is one session; it never changes but for its slots.
type session struct {
	id      proto.SessionID
	welcome *pb.Welcome
	slots   slotTable
	gone    chan struct{} // closed when it has expired
}

// sessions is the succession of sessions of a client, at most one at a time.
type sessions struct {
	master    pb.MasterClient
	name      string
	logger    *slog.Logger
	locks     *heldLocks
	leases    *leases
	onReplace func() // a new session took the place of an expired one

	kick chan struct{} // break the stream and say Hello again
	bye  chan struct{} // closed: say goodbye and end
	done chan struct{} // closed: run has ended

	releases chan struct{} // something is to be released
	returns  chan struct{} // leases are to be given back

	mu       sync.Mutex
	current  *session                 // nil: none at present
	changed  chan struct{}            // closed and replaced when current or welcomes change
	cluster  string                   // of the first Welcome
	opens    map[proto.InodeID]uint32 // what the master should count, by inode
	closed   map[proto.InodeID]uint32 // of these, what is to be released
	here     opensHere
	hellos   uint64 // Hellos built: each carried opens as they were
	welcomes uint64 // Hellos answered by Welcome
	lastErr  error  // why there is no session
}

func newSessions(master pb.MasterClient, name string, logger *slog.Logger, locks *heldLocks) *sessions {
	return &sessions{
		master: master, name: name, logger: logger, locks: locks,
		kick:    make(chan struct{}, 1),
		bye:     make(chan struct{}),
		done:    make(chan struct{}),
		changed: make(chan struct{}),
		opens:   map[proto.InodeID]uint32{},
		closed:  map[proto.InodeID]uint32{},

		releases: make(chan struct{}, 1),
		returns:  make(chan struct{}, 1),
	}
}

// run keeps a session until ctx ends or bye is closed.
func (s *sessions) run(ctx context.Context) {
	defer close(s.done)
	var attempts again.Attempts
	for {
		welcomed, err := s.serve(ctx)
		if s.leaving() || ctx.Err() != nil {
			return
		}
		if err == nil {
			continue // kicked or expired: at once
		}
		s.fail(err)
		pause, tell := attempts.Failed(welcomed)
		if tell {
			s.logger.Warn("session stream broke; resuming", "error", err)
		}
		select {
		case <-time.After(pause):
		case <-s.bye:
		case <-ctx.Done():
		}
	}
}

func (s *sessions) leaving() bool {
	select {
	case <-s.bye:
		return true
	default:
		return false
	}
}

// serve opens one stream and keeps it alive until it breaks (an error), or is
// to be opened again (nil). welcomed tells whether the master took us in.
func (s *sessions) serve(ctx context.Context) (welcomed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.master.Session(ctx, grpc.WaitForReady(false))
	if err != nil {
		return false, proto.FromStatus(err)
	}
	hello := s.hello()
	s.leases.awaitUntold()
	sent := time.Now()
	if err := sendOn(stream, &pb.SessionRequest{Request: &pb.SessionRequest_Hello{Hello: hello}}); err != nil {
		return false, err
	}
	events := make(chan *pb.SessionEvent)
	broken := make(chan error, 1)
	go receive(ctx, stream, events, broken)
	return s.converse(stream, sent, events, broken)
}

func receive(ctx context.Context, stream pb.Master_SessionClient, events chan<- *pb.SessionEvent, broken chan<- error) {
	for {
		event, err := stream.Recv()
		if err != nil {
			broken <- proto.FromStatus(err)
			return
		}
		select {
		case events <- event:
		case <-ctx.Done():
			broken <- proto.FromStatus(ctx.Err())
			return
		}
	}
}

// converse handles events and keepalives of one stream, whose Hello was sent at that time.
func (s *sessions) converse(stream pb.Master_SessionClient, hello time.Time, events <-chan *pb.SessionEvent, broken <-chan error) (welcomed bool, err error) {
	const firstAnswer = 10 * time.Second
	timeout := firstAnswer
	silence := time.NewTimer(timeout) // runs out when the master says nothing
	defer silence.Stop()
	tick := time.NewTimer(timeout / 3)
	defer tick.Stop()
	repeat := false // the Hello under way is out of date already
	every := timeout / 3
	var sent []time.Time // KeepAlives that were not answered
	for {
		select {
		case event := <-events:
			switch e := event.Event.(type) {
			case *pb.SessionEvent_Welcome:
				timeout = max(time.Duration(e.Welcome.TimeoutMs)*time.Millisecond, 30*time.Millisecond)
				welcomed = true
				if err := s.adopt(e.Welcome, hello); err != nil {
					return false, err
				}
				if repeat {
					return true, nil
				}
				every = s.leases.keepAliveEvery(timeout)
				tick.Reset(every)
			case *pb.SessionEvent_Alive:
				if len(sent) > 0 {
					s.leases.renew(sent[0])
					sent = sent[1:]
				}
			case *pb.SessionEvent_Recall:
				s.leases.recalled(e.Recall)
			case *pb.SessionEvent_LockTurn:
				s.locks.turn(e.LockTurn.Ticket)
			case *pb.SessionEvent_Expired:
				s.expire()
				return true, nil
			}
			silence.Reset(timeout)
		case err := <-broken:
			return welcomed, err
		case <-silence.C:
			return welcomed, proto.E(proto.Unavailable, "keep session alive", "", "the master is silent")
		case <-tick.C:
			sent = append(sent, time.Now())
			if err := sendKeepAlive(stream, false); err != nil {
				return welcomed, err
			}
			tick.Reset(every)
		case <-s.returns:
			if err := s.answerRecalls(stream); err != nil {
				return welcomed, err
			}
		case <-s.kick:
			if repeat = true; welcomed {
				return true, nil
			}
		case <-s.bye:
			return welcomed, s.goodbye(stream, events, broken)
		}
	}
}

func sendKeepAlive(stream pb.Master_SessionClient, goodbye bool) error {
	return sendOn(stream, &pb.SessionRequest{Request: &pb.SessionRequest_KeepAlive{KeepAlive: &pb.KeepAlive{Goodbye: goodbye}}})
}

// sendOn sends while receive works on the stream. Why one has ended only receiving tells, so
// that is no error here.
func sendOn(stream pb.Master_SessionClient, request *pb.SessionRequest) error {
	if err := stream.Send(request); err != nil && err != io.EOF {
		return proto.FromStatus(err)
	}
	return nil
}

// goodbye ends the session at the master and waits a little for its answer.
func (s *sessions) goodbye(stream pb.Master_SessionClient, events <-chan *pb.SessionEvent, broken <-chan error) error {
	if err := sendKeepAlive(stream, true); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return proto.FromStatus(err)
	}
	timer := time.NewTimer(goodbyeWait)
	defer timer.Stop()
	for {
		select {
		case <-events:
		case <-broken:
			return nil
		case <-timer.C:
			return nil
		}
	}
}

func (s *sessions) hello() *pb.Hello {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hellos++
	hello := &pb.Hello{Client: s.name, Version: softwareVersion, Cluster: s.cluster, Leases: s.leases.wanted}
	if s.current != nil {
		hello.Resume = uint64(s.current.id)
		for ino, count := range s.opens {
			hello.Open = append(hello.Open, &pb.OpenCount{Inode: uint64(ino), Count: count})
		}
		hello.Exclusive = s.leases.suspend()
		hello.Locks = s.locks.wire() // those that are kept here do not change any more
		hello.OpenedHere = s.here.all()
	}
	return hello
}

// sendReturned has answers to recalls sent soon.
func (s *sessions) sendReturned() {
	select {
	case s.returns <- struct{}{}:
	default:
	}
}

func (s *sessions) answerRecalls(stream pb.Master_SessionClient) error {
	for _, r := range s.tellOpens(s.leases.takeReturned()) {
		if err := sendOn(stream, &pb.SessionRequest{Request: &pb.SessionRequest_Returned{Returned: r}}); err != nil {
			return err
		}
	}
	return nil
}

// adopt takes in the Welcome that answers a Hello: the session goes on, or is a new one.
func (s *sessions) adopt(w *pb.Welcome, hello time.Time) error {
	if err := checkWelcome(w); err != nil {
		return err
	}
	s.mu.Lock()
	if s.cluster != "" && s.cluster != w.Cluster {
		s.mu.Unlock()
		return proto.E(proto.WrongCluster, "resume session", w.Cluster, "this client belongs to "+s.cluster)
	}
	replaced := s.cluster != "" && s.current == nil
	s.cluster = w.Cluster
	resumed := s.current != nil && s.current.id == proto.SessionID(w.Session)
	s.leases.welcomed(w, hello, resumed)
	if !resumed {
		s.current = &session{id: proto.SessionID(w.Session), welcome: w, slots: newSlotTable(w.Slots), gone: make(chan struct{})}
	}
	s.welcomes++
	s.lastErr = nil
	s.announce()
	s.mu.Unlock()
	s.locks.turnAll()
	if replaced && s.onReplace != nil {
		s.onReplace()
	}
	return nil
}

func checkWelcome(w *pb.Welcome) error {
	_, err := proto.ParseClusterID(w.Cluster)
	size := w.ChunkSize
	if err != nil || w.Session == 0 || size < proto.MinChunkSize || size > proto.MaxChunkSize || size&(size-1) != 0 {
		return &proto.Error{Kind: proto.Malformed, Op: "open session", Detail: "the master's welcome makes no sense", Err: err}
	}
	return nil
}

// expire drops the current session: what it had open is gone at the master.
func (s *sessions) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return
	}
	s.logger.Error("session expired at the master; opening a new one", "session", uint64(s.current.id))
	close(s.current.gone)
	s.current = nil
	clear(s.opens)
	clear(s.closed)
	s.here = opensHere{}
	s.leases.expired() // so no lock is kept here any more
	s.locks.expire()
	s.announce()
}

func (s *sessions) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastErr = err
	s.announce()
}

// announce wakes whoever waits for a change; s.mu is held.
func (s *sessions) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// get waits for a session.
func (s *sessions) get(ctx context.Context) (*session, error) {
	for {
		s.mu.Lock()
		current, changed, lastErr := s.current, s.changed, s.lastErr
		s.mu.Unlock()
		if current != nil {
			return current, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, &proto.Error{Kind: proto.KindOf(ctx.Err()), Op: "wait for a session", Err: lastErr}
		}
	}
}

// verify is called when the master did not know a session: it says Hello again
// and waits for the answer, after which the session goes on or is gone.
func (s *sessions) verify(ctx context.Context, suspect *session) error {
	s.mu.Lock()
	seen := s.welcomes
	s.mu.Unlock()
	s.again()
	for {
		s.mu.Lock()
		known := s.current != suspect || s.welcomes != seen
		changed := s.changed
		s.mu.Unlock()
		if known {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return &proto.Error{Kind: proto.KindOf(ctx.Err()), Op: "resume session"}
		}
	}
}

// again breaks the stream, so that the master hears of all opens once more.
func (s *sessions) again() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Opens. The master counts opens of the session; a Hello sets the counts. An
// open that is answered while a Hello passes it by may be missing from both:
// then the counts are sent again.

// ticket is taken before an open or a release is sent, and given to its end.
func (s *sessions) ticket() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hellos
}

// opened counts an open that the master answered to the session.
func (s *sessions) opened(on *session, ino proto.InodeID, ticket uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != on {
		return
	}
	s.opens[ino]++
	if s.hellos != ticket {
		s.again()
	}
}

// reserved counts what was reserved in a session as open, if it is the current one.
func (s *sessions) reserved(on *session, reply *pb.ReserveReply, ticket uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != on {
		return false
	}
	for _, inodes := range [][]uint64{reply.Files, reply.Others} {
		for _, ino := range inodes {
			s.opens[proto.InodeID(ino)] = 1
		}
	}
	if s.hellos != ticket {
		s.again()
	}
	return true
}

// close notes that no file of the inode is open any more: all opens counted so
// far are to be given back by the next release. Who opens one meanwhile holds the inode.
func (s *sessions) close(ino proto.InodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.here.close(ino) {
		s.sendReturned()
	}
	if n := s.opens[ino]; n > 0 {
		s.closed[ino] = n
		s.release()
	}
}

// release has what is to be released sent soon.
func (s *sessions) release() {
	select {
	case s.releases <- struct{}{}:
	default:
	}
}

// releasable collects what the next Release gives back.
func (s *sessions) releasable() (on proto.SessionID, batch []*pb.OpenCount) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return 0, nil
	}
	for ino, n := range s.closed {
		if batch = append(batch, &pb.OpenCount{Inode: uint64(ino), Count: n}); len(batch) == releaseBatch {
			break
		}
	}
	return s.current.id, batch
}

// released takes a batch off after the master heard of it.
func (s *sessions) released(on proto.SessionID, batch []*pb.OpenCount, ticket uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil || s.current.id != on {
		return
	}
	for _, gone := range batch {
		ino := proto.InodeID(gone.Inode)
		subtract(s.opens, ino, gone.Count)
		subtract(s.closed, ino, gone.Count)
	}
	if s.hellos != ticket {
		s.again()
	}
}

func subtract(counts map[proto.InodeID]uint32, ino proto.InodeID, n uint32) {
	if counts[ino] <= n {
		delete(counts, ino)
	} else {
		counts[ino] -= n
	}
}
