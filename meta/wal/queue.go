package wal

import (
	"context"
	"sync"
	"time"

	"github.com/distrifs/distrifs/proto"
	"golang.org/x/sync/semaphore"
)

// proposal is a command on its way.
type proposal struct {
	op   uint8
	data []byte
	done chan outcome     // of one place, so that answering never blocks
	then func(any, error) // instead of done: nobody waits
}

// gatherFor is how long proposals that nobody waits for are gathered at most, so that
// they share the work of a batch.
const gatherFor = time.Millisecond

type outcome struct {
	result any
	err    error
}

// proposalCost is what a proposal without data counts for, in bytes, generously.
const proposalCost = 256

// cost is what a proposal counts for in the bound of the queue, in bytes.
func (p *proposal) cost() int64 { return int64(len(p.data)) + proposalCost }

// queue holds the proposals that wait for the appender. Its bound also counts
// those that it has given out, until release.
type queue struct {
	room *semaphore.Weighted
	wake chan struct{} // of one place: something waits, or the queue is closed

	mu      sync.Mutex // protects what follows
	waiting []*proposal
	timed   bool  // a timer runs that will signal
	closed  error // why nothing more is taken in
}

// newQueue makes a queue bounded to so many bytes. One proposal always fits.
func newQueue(bytes int64) *queue {
	return &queue{room: semaphore.NewWeighted(max(bytes, MaxData+proposalCost)), wake: make(chan struct{}, 1)}
}

// put waits for room. After an error the proposal is not in the queue.
func (q *queue) put(ctx context.Context, p *proposal) error {
	if err := q.room.Acquire(ctx, p.cost()); err != nil {
		return &proto.Error{Kind: proto.KindOf(err), Op: "propose", Detail: "gave up waiting for room in the queue; nothing was logged", Err: err}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		q.room.Release(p.cost())
		return q.closed
	}
	q.waiting = append(q.waiting, p)
	if p.then == nil {
		q.signal()
	} else if !q.timed {
		q.timed = true
		time.AfterFunc(gatherFor, q.gathered)
	}
	return nil
}

func (q *queue) gathered() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.timed = false
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take waits for proposals and gives the oldest: as many as make up a batch. It
// gives none when the queue is closed and empty.
func (q *queue) take() []*proposal {
	for {
		q.mu.Lock()
		if len(q.waiting) > 0 || q.closed != nil {
			defer q.mu.Unlock()
			return q.cut()
		}
		q.mu.Unlock()
		<-q.wake
	}
}

// cut needs mu.
func (q *queue) cut() []*proposal {
	bytes, n := 0, 0
	for n < len(q.waiting) {
		bytes += recordHeader + len(q.waiting[n].data)
		if n > 0 && bytes > maxBatch {
			break
		}
		n++
	}
	batch := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	return batch
}

// close takes nothing more in, for the reason given, unless it is closed already.
func (q *queue) close(reason error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed == nil {
		q.closed = reason
	}
	q.signal()
}

// answer ends a proposal.
func (q *queue) answer(p *proposal, result any, err error) {
	q.room.Release(p.cost())
	if p.then != nil {
		p.then(result, err)
		return
	}
	p.done <- outcome{result, err}
}
