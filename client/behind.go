package client

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/distrifs/distrifs/internal/again"
	"github.com/distrifs/distrifs/internal/late"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Changes behind. What this client changes under exclusive leases it answers itself
// (localnames.go) and sends to the master soon, in order, many to a message, without
// waiting. The master says when it has received them, and when they are durable, at once if
// somebody waits for that; they are kept until they are durable, and sent again to a
// master that was started anew.
//
// Whatever asks the master waits until all that was changed before is carried out there:
// so its answers never lack it.

const (
	maxBehind     = 1 << 13          // changes that are not durable; then calls wait for the master again
	behindMessage = 512              // changes of one message
	streamWorked  = time.Second      // a stream that broke after so long had worked
	pushAfter     = time.Millisecond // a change, unless somebody waits for it: so where there are many they go together
)

// behind are the changes that are not durable yet.
type behind struct {
	c    *Client
	open func(context.Context) (behindStream, error)

	mu       sync.Mutex // protects below; a leaf
	changed  *sync.Cond
	pending  []*pb.ChangeBehind // in order; the first has the sequence durable+1
	durable  uint64             // changes up to this sequence are in the log
	received uint64             // and up to this the master has them
	sent     uint64             // and these are on the present stream
	round    uint64             // raised when what is pending was lost
	running  bool               // run works on it
	stream   behindStream       // that is open; nil: none
	sending  bool               // somebody sends on it
	asked    [2]uint64          // on it: up to these sequences the master will say at once that a stage is reached
	asks     [2]bool            // with the next message
	pushing  bool               // a timer runs that will send
	touching bool               // files are made and closed, with nothing in between
	waiters  []*behindWaiter

	lost map[proto.InodeID]error // directories, whose next sync reports it
}

// behindStream is what behind needs of a stream to the master.
type behindStream interface {
	Send(*pb.ChangesBehind) error
	Recv() (*pb.DurableBehind, error)
	CloseSend() error
}

// mark is a place in the succession of changes.
type mark struct{ round, sequence uint64 }

// stage is what a change has come to.
type stage int

const (
	arrived stage = iota // the master has it: it survives this client
	settled              // it is in the synced log, and carried out
)

// behindWaiter waits until changes have come to a stage, or are lost.
type behindWaiter struct {
	stage    stage
	sequence uint64
	over     chan struct{}
}

// reached is the sequence up to which changes have come to a stage; mu is held.
func (b *behind) reached(s stage) uint64 {
	if s == settled {
		return b.durable
	}
	return b.received
}

// hasCome tells whether changes have come to a stage, or are lost; mu is held.
func (b *behind) hasCome(m mark, s stage) bool {
	return b.round != m.round || b.reached(s) >= m.sequence
}

func newBehind(c *Client) *behind {
	b := &behind{c: c}
	b.changed = sync.NewCond(&b.mu)
	b.open = func(ctx context.Context) (behindStream, error) { return c.master.ChangeBehind(ctx) }
	return b
}

// hasRoom tells whether one more may be added.
func (b *behind) hasRoom() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pending) < maxBehind
}

// add appends a change; leases.mu is held, so that the order is that in which what is
// cached was changed.
func (b *behind) add(change *pb.ChangeBehind) mark {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending = append(b.pending, change)
	if !b.running {
		b.running = true
		b.c.workers.Go(b.run)
	}
	if !b.pushing {
		b.pushing = true
		time.AfterFunc(pushAfter, b.pushLate)
	}
	return mark{b.round, b.durable + uint64(len(b.pending))}
}

// push sends what is to be sent, unless somebody does it already. It needs mu, and lets it
// go meanwhile.
func (b *behind) push() {
	if b.stream == nil || b.sending {
		return
	}
	b.sending = true
	for stream := b.stream; stream == b.stream; {
		message := b.next()
		if message == nil {
			break
		}
		b.mu.Unlock()
		err := stream.Send(message)
		b.mu.Lock()
		if err != nil { // receive has the reason
			break
		}
	}
	b.sending = false
	b.changed.Broadcast()
}

// pushLate sends what nobody has waited for.
func (b *behind) pushLate() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pushing = false
	b.push()
}

// last is the last change.
func (b *behind) last() mark {
	b.mu.Lock()
	defer b.mu.Unlock()
	return mark{b.round, b.durable + uint64(len(b.pending))}
}

// settle waits until all changes so far are durable, or lost.
func (b *behind) settle(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pending) == 0 {
		return nil
	}
	return b.await(ctx, mark{b.round, b.durable + uint64(len(b.pending))}, settled)
}

// settleAlways waits for that as long as the client lives.
func (b *behind) settleAlways() {
	_ = b.settle(b.c.background)
}

// hurry has the changes so far sent, and settled soon, for somebody is about to wait for that.
func (b *behind) hurry() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asks[settled] = true
	b.push()
}

// made has it sent at once that a file was made, if files are closed then: the master has it
// while the program gets its answer and asks for the close. Where more is on its way, that close
// sends it with what others have done meanwhile.
func (b *behind) made() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.touching && b.asked[arrived] <= b.received {
		b.asks[arrived] = true
		b.push()
	}
}

// closes notes whether a file is closed as it was made.
func (b *behind) closes(asMade bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.touching = asMade
}

// arrive waits until the master has received a change.
func (b *behind) arrive(ctx context.Context, m mark) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.await(ctx, m, arrived)
}

// await needs mu, and lets it go while it waits.
func (b *behind) await(ctx context.Context, m mark, to stage) error {
	if !b.hasCome(m, to) && b.asked[to] < m.sequence {
		b.asks[to] = true
		b.push() // the answer may be there before it has returned
	}
	if b.hasCome(m, to) {
		return nil
	}
	w := &behindWaiter{to, m.sequence, make(chan struct{})}
	b.waiters = append(b.waiters, w)
	b.mu.Unlock()
	err := late.Wait(ctx, w.over)
	b.mu.Lock()
	if err != nil {
		b.waiters = slices.DeleteFunc(b.waiters, func(other *behindWaiter) bool { return other == w })
		return interrupted(ctx, "wait for changes of names")
	}
	return nil
}

// wake lets those go on whose changes have come far enough, or are lost: all of them. mu is held.
func (b *behind) wake(lost bool) {
	b.waiters = slices.DeleteFunc(b.waiters, func(w *behindWaiter) bool {
		over := lost || b.reached(w.stage) >= w.sequence
		if over {
			close(w.over)
		}
		return over
	})
}

// run sends what is pending as long as the client lives.
func (b *behind) run() {
	ctx := b.c.background
	var attempts again.Attempts
	for ctx.Err() == nil {
		began := time.Now()
		s, err := b.c.sessions.get(ctx)
		if err == nil {
			err = b.serve(ctx, s)
		}
		if ctx.Err() != nil {
			return
		}
		if proto.KindOf(err) == proto.SessionExpired && s != nil {
			_ = b.c.sessions.verify(ctx, s) // it fails only when the client ends
		}
		pause, tell := attempts.Failed(time.Since(began) > streamWorked)
		if tell {
			b.c.opts.Logger.Warn("stream of changes broke; sending again", "error", err)
		}
		_ = wait(ctx, pause) // likewise
	}
}

// serve opens a stream and sends on it until it breaks.
func (b *behind) serve(ctx context.Context, s *session) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := b.open(ctx)
	if err != nil {
		return proto.FromStatus(err)
	}
	round := b.last().round
	if err := stream.Send(&pb.ChangesBehind{Session: uint64(s.id)}); err != nil {
		return b.streamError(stream, err)
	}
	first, err := stream.Recv()
	if err != nil {
		return proto.FromStatus(err)
	}
	if s.expired() || !b.resume(stream, round, first) {
		return proto.E(proto.Unavailable, "change names", "", "the session or its changes are not those there were")
	}
	defer b.close(stream)
	return b.receive(stream, round)
}

func (b *behind) streamError(stream behindStream, err error) error {
	if _, got := stream.Recv(); got != nil {
		err = got
	}
	return proto.FromStatus(err)
}

// resume goes on behind what the master has.
func (b *behind) resume(stream behindStream, round uint64, first *pb.DurableBehind) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.sending { // on a stream that is broken
		b.changed.Wait()
	}
	if b.round != round || first.Durable < b.durable || first.Durable > b.durable+uint64(len(b.pending)) {
		return false
	}
	b.sent, b.received = b.durable, b.durable
	b.advance(first)
	b.stream = stream
	b.asked, b.asks = [2]uint64{}, [2]bool{true, true} // somebody may be waiting
	b.push()
	return true
}

func (b *behind) close(stream behindStream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stream == stream {
		b.stream = nil
	}
}

// next gives the message to be sent now; nil: there is none. mu is held.
func (b *behind) next() *pb.ChangesBehind {
	unsent := b.pending[b.sent-b.durable:]
	if len(unsent) == 0 && b.asks == [2]bool{} {
		return nil
	}
	message := &pb.ChangesBehind{First: b.sent + 1}
	message.Changes = append(message.Changes, unsent[:min(len(unsent), behindMessage)]...)
	b.sent += uint64(len(message.Changes))
	if len(message.Changes) == len(unsent) {
		message.TellReceived, message.TellDurable = b.asks[arrived], b.asks[settled]
		for s, asks := range b.asks {
			if asks {
				b.asked[s] = b.sent
			}
		}
		b.asks = [2]bool{}
	}
	return message
}

// receive hears how far the changes have come, until the stream breaks.
func (b *behind) receive(stream behindStream, round uint64) error {
	for {
		reply, err := stream.Recv()
		if err != nil {
			return proto.FromStatus(err)
		}
		b.mu.Lock()
		same := b.round == round
		if same {
			b.advance(reply)
		}
		b.mu.Unlock()
		switch {
		case !same:
			return proto.E(proto.Unavailable, "change names", "", "changes were lost")
		case reply.Failed != 0:
			b.c.loseBehind(round, &proto.Error{Kind: proto.Kind(reply.Kind), Op: "change names", Detail: reply.Detail})
			return proto.E(proto.Unavailable, "change names", "", "the master has refused a change")
		}
	}
}

// advance takes in how far the changes have come; mu is held.
func (b *behind) advance(reply *pb.DurableBehind) {
	if more := reply.Durable - b.durable; reply.Durable > b.durable && more <= uint64(len(b.pending)) {
		b.pending = b.pending[more:]
		b.durable = reply.Durable
		if len(b.pending) == 0 {
			b.pending = nil
		}
	}
	b.received = max(b.received, b.durable, reply.Received)
	b.sent = max(b.sent, b.durable)
	b.wake(false)
}

// lose gives up what is pending. With a new session the sequence begins anew.
func (b *behind) lose(anew bool) (lost []*pb.ChangeBehind) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lost, b.pending = b.pending, nil
	if anew {
		b.durable = 0
	}
	b.received, b.sent = b.durable, b.durable
	b.stream = nil // what comes now begins another one
	b.round++
	b.wake(true)
	return lost
}
