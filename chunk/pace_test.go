package chunk

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for rate, want := range map[uint64]time.Duration{0: 0, 1 << 20: 9 * time.Second, 10 << 20: 900 * time.Millisecond} {
			p, began := newPace(rate), time.Now()
			for range 10 {
				if !p.wait(t.Context(), 1<<20) {
					t.Fatal("gave up")
				}
			}
			if took := time.Since(began); took.Round(time.Millisecond) != want {
				t.Errorf("10 MiB at %d bytes a second took %v, want %v", rate, took, want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if newPace(1).wait(ctx, 1) {
			t.Error("went on")
		}
	})
}
