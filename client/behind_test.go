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

// mutedStream takes messages and answers none.
type mutedStream struct {
	behindStream
	sent []*pb.ChangesBehind
}

func (s *mutedStream) Send(message *pb.ChangesBehind) error {
	s.sent = append(s.sent, message)
	return nil
}

// That a file was made is sent before its close where files are closed as they were made, unless
// more is on its way.
func TestWhatIsClosedAsMadeIsSentAtOnce(t *testing.T) {
	b, out := newBehind(nil), &mutedStream{}
	b.stream, b.running, b.pushing = out, true, true
	arrive := func(sequence uint64) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.advance(&pb.DurableBehind{Received: sequence})
	}
	b.add(&pb.ChangeBehind{})
	b.made()
	if len(out.sent) != 0 {
		t.Fatal("it was sent though files may well be written to")
	}
	b.closes(true)
	b.made()
	if len(out.sent) != 1 || !out.sent[0].TellReceived || len(out.sent[0].Changes) != 1 {
		t.Fatalf("sent %v", out.sent)
	}
	b.add(&pb.ChangeBehind{})
	b.made()
	if len(out.sent) != 1 {
		t.Fatal("it did not wait for what is on its way")
	}
	arrive(1)
	b.made()
	if len(out.sent) != 2 {
		t.Fatal("it waited for what had arrived")
	}
	arrive(2)
	b.closes(false)
	b.add(&pb.ChangeBehind{})
	b.made()
	if len(out.sent) != 2 {
		t.Fatal("a file that is written to was sent twice")
	}
}
