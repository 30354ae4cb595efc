package chunk

import (
	"fmt"
	"slices"
	"time"
)

// pulse judges how fast a disk is, from how long the same small piece of work takes again
// and again (probe.go), against what it takes elsewhere in the cluster. It is pure: time
// comes from its caller.
//
// A disk is slow when the median of its last samples has been slowFactor times what is
// typical, and more than slowFloor, for slowAfter; and no more when it has been below half
// of that for fineAfter. So no single outlier, nor a burst of work, changes anything, and
// when all disks are as busy, none is slow.
type pulse struct {
	samples []time.Duration // the last ones, oldest first
	typical time.Duration   // elsewhere; 0: not known
	slow    bool
	since   time.Time // when the samples began to speak for a change of slow; zero: they do not
}

const (
	pulseSamples = 12 // that the median is taken of
	slowFactor   = 10
	slowFloor    = 500 * time.Millisecond
	slowAfter    = 3 * time.Minute
	fineAfter    = 10 * time.Minute
)

// add takes a sample in and tells whether slow has changed.
func (p *pulse) add(now time.Time, took time.Duration) (changed bool) {
	p.samples = append(p.samples, took)
	p.samples = p.samples[max(0, len(p.samples)-pulseSamples):]
	if !p.otherwise() {
		p.since = time.Time{}
		return false
	}
	if p.since.IsZero() {
		p.since = now
	}
	patience := slowAfter
	if p.slow {
		patience = fineAfter
	}
	if now.Sub(p.since) < patience {
		return false
	}
	p.slow, p.since = !p.slow, time.Time{}
	return true
}

// otherwise tells whether the samples speak against what slow says.
func (p *pulse) otherwise() bool {
	if len(p.samples) < pulseSamples || p.typical == 0 {
		return false
	}
	limit := max(slowFloor, slowFactor*p.typical)
	if p.slow {
		return p.median() < limit/2
	}
	return p.median() > limit
}

// median is what a sample takes as a rule; 0: not known.
func (p *pulse) median() time.Duration {
	if len(p.samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(p.samples))
	return sorted[(len(sorted)-1)/2]
}

// reason says for people why the disk is slow.
func (p *pulse) reason() string {
	return fmt.Sprintf("slow: a write of 4KiB and its sync take %v, elsewhere %v", p.median().Round(time.Microsecond), p.typical.Round(time.Microsecond))
}
