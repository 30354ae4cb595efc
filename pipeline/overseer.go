package pipeline

import (
	"sync/atomic"
	"time"
)

const (
	overseerTick  = time.Millisecond
	overseerQuiet = 20 // ticks without a request being served, after which it sleeps
)

// overseer looks every millisecond for connections whose reading role is held up.
// While nothing is served it sleeps.
type overseer struct {
	asleep atomic.Bool
	wake   chan struct{}
}

// touch is called after a request's ticket was published.
func (o *overseer) touch() {
	if o.asleep.Load() && o.asleep.CompareAndSwap(true, false) {
		o.wake <- struct{}{}
	}
}

// oversee runs until the server stops.
func (s *Server) oversee() {
	o := &s.overseer
	ticker := time.NewTicker(overseerTick)
	defer ticker.Stop()
	for quiet := 0; ; quiet++ {
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
			return
		}
		if s.takeOver() {
			quiet = 0
		}
		if quiet < overseerQuiet {
			continue
		}
		o.asleep.Store(true)
		if s.takeOver() && o.asleep.CompareAndSwap(true, false) { // published before it could see us asleep
			quiet = 0
			continue
		}
		ticker.Stop()
		select {
		case <-o.wake:
		case <-s.ctx.Done():
			return
		}
		ticker.Reset(overseerTick)
		quiet = 0
	}
}

// takeOver looks at each connection, and says whether any serves a request.
func (s *Server) takeOver() (busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.takeOver() {
			busy = true
		}
	}
	return busy
}
