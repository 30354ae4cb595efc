package sim

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/client"
)

// How long a writer may stand still. The only time that passes here is that of timers and of the
// network, so these bound what the parts wait for, however slow the machine is.
const (
	stallByDeath   = 100 * time.Millisecond // its connections are reset
	stallBySilence = 2500 * time.Millisecond
	stallByMaster  = 500 * time.Millisecond // beyond the time that it is away
)

// TestStalls: whatever of its chain dies or falls silent, and when the master is started again, a
// writer that syncs goes on soon, and nothing fails.
func TestStalls(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	if *logFlag {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(1, log)
		m, err := c.mount()
		if err != nil {
			t.Fatal(err)
		}
		f, err := m.client.Create(t.Context(), "/f")
		if err != nil {
			t.Fatal(err)
		}
		writeFor(t, f, time.Second)
		stalls := func(what string, limit time.Duration, happens, ends func()) {
			if err := c.healed(m, false); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(stallByDeath, happens)
			longest := writeFor(t, f, limit+stallByDeath)
			ends()
			longest = max(longest, writeFor(t, f, stallByDeath))
			if t.Logf("%s: %v", what, longest); longest > limit {
				t.Errorf("%s: a call took %v", what, longest)
			}
		}
		for _, machine := range c.chunks {
			stalls("death of "+machine.name, stallByDeath, machine.kill, machine.start)
		}
		for _, machine := range c.chunks[:2] {
			stalls("silence of "+machine.name, stallBySilence, func() { c.silence(machine) }, c.network.healAll)
		}
		for _, away := range []time.Duration{0, 10 * time.Second} {
			stalls(fmt.Sprintf("%v without a master", away), away+stallByMaster, func() {
				c.master.kill()
				time.AfterFunc(away, c.master.start)
			}, func() {})
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		for _, err := range c.stop() {
			t.Error(err)
		}
	})
}

// silence cuts a machine off from all others, in both directions: to them it is as if it were
// stopped.
func (c *cluster) silence(m *machine) {
	for _, other := range append(c.chunks, c.master) {
		c.network.part(link{m.name, other.name})
		c.network.part(link{other.name, m.name})
	}
	for _, mount := range c.mounts {
		c.network.part(link{m.name, mount.process.host})
		c.network.part(link{mount.process.host, m.name})
	}
}

// writeFor writes small pieces to several chunks in turn, so that every chunkserver is in the chain
// of some, and syncs each. It gives the time of the longest call.
func writeFor(t *testing.T, f *client.File, lasts time.Duration) (longest time.Duration) {
	piece, end := make([]byte, 4096), time.Now().Add(lasts)
	for at := int64(0); time.Now().Before(end); at = (at + chunkSize) % (chunkServers * chunkSize) {
		began := time.Now()
		if _, err := f.WriteAt(piece, at); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, time.Since(began))
	}
	return longest
}
