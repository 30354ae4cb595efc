package meta

import "sync"

// feed is what one stream of a session has to tell its client beside answers to
// keepalives. What a feed that was replaced did not deliver is not lost: a client that
// resumes asks again for all it waits for.
type feed struct {
	replaced chan struct{} // closed when a later stream of the session took over
	wake     chan struct{} // has one when there are turns, or recalls

	mu    sync.Mutex // protects below
	turns []uint64   // tickets
	full  bool       // there were more than may wait: the client is not listening
}

func newFeed() *feed {
	return &feed{replaced: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// add does not block.
func (f *feed) add(ticket uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.turns) >= maxTurns {
		f.full = true
	} else {
		f.turns = append(f.turns, ticket)
	}
	f.nudge()
}

// nudge has the stream look what there is to tell.
func (f *feed) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// take gives the tickets since the last call; full ends the stream.
func (f *feed) take() (tickets []uint64, full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	tickets, f.turns = f.turns, nil
	return tickets, f.full
}
