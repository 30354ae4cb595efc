package late

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// dear counts how often it was asked for Done.
type dear struct {
	context.Context
	hint  chan struct{}
	asked int
}

func (d *dear) Done() <-chan struct{} { d.asked++; return d.Context.Done() }
func (d *dear) Hint() <-chan struct{} { return d.hint }

func TestNobodyIsAskedUntilItMatters(t *testing.T) {
	parent := &dear{Context: context.Background(), hint: make(chan struct{})}
	inner := WithTimeout(WithTimeout(parent, time.Hour), time.Minute)
	if inner.Hint() != (<-chan struct{})(parent.hint) || inner.Err() != nil || parent.asked != 0 || inner.ctx != nil {
		t.Fatalf("asked %d times for Done, made %v", parent.asked, inner.ctx)
	}
	inner.End()
}

func TestTheParentsEndIsTheEnd(t *testing.T) {
	base, cancel := context.WithCancel(context.Background())
	late := WithTimeout(base, time.Hour)
	if late.Hint() != base.Done() {
		t.Error("an ordinary context is its own hint")
	}
	child, stop := context.WithCancel(late)
	defer stop()
	cancel()
	<-child.Done()
	<-late.Done()
	if late.Err() != context.Canceled {
		t.Errorf("ended by %v", late.Err())
	}
	late.End()
	if early := WithTimeout(base, time.Hour); early.Err() != context.Canceled {
		t.Errorf("the parent has ended, this has not: %v", early.Err())
	}
}

func TestTheDeadlineIsTheEarliest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		asked, unasked := WithTimeout(base, time.Hour), WithTimeout(WithTimeout(context.Background(), time.Hour), time.Second)
		defer asked.End()
		<-asked.Done()
		for _, c := range []*Context{asked, unasked} {
			if at, ok := c.Deadline(); !ok || time.Until(at) > 0 || c.Err() != context.DeadlineExceeded {
				t.Errorf("deadline %v, error %v", at, c.Err())
			}
		}
	})
}

func TestEndLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine remains
		c := WithTimeout(&dear{Context: context.Background()}, time.Hour)
		done := c.Done()
		c.End()
		<-done
	})
}
