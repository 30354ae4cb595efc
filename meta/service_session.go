package meta

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

type sessionStream = grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionEvent]

// Session serves one stream of a client. A session outlives its streams.
func (m *Master) Session(stream sessionStream) error {
	requests := make(chan *pb.SessionRequest)
	broken := make(chan error, 1)
	go receive(stream, requests, broken)
	one, err := m.greet(stream, requests, broken)
	if one == nil || err != nil {
		return err
	}
	feed := m.sessions.attach(one)
	m.locks.thaw()
	m.leases.thaw(false)
	if err := stream.Send(m.welcome(one)); err != nil {
		return err
	}
	if err := m.sendRecalls(stream, m.leases.unanswered(one)); err != nil {
		return err
	}
	for {
		select {
		case request := <-requests:
			if returned := request.GetReturned(); returned != nil {
				m.sessions.openedHere(one, feed, returned) // before the leases go
				m.leases.returned(one, returned)
				continue
			}
			if alive := request.GetKeepAlive(); alive.GetGoodbye() {
				m.endSession(one, goodbye, 0, 0)
				return nil
			}
			if m.leases.stubborn(one) {
				continue
			}
			if !m.sessions.keepAlive(one) {
				return sendExpired(stream)
			}
			if err := stream.Send(&pb.SessionEvent{Event: &pb.SessionEvent_Alive{Alive: &pb.Alive{}}}); err != nil {
				return err
			}
		case err := <-broken:
			return endOfStream(err)
		case <-feed.wake:
			if err := sendTurns(stream, feed); err != nil {
				return err
			}
			if err := m.sendRecalls(stream, m.leases.take(one, feed)); err != nil {
				return err
			}
		case <-feed.replaced:
			return proto.E(proto.Unavailable, "keep session alive", sessionName(one.id), "a later stream of the session took over")
		case <-one.ended:
			return sendExpired(stream)
		case <-m.stopping.Done():
			return m.goingDown("keep session alive")
		}
	}
}

// receive hands over what arrives on a stream until it breaks or its handler returns.
func receive[T any](stream interface {
	Recv() (*T, error)
	Context() context.Context
}, messages chan<- *T, broken chan<- error) {
	for {
		message, err := stream.Recv()
		if err != nil {
			broken <- err
			return
		}
		select {
		case messages <- message:
		case <-stream.Context().Done():
			return
		}
	}
}

// endOfStream is what a handler answers to the end of its stream.
func endOfStream(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (m *Master) goingDown(op string) error {
	return proto.E(proto.Unavailable, op, "", "the master is being stopped")
}

func sendExpired(stream sessionStream) error {
	return stream.Send(&pb.SessionEvent{Event: &pb.SessionEvent_Expired{Expired: &pb.Expired{}}})
}

func sendTurns(stream sessionStream, f *feed) error {
	tickets, full := f.take()
	if full {
		return proto.E(proto.Unavailable, "tell whose turn it is to lock", "", "the client has not listened; resume the session")
	}
	for _, ticket := range tickets {
		if err := stream.Send(&pb.SessionEvent{Event: &pb.SessionEvent_LockTurn{LockTurn: &pb.LockTurn{Ticket: ticket}}}); err != nil {
			return err
		}
	}
	return nil
}

// helloWithin is how long a new stream may take to say who it is.
const helloWithin = 10 * time.Second

// greet waits for Hello and finds or opens the session; nil without an error when
// the session that was to be resumed is gone and the client was told.
func (m *Master) greet(stream sessionStream, requests <-chan *pb.SessionRequest, broken <-chan error) (*session, error) {
	timer := time.NewTimer(helloWithin)
	defer timer.Stop()
	var hello *pb.Hello
	select {
	case request := <-requests:
		if hello = request.GetHello(); hello == nil {
			return nil, proto.E(proto.Malformed, "open session", "", "the first message must be Hello")
		}
	case err := <-broken:
		return nil, endOfStream(err)
	case <-timer.C:
		return nil, proto.E(proto.Timeout, "open session", "", "no Hello came")
	case <-m.stopping.Done():
		return nil, m.goingDown("open session")
	}
	cluster, err := proto.ParseClusterID(hello.Cluster)
	if err != nil {
		return nil, err
	}
	if cluster != (proto.ClusterID{}) && cluster != m.cluster.Cluster {
		return nil, proto.E(proto.WrongCluster, "open session", hello.Client,
			fmt.Sprintf("this is the master of cluster %v, not of %v", m.cluster.Cluster, cluster))
	}
	if hello.Resume == 0 {
		return m.openSession(hello)
	}
	one := m.sessions.find(proto.SessionID(hello.Resume))
	if one == nil {
		return nil, sendExpired(stream)
	}
	if m.leases.stubborn(one) {
		return nil, proto.E(proto.Unavailable, "resume session", sessionName(one.id), "it has kept leases that others wait for, and is about to be ended")
	}
	m.sessions.claim(one, hello.Open, inodesOf(hello.OpenedHere))
	for _, ino := range m.sessions.written(one) {
		m.writtenTo(ino)
	}
	if hello.Leases {
		m.leases.open(one, hello.Exclusive)
	}
	if lost := m.locks.claim(one, hello.Locks); lost > 0 {
		m.log.Warn("a client claimed locks that it cannot have", "session", one.id, "client", one.client, "locks", lost)
	}
	return one, nil
}

func (m *Master) openSession(hello *pb.Hello) (*session, error) {
	client := hello.Client
	if len(client) > state.MaxAddress {
		client = client[:state.MaxAddress]
	}
	result, err := m.propose(&state.OpenSession{Client: client, Now: m.now()})
	if err != nil {
		return nil, &proto.Error{Kind: proto.KindOf(err), Op: "open session", Subject: client, Err: err}
	}
	m.log.Info("session opened", "session", result.Session, "client", client)
	one := m.sessions.add(result.Session, client)
	if hello.Leases {
		m.leases.open(one, nil)
	}
	return one, nil
}

func (m *Master) welcome(one *session) *pb.SessionEvent {
	return &pb.SessionEvent{Event: &pb.SessionEvent_Welcome{Welcome: &pb.Welcome{
		Session: uint64(one.id), Cluster: m.cluster.Cluster.String(), Epoch: uint64(m.cluster.Epoch),
		TimeoutMs: uint32(m.cfg.SessionTimeout.Milliseconds()), Slots: slots,
		ChunkSize: m.cluster.ChunkSize, Replicas: m.cluster.Replicas, MinReplicas: m.cluster.MinReplicas,
		Root: uint64(proto.RootInode), LeaseMs: uint32(m.leases.period.Milliseconds()),
	}}}
}

// goodbye is why a session ends that its client has ended.
const goodbye = "goodbye"

// endSession forgets a session here and in the log, if it has been silent for as long as
// sessions.end says. If the log does not take it, the session comes back with the next
// start of the master and expires again.
func (m *Master) endSession(one *session, why string, unheard, dead time.Duration) {
	written, unknown := m.sessions.written(one), m.sessions.isSilent(one)
	if !m.sessions.end(one, unheard, dead) {
		return
	}
	if why != goodbye { // before anybody else may write
		for _, ino := range written {
			m.abandoned(ino)
		}
		if unknown {
			m.renewals.suspectAll()
			for _, ino := range m.sessions.writtenByAny() {
				m.writtenTo(ino)
			}
		}
	}
	one.behind.end() // before anybody else sees what it changed
	m.locks.end(one)
	m.locks.thaw()
	m.leases.end(one, why == goodbye)
	m.leases.thaw(false)
	if _, err := m.propose(&state.EndSession{Session: one.id, Now: m.now()}); err != nil {
		m.log.Warn("end of a session could not be logged", "session", one.id, "error", err)
	}
	m.log.Info("session ended", "session", one.id, "client", one.client, "why", why)
}

// expireSessions ends the sessions that have been silent for too long, or that others
// wait for in vain.
func (m *Master) expireSessions(ctx context.Context) {
	every(ctx, min(time.Second, m.cfg.SessionTimeout/4), nil, func() {
		for _, one := range m.sessions.silent() {
			m.endSession(one, "silent", m.cfg.SessionTimeout, 0)
		}
		for _, one := range m.leases.overdue() {
			m.endSession(one, "others wait for its leases", 0, m.leases.period)
		}
	})
}

func sessionName(id proto.SessionID) string { return fmt.Sprintf("session %d", id) }
