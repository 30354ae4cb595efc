package chunk

import (
	"testing"
	"time"
)

// beat feeds a pulse a sample every 10 s for a while; it tells how often slow changed.
type beat struct {
	pulse
	now time.Time
}

func (b *beat) run(length time.Duration, took func(i int) time.Duration) (changes int) {
	for i := range int(length / probeEvery) {
		b.now = b.now.Add(probeEvery)
		if b.add(b.now, took(i)) {
			changes++
		}
	}
	return changes
}

func always(d time.Duration) func(int) time.Duration { return func(int) time.Duration { return d } }

func TestSlowDiskIsFound(t *testing.T) {
	b := &beat{pulse: pulse{typical: 8 * time.Millisecond}, now: time.Unix(1e9, 0)}
	for _, c := range []struct {
		name   string
		length time.Duration
		took   func(int) time.Duration
		want   bool // slow
	}{
		{"as fast as others", time.Hour, always(8 * time.Millisecond), false},
		{"outliers", time.Hour, func(i int) time.Duration {
			return map[bool]time.Duration{true: time.Minute, false: time.Millisecond}[i%5 == 0]
		}, false},
		{"slower, not far", time.Hour, always(400 * time.Millisecond), false},
		{"a burst", slowAfter, always(2 * time.Second), false},
		{"as fast again", time.Hour, always(8 * time.Millisecond), false},
		{"far slower", pulseSamples*probeEvery + slowAfter, always(2 * time.Second), true},
		{"better, not well", 2 * time.Hour, always(400 * time.Millisecond), true},
		{"well for a while", fineAfter / 2, always(8 * time.Millisecond), true},
		{"far slower again", time.Hour, always(2 * time.Second), true},
		{"well", pulseSamples*probeEvery + fineAfter, always(8 * time.Millisecond), false},
	} {
		changes := b.run(c.length, c.took)
		if b.slow != c.want || changes > 1 {
			t.Fatalf("%s: slow is %v after %d changes", c.name, b.slow, changes)
		}
	}
}

// All disks of a busy cluster are alike, and one disk alone has nobody to be compared with.
func TestNoDiskIsSlowAlone(t *testing.T) {
	for _, typical := range []time.Duration{0, 2 * time.Second} {
		b := &beat{pulse: pulse{typical: typical}, now: time.Unix(1e9, 0)}
		if b.run(24*time.Hour, always(3*time.Second)); b.slow {
			t.Errorf("slow, where %v is typical", typical)
		}
	}
}
