package chunk

import (
	"context"
	"time"
)

// pace keeps reading to a rate. It belongs to one goroutine.
type pace struct {
	rate float64   // bytes a second; 0: unlimited
	due  time.Time // of the next read
}

func newPace(rate uint64) *pace { return &pace{rate: float64(rate), due: time.Now()} }

// wait waits until n more bytes may be read; false: ctx has ended.
func (p *pace) wait(ctx context.Context, n int) bool {
	if p.rate == 0 {
		return ctx.Err() == nil
	}
	if !sleepUntil(ctx, p.due) {
		return false
	}
	p.due = p.due.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	return true
}
