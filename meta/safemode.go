package meta

import (
	"sync/atomic"
	"time"

	"github.com/distrifs/distrifs/meta/state"
)

// safeMode lasts from the start until 99.9 % of the committed chunks have a confirmed
// replica, or for Config.SafeMode: what has not reported yet must not be taken for
// lost (L2). While it lasts there is no repair and no deletion. It never comes back.
type safeMode struct {
	over  atomic.Bool
	since time.Time
}

// safeShare is the share of chunks, in parts of 1000, that have to be confirmed.
const safeShare = 999

func (s *safeMode) begin(now time.Time) { s.since = now }

// inSafeMode looks whether safe mode is over by now.
func (m *Master) inSafeMode() bool {
	if m.safe.over.Load() {
		return false
	}
	var committed uint64
	m.machine.read(func(st *state.State) {
		stats := st.Stats()
		committed = stats.Chunks - stats.Assigned
	})
	held, waited := m.nodes.Held(), m.cfg.Now().Sub(m.safe.since)
	if held < (committed*safeShare+999)/1000 && waited < m.cfg.SafeMode {
		return true
	}
	if !m.safe.over.Swap(true) {
		m.log.Info("safe mode is over", "chunks", committed, "confirmed", held, "after", waited)
	}
	return false
}
