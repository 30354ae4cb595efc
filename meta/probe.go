package meta

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/distrifs/distrifs/proto"
)

// A chunkserver whose stream breaks is probed: when nothing listens at its address any
// more its process is gone, and its chunks are repaired without waiting for missing
// heartbeats. A host that does not answer at all may only be out of reach, and one
// that answers is alive: these are left to their heartbeats.
const (
	probeEvery   = 150 * time.Millisecond
	probeFor     = time.Second
	probeTimeout = 500 * time.Millisecond
	refusals     = 2 // one after the other make sure: a process that is started again at once costs nothing
)

// buryIfGone buries a chunkserver whose process is gone.
func (m *Master) buryIfGone(ctx context.Context, node proto.NodeID, incarnation uint64) {
	address := m.nodes.Address(node)
	refused := 0
	for end := m.cfg.Now().Add(probeFor); address != "" && m.cfg.Now().Before(end); {
		select {
		case <-time.After(probeEvery):
		case <-ctx.Done():
			return
		}
		if m.nodes.Connected(node) {
			return
		}
		if !m.refuses(ctx, address) {
			refused = 0
			continue
		}
		if refused++; refused < refusals {
			continue
		}
		if m.nodes.Bury(node, incarnation) {
			m.log.Warn("chunkserver is dead: its connection broke and its port refuses", "node", node, "address", address)
			m.wakeRepair()
		}
		return
	}
}

// refuses tells whether the host says that nobody listens at the address.
func (m *Master) refuses(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := m.cfg.Dial(ctx, address)
	if err == nil {
		_ = conn.Close() // nothing was sent
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
