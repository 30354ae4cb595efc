package fusefs

import (
	"context"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// killPoll is how often a call that was interrupted looks whether its process
// is being killed. The kernel reports the first signal only, so it has to look.
const killPoll = 100 * time.Millisecond

// call is the context of one request. It ends when the process that waits for
// the answer is being killed.
//
// The kernel interrupts a request for any signal with a handler: the timer of
// git's progress line, the SIGURG by which Go preempts goroutines. Answering EINTR
// to those would break programs that never see EINTR from a local filesystem, and
// if the call had been carried out meanwhile, a repeated mkdir would fail. So only
// a signal that ends the process breaks a call off, as with NFS.
//
// The context and its watching goroutine are made when somebody asks for Done:
// most calls are answered without.
type call struct {
	interrupt <-chan struct{}
	thread    uint32 // that waits for the answer; 0: none that is visible here, or no matter
	dying     func(thread uint32) bool
	sets      uint64 // plainTable.sets when it began
	number    uint64
	waiting   func(number uint64) // device.waits

	mu     sync.Mutex
	ctx    context.Context // nil until Done or Value
	cancel context.CancelFunc
}

// begin makes the context of a request; the handler defers its end.
func (s *fileSystem) begin(interrupt <-chan struct{}, header *fuse.InHeader) *call {
	s.arrivals.come(header.Unique)
	return &call{interrupt: interrupt, thread: header.Pid, dying: s.dying, sets: s.plain.sets.Load(), number: header.Unique, waiting: s.waits}
}

// beginInterruptible makes the context of a request that ends at any signal.
func (s *fileSystem) beginInterruptible(interrupt <-chan struct{}, header *fuse.InHeader) *call {
	s.arrivals.come(header.Unique)
	return &call{interrupt: interrupt, number: header.Unique, waiting: s.waits}
}

// end releases what the call holds. The context has ended then.
func (c *call) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
	}
}

func (c *call) context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancel(context.Background())
		go c.watch(c.ctx, c.cancel)
	}
	return c.ctx
}

// watch ends the context when an interrupt came and the process is dying.
func (c *call) watch(ctx context.Context, cancel context.CancelFunc) {
	select {
	case <-ctx.Done():
		return
	case <-c.interrupt:
	}
	ticker := time.NewTicker(killPoll)
	defer ticker.Stop()
	for c.thread != 0 && !c.dying(c.thread) {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
	cancel()
}

// Deadline implements context.Context.
func (c *call) Deadline() (time.Time, bool) { return time.Time{}, false }

// waits notes that the handler may not go on for a while: somebody else is to look for requests.
func (c *call) waits() {
	if c.waiting != nil {
		c.waiting(c.number)
	}
}

// Done implements context.Context. Who asks is about to wait.
func (c *call) Done() <-chan struct{} {
	c.waits()
	return c.context().Done()
}

// Hint implements late.Hinter: nothing ends a call that was not interrupted.
func (c *call) Hint() <-chan struct{} {
	c.waits()
	return c.interrupt
}

// Err implements context.Context.
func (c *call) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		return nil
	}
	return c.ctx.Err()
}

// Value implements context.Context; contexts made from this one find their
// parent by it.
func (c *call) Value(key any) any { return c.context().Value(key) }
