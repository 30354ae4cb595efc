package fusefs

import (
	"slices"
	"sync/atomic"
	"time"
)

// watchdog sees to it that requests are read although the handlers of all readers on duty take long: for a
// mutex, or a disk. It looks every millisecond, as long as there are requests.
type watchdog struct {
	requests atomic.Uint64
	asleep   atomic.Bool
	wake     chan struct{} // has one when it is to wake up
}

const (
	watchEvery = time.Millisecond
	watchFor   = 20 // times without a request, and the watchdog sleeps
)

// see notes a request.
func (w *watchdog) see() {
	w.requests.Add(1)
	if w.asleep.Load() && w.asleep.CompareAndSwap(true, false) {
		w.wake <- struct{}{}
	}
}

func (w *watchdog) run(d *device) {
	seen, quiet := w.requests.Load(), 0
	for {
		time.Sleep(watchEvery)
		busy, over := d.relieve()
		if over {
			return
		}
		now := w.requests.Load()
		if quiet++; busy || now != seen {
			quiet = 0
		}
		if seen = now; quiet < watchFor {
			continue
		}
		if w.asleep.Store(true); w.requests.Load() != seen && w.asleep.CompareAndSwap(true, false) {
			continue
		}
		select {
		case <-w.wake:
		case <-d.ended:
			return
		}
	}
}

// relieve takes readers off duty that were at the same request when it was called last. busy: some
// are at one.
func (d *device) relieve() (busy, over bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range slices.Clone(d.duty) {
		if busy = busy || r.number != 0; r.number != 0 && r.number == r.watched {
			d.leave(r)
		}
		r.watched = r.number
	}
	return busy, d.over
}
