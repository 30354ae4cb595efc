package client

import (
	"context"
	"sync"

	"github.com/distrifs/distrifs/internal/late"
)

// signal is sync.Cond for those who wait with a context, too.
type signal struct {
	mu   sync.Locker   // guards it, and is held in each call
	next chan struct{} // closed with the next broadcast; nil: nobody waits
}

// broadcast wakes all who wait.
func (s *signal) broadcast() {
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}

// wait lets mu go until the next broadcast, or until the context has ended: then it gives the reason.
func (s *signal) wait(ctx context.Context) error {
	if s.next == nil {
		s.next = make(chan struct{})
	}
	next := s.next
	s.mu.Unlock()
	defer s.mu.Lock()
	return late.Wait(ctx, next)
}
