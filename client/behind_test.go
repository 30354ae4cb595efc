package client

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/proto/pb"
)

// promptStream is one whose answer is taken in before Send returns.
type promptStream struct {
	behindStream
	b *behind
}

func (s promptStream) Send(message *pb.ChangesBehind) error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	reply := &pb.DurableBehind{Received: message.First - 1 + uint64(len(message.Changes))}
	if message.TellDurable {
		reply.Durable = reply.Received
	}
	s.b.advance(reply)
	return nil
}

// Who waits for an answer does not miss one that comes while the question is being sent.
func TestNobodyWaitsForAnAnswerThatHasCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBehind(nil)
		b.stream, b.running, b.pushing = promptStream{b: b}, true, true
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		must(t, b.arrive(ctx, b.add(&pb.ChangeBehind{})))
		must(t, b.settle(ctx))
		b.add(&pb.ChangeBehind{})
		must(t, b.settle(ctx))
	})
}
