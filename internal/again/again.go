package again

import (
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/backoff"
)

const (
	minPause  = 50 * time.Millisecond
	maxPause  = 250 * time.Millisecond // about
	tellEvery = 10 * time.Second
)

// Connecting are the pauses between attempts to connect.
var Connecting = backoff.Config{BaseDelay: minPause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxPause}

// Attempts to talk to a master, one after the other. The zero value is ready for use.
type Attempts struct {
	pause time.Duration // mean
	told  time.Time
}

// Failed follows an attempt that failed, answered if it came as far as an answer. It says how
// long to wait before the next, and whether to tell of this one.
func (a *Attempts) Failed(answered bool) (pause time.Duration, tell bool) {
	if answered {
		a.pause = 0
	}
	a.pause = min(max(2*a.pause, minPause), maxPause)
	if tell = answered || time.Since(a.told) >= tellEvery; tell {
		a.told = time.Now()
	}
	return a.pause/2 + rand.N(a.pause), tell
}
