package sim

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// call is one call of a worker, and what came of it.
type call struct {
	worker      int
	object      string // what is checked together: a file, or all names
	input       any
	output      any
	began       int64 // in the order of all beginnings and ends
	ended       int64
	at, until   time.Duration // since the start of the run
	err         error         // that no application should see
	interrupted bool          // its client was killed meanwhile: it may have been done, or not
}

func (c *call) String() string {
	answer := fmt.Sprint(c.output)
	switch {
	case c.interrupted:
		answer = "?"
	case c.err != nil:
		answer = c.err.Error()
	}
	return fmt.Sprintf("%v..%v  worker %d: %s %v = %s", c.at, c.until, c.worker, c.object, c.input, answer)
}

// event is a fault, or the end of one.
type event struct {
	at    time.Duration
	order int64
	text  string
}

// history is what happened in a run.
type history struct {
	start time.Time

	mu     sync.Mutex // protects below
	clock  int64
	calls  []*call
	events []event
}

func newHistory() *history { return &history{start: time.Now()} }

// begin notes a call.
func (h *history) begin(worker int, object string, input any) *call {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	c := &call{worker: worker, object: object, input: input, began: h.clock, at: time.Since(h.start)}
	h.calls = append(h.calls, c)
	return c
}

// end notes what came of it.
func (h *history) end(c *call, output any, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	c.output, c.err, c.ended, c.until = output, err, h.clock, time.Since(h.start)
}

// note notes what else happened.
func (h *history) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	h.events = append(h.events, event{time.Since(h.start), h.clock, fmt.Sprintf(format, args...)})
}

// operations are the calls of one object, as porcupine takes them.
func (h *history) operations(object string) (list []porcupine.Operation) {
	for _, c := range h.calls {
		if c.object == object {
			list = append(list, porcupine.Operation{ClientId: c.worker, Input: c.input, Call: c.began, Output: c.output, Return: c.ended})
		}
	}
	return list
}

// timeline is all of it, for people.
func (h *history) timeline() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	events := slices.Clone(h.events)
	for _, c := range h.calls {
		events = append(events, event{c.at, c.began, c.String()})
	}
	slices.SortFunc(events, func(a, b event) int { return int(a.order - b.order) })
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%12v  %s\n", e.at, e.text)
	}
	return b.String()
}
