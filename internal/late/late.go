package late

import (
	"context"
	"sync"
	"time"
)

// Hinter is a context whose Done is dear and whose Hint is not.
type Hinter interface {
	context.Context

	// Hint is closed before Done is, unless that comes of the deadline. It may be closed
	// although Done never will be. nil: only the deadline counts.
	Hint() <-chan struct{}
}

// Context is context.WithTimeout made when it is needed. Its zero value is of no use.
type Context struct {
	parent   context.Context
	deadline time.Time

	mu     sync.Mutex
	ctx    context.Context // nil until Done or Value
	cancel context.CancelFunc
}

// WithTimeout gives a context that ends with its parent, or after d. Call End when it
// is not needed any more.
func WithTimeout(parent context.Context, d time.Duration) *Context {
	deadline := time.Now().Add(d)
	if earlier, ok := parent.Deadline(); ok && earlier.Before(deadline) {
		deadline = earlier
	}
	return &Context{parent: parent, deadline: deadline}
}

// End releases what the context holds; it has ended then for those who asked for Done
// before.
func (c *Context) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
	}
}

// Hint implements Hinter.
func (c *Context) Hint() <-chan struct{} {
	if h, ok := c.parent.(Hinter); ok {
		return h.Hint()
	}
	return c.parent.Done()
}

func (c *Context) made() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithDeadline(c.parent, c.deadline)
	}
	return c.ctx
}

// Deadline implements context.Context.
func (c *Context) Deadline() (time.Time, bool) { return c.deadline, true }

// Done implements context.Context.
func (c *Context) Done() <-chan struct{} { return c.made().Done() }

// Err implements context.Context.
func (c *Context) Err() error {
	c.mu.Lock()
	made := c.ctx
	c.mu.Unlock()
	switch {
	case made != nil:
		return made.Err()
	case !time.Now().Before(c.deadline):
		return context.DeadlineExceeded
	}
	return c.parent.Err()
}

// Value implements context.Context; contexts made from this one find their parent by it.
func (c *Context) Value(key any) any { return c.made().Value(key) }

// Wait returns when done is closed, or with the reason when the context has ended before.
func Wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	default:
	}
	if calm, ok := ctx.(Hinter); ok {
		if _, limited := ctx.Deadline(); !limited {
			select {
			case <-done:
				return nil
			case <-calm.Hint():
			}
		}
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
