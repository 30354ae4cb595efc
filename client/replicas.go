package client

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
)

// Which replica is read: the one that promises the earliest answer. Promises
// are made of how fast a chunkserver answered and how much it is asked at
// present; one that failed waits at the end of the queue for a while.

const (
	penaltyMin = 500 * time.Millisecond
	penaltyMax = 10 * time.Second
	costUnit   = 64 << 10 // bytes that take about as long as the round trip itself
)

// nodeHealth is what is known of one chunkserver.
type nodeHealth struct {
	cost     float64 // seconds a request and costUnit, smoothed; 0: not known
	spread   float64 // seconds by which that varies, smoothed
	inflight int
	failures int       // since the last success
	until    time.Time // read only if nobody else can serve
}

// health of all chunkservers that were read from.
type health struct {
	mu     sync.Mutex
	nodes  map[proto.NodeID]*nodeHealth
	random func() float64 // in [0, 1)
}

func newHealth() *health {
	return &health{nodes: map[proto.NodeID]*nodeHealth{}, random: rand.Float64}
}

func (h *health) node(id proto.NodeID) *nodeHealth {
	n := h.nodes[id]
	if n == nil {
		n = &nodeHealth{}
		h.nodes[id] = n
	}
	return n
}

// order puts the replicas of a chain into the order in which to try them.
func (h *health) order(chain []pipeline.Hop) []pipeline.Hop {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	type ranked struct {
		hop     pipeline.Hop
		penalty bool
		promise float64
	}
	ranks := make([]ranked, 0, len(chain))
	for _, hop := range chain {
		if hop.Address == "" {
			continue
		}
		n := h.node(hop.Node)
		spread := 0.75 + 0.5*h.random() // equals share the load
		ranks = append(ranks, ranked{hop, n.until.After(now), spread * (n.cost + 1e-6) * float64(1+n.inflight)})
	}
	slices.SortFunc(ranks, func(a, b ranked) int {
		switch {
		case a.penalty != b.penalty && b.penalty, a.penalty == b.penalty && a.promise < b.promise:
			return -1
		}
		return 1
	})
	ordered := make([]pipeline.Hop, len(ranks))
	for i, r := range ranks {
		ordered[i] = r.hop
	}
	return ordered
}

func (h *health) begin(id proto.NodeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.node(id).inflight++
}

// unmeasured is for a read whose caller gave it up: it tells nothing.
const unmeasured = -1

// end notes how a read of n bytes went.
func (h *health) end(id proto.NodeID, n int, took time.Duration, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	node := h.node(id)
	node.inflight--
	if !ok {
		node.failures = min(node.failures+1, 16)
		node.until = time.Now().Add(min(penaltyMin<<(node.failures-1), penaltyMax))
		return
	}
	if n == unmeasured {
		return
	}
	node.failures = 0
	node.until = time.Time{}
	cost := took.Seconds() / (1 + float64(n)/costUnit)
	if node.cost == 0 {
		node.cost, node.spread = cost, cost/2
	}
	node.spread += (math.Abs(cost-node.cost) - node.spread) / 8
	node.cost += (cost - node.cost) / 8
}

// How long a replica is waited for before another one is asked as well: as long as the
// best of them would take at worst, within bounds.
const (
	patienceMin     = 50 * time.Millisecond
	patienceMax     = time.Second
	patienceUnknown = 300 * time.Millisecond // nobody has answered yet
	patienceSpreads = 4                      // beyond the mean
)

// patience is how long to wait for n bytes from the first of some replicas.
func (h *health) patience(order []pipeline.Hop, n int) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	best := math.Inf(1)
	for _, hop := range order {
		if node := h.node(hop.Node); node.cost > 0 {
			best = min(best, node.cost+patienceSpreads*node.spread)
		}
	}
	if math.IsInf(best, 1) {
		return patienceUnknown
	}
	seconds := best * (1 + float64(n)/costUnit)
	return max(patienceMin, min(patienceMax, time.Duration(seconds*float64(time.Second))))
}
