package fusefs

import (
	"context"
	"sync/atomic"
	"time"
)

// arrivals knows which of the kernel's requests have got to their handlers. The kernel numbers
// requests in the order in which it sends them, two apart (include/uapi/linux/fuse.h: the odd
// numbers are their interrupts); several readers may take them, so that a
// handler may begin before that of an earlier request. Where it matters, it waits here: not for
// long, should a number never come. A request that is answered has come (device.answered); handlers
// that may take long, or that somebody waits for, say it when they begin.
type arrivals struct {
	newest [remembered]atomic.Uint64 // of those numbers that share a place, the highest that has come
}

const (
	step       = 2    // between the numbers of two requests
	remembered = 1024 // requests; what is older has come
	patience   = 50 * time.Millisecond
	look       = 50 * time.Microsecond // how often it is looked whether a request has come
)

// come notes that a request has got to its handler, where whoever waits for it finds it.
func (a *arrivals) come(number uint64) {
	place := a.place(number)
	for {
		old := place.Load()
		if old >= number || place.CompareAndSwap(old, number) {
			return
		}
	}
}

func (a *arrivals) place(number uint64) *atomic.Uint64 { return &a.newest[number/step%remembered] }

// before waits until all requests that were sent before one have come.
func (a *arrivals) before(ctx context.Context, number uint64) {
	for end := time.Now().Add(patience); a.late(number) && time.Now().Before(end); time.Sleep(look) {
		if ctx.Err() != nil {
			return
		}
	}
	a.each(number, a.come)
}

// late tells whether a request sent before this one has not come.
func (a *arrivals) late(number uint64) (late bool) {
	a.each(number, func(earlier uint64) { late = late || a.place(earlier).Load() < earlier })
	return late
}

// each calls f with the numbers before one that are remembered, from where there are any.
func (a *arrivals) each(number uint64, f func(earlier uint64)) {
	oldest := uint64(step)
	if number > step*remembered {
		oldest = number - step*(remembered-1)
	}
	for earlier := oldest; earlier < number; earlier += step {
		f(earlier)
	}
}
