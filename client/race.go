package client

import (
	"context"
	"sync"
	"time"

	"github.com/distrifs/distrifs/internal/late"
	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
)

// A read asks one replica. When that takes longer than such reads do, a second one is
// asked as well: who answers first wins, and the other is given up. So a server that
// hangs, or whose disk does, costs a reader little more than the wait (health.patience),
// not its time-out.
//
// The extra load is bounded: one read in hedgeShare may be asked for twice, and hedgeBurst
// more after quiet times. When all servers are slow, racing ends by that.
const (
	hedgeShare = 20
	hedgeBurst = 10
)

// hedges is the right to ask twice.
type hedges struct {
	mu     sync.Mutex
	credit float64 // reads that may be asked for twice
}

func newHedges() *hedges { return &hedges{credit: hedgeBurst} }

// earn counts a read.
func (h *hedges) earn() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.credit = min(h.credit+1.0/hedgeShare, hedgeBurst)
}

// take tells whether a read may be asked for twice.
func (h *hedges) take() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.credit < 1 {
		return false
	}
	h.credit--
	return true
}

// race is a read of a range of a chunk from the first of some replicas, or the second. It
// is the context of the first one's request as well: who waits for that asks for Done when
// the deadline has come, which is when patience ends, and with that the second
// begins. A read that is answered in time so costs no timer and no goroutine (late.Hinter).
type race struct {
	context.Context // of the whole read
	c               *Client
	loc             location
	first, second   pipeline.Hop
	size            int
	at              int64
	began           time.Time
	patience        time.Time // when the second is asked

	mu     sync.Mutex
	ctx    context.Context // of the first; nil until Done is asked for
	cancel context.CancelFunc
	giveUp context.CancelFunc // of the second
	over   chan struct{}      // closed when the second is; nil: there is none

	// Of the second; known when over is closed.
	asked  bool
	err    error
	n      int
	buffer *pipeline.Buffer // nil: it has not succeeded
}

// outcome is how one replica answered.
type outcome struct {
	hop pipeline.Hop
	err error
}

// readFirst reads from the first replica of an order, which is not empty, or the second. It
// returns how those that were asked answered, in that order; the read has succeeded if
// one has no error.
func (c *Client) readFirst(ctx context.Context, loc location, order []pipeline.Hop, p []byte, at int64) (n int, outcomes []outcome) {
	now := time.Now()
	r := &race{Context: ctx, c: c, loc: loc, first: order[0], size: len(p), at: at, began: now, patience: now.Add(replicaTimeout)}
	if len(order) > 1 && len(p) <= pipeline.MaxPayload {
		r.second = order[1]
		r.patience = now.Add(c.health.patience(order, len(p)))
	}
	c.hedges.earn()
	c.health.begin(r.first.Node)
	n, err := c.data.Read(r, r.request(r.first), p)
	won := r.end(err == nil)
	overtaken := won && proto.KindOf(err) == proto.Interrupted
	switch took := time.Since(now); {
	case ctx.Err() != nil:
		c.health.end(r.first.Node, unmeasured, took, true)
	case overtaken:
		c.health.end(r.first.Node, len(p), took, true) // it takes that long at least
	default:
		c.health.end(r.first.Node, n, took, err == nil)
		r.warn(err)
	}
	if won {
		n = copy(p, r.buffer.Bytes[:r.n])
	}
	if r.buffer != nil {
		r.buffer.Release()
	}
	outcomes = append(outcomes, outcome{r.first, err})
	if r.asked {
		outcomes = append(outcomes, outcome{r.second, r.err})
	}
	return n, outcomes
}

func (r *race) warn(err error) {
	if err != nil {
		r.c.opts.Logger.Warn("replica failed; trying another", "chunk", r.loc.chunk.String(), "node", uint32(r.first.Node), "address", r.first.Address, "error", err)
	}
}

func (r *race) request(hop pipeline.Hop) pipeline.ReadRequest {
	return pipeline.ReadRequest{Chunk: r.c.cluster.ChunkUUID(r.loc.chunk), Version: r.loc.version, Offset: uint64(r.at), From: hop}
}

// end waits for the second, which is given up if the first has succeeded. won: the second has,
// and the first has not.
func (r *race) end(succeeded bool) (won bool) {
	r.mu.Lock()
	over := r.over
	r.mu.Unlock()
	if over != nil {
		if succeeded {
			r.giveUp()
		}
		<-over
		r.giveUp()
	}
	if r.cancel != nil {
		r.cancel()
	}
	return !succeeded && r.buffer != nil
}

// Deadline implements context.Context: it is when Done is worth its price.
func (r *race) Deadline() (time.Time, bool) {
	if earlier, ok := r.Context.Deadline(); ok && earlier.Before(r.patience) {
		return earlier, true
	}
	return r.patience, true
}

// Hint implements late.Hinter.
func (r *race) Hint() <-chan struct{} {
	if h, ok := r.Context.(late.Hinter); ok {
		return h.Hint()
	}
	return r.Context.Done()
}

// Done implements context.Context.
func (r *race) Done() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil {
		r.ctx, r.cancel = context.WithDeadline(r.Context, r.began.Add(replicaTimeout))
		if r.second.Address != "" {
			var ctx context.Context
			ctx, r.giveUp = context.WithCancel(r.Context)
			r.over = make(chan struct{})
			go r.askSecond(ctx)
		}
	}
	return r.ctx.Done()
}

// Err implements context.Context.
func (r *race) Err() error {
	r.mu.Lock()
	made := r.ctx
	r.mu.Unlock()
	if made != nil {
		return made.Err()
	}
	return r.Context.Err()
}

// askSecond reads from the second replica when patience is over.
func (r *race) askSecond(ctx context.Context) {
	defer close(r.over)
	timer := time.NewTimer(time.Until(r.patience))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.ctx.Done(): // the first has failed: who is next is tried anyway
		return
	case <-ctx.Done():
		return
	}
	if ctx.Err() != nil || !r.c.hedges.take() {
		return
	}
	r.asked = true
	buffer := pipeline.GetBuffer(r.size)
	if r.n, r.err = r.c.readReplica(ctx, r.loc, r.second, buffer.Bytes, r.at); r.err != nil {
		buffer.Release()
		return
	}
	r.buffer = buffer
	r.cancel()
}
