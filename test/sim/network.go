package sim

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// network connects hosts. Connections are streams as of TCP: bytes arrive in order or not
// at all. What is unreliable about it: each connection has delays of its own, so that messages on
// different ones overtake each other; connections break, in the middle of a message too, so
// that who asked does not know whether it was done, and asks again; and links are parted, in
// one direction or both, so that there is silence until they are healed.
type network struct {
	seed uint64

	mu        sync.Mutex // protects all below
	listeners map[string]*listener
	dark      map[string]int // power losses of a host that have not ended
	parted    map[link]bool
	slow      map[link]time.Duration // added to each delay
	dials     map[link]int
	streams   map[*stream]struct{} // that are open
	opened    uint64               // streams so far
}

// link is a direction between two hosts.
type link struct{ from, to string }

func newNetwork(seed uint64) *network {
	return &network{
		seed: seed, listeners: map[string]*listener{}, dark: map[string]int{}, parted: map[link]bool{},
		slow: map[link]time.Duration{}, dials: map[link]int{}, streams: map[*stream]struct{}{},
	}
}

// address of a host: what others dial, and what the registry takes for another machine.
func address(host string) string { return host + ":9000" }

func hostOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return host
}

// listen gives a process of the host a port.
func (n *network) listen(p *process) *listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &listener{network: n, process: p, ready: make(chan *conn, 1000), closed: make(chan struct{})}
	n.listeners[p.host] = l
	return l
}

const (
	handshakeAgain = time.Second // between two tries of a handshake, as TCP does
	shortest       = 50 * time.Microsecond
	usual          = 500 * time.Microsecond
	longest        = 20 * time.Millisecond
)

// dial connects a process with a host.
func (n *network) dial(ctx context.Context, p *process, to string) (net.Conn, error) {
	out, back := link{p.host, hostOf(to)}, link{hostOf(to), p.host}
	n.mu.Lock()
	n.dials[out]++
	random := n.random(out, n.dials[out])
	n.mu.Unlock()
	for {
		if err := sleep(ctx, delay(random)+delay(random)); err != nil {
			return nil, err
		}
		conn, err := n.connect(p, out, back, random)
		if conn != nil || err != nil {
			return conn, err
		}
		if err := sleep(ctx, handshakeAgain); err != nil {
			return nil, err
		}
	}
}

// connect makes a connection; nothing at all: nobody answers.
func (n *network) connect(p *process, out, back link, random *rand.Rand) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.dead.Load() {
		return nil, net.ErrClosed
	}
	if n.parted[out] || n.parted[back] || n.dark[out.to] > 0 {
		return nil, nil
	}
	l := n.listeners[out.to]
	if l == nil || l.process.dead.Load() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	there := newStream(n, out, rand.New(rand.NewPCG(random.Uint64(), 0)))
	here := newStream(n, back, rand.New(rand.NewPCG(random.Uint64(), 0)))
	mine := &conn{in: here, out: there, local: p.host, remote: out.to}
	theirs := &conn{in: there, out: here, local: out.to, remote: p.host}
	there.from, there.to, here.from, here.to = mine, theirs, theirs, mine
	select {
	case l.ready <- theirs:
	default:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	p.own(mine)
	l.process.own(theirs)
	return mine, nil
}

// random is the chance of the n-th connection of a link.
func (n *network) random(l link, number int) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, l.from, l.to, number)
	return rand.New(rand.NewPCG(n.seed, h.Sum64()))
}

// delay of one message: mostly short, now and then long.
func delay(random *rand.Rand) time.Duration {
	if random.IntN(50) == 0 {
		return shortest + time.Duration(random.Int64N(int64(longest)))
	}
	return shortest + time.Duration(random.Int64N(int64(usual)))
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// carries tells whether messages arrive now, and how late.
func (n *network) carries(l link) (later time.Duration, carries bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.slow[l], !n.parted[l]
}

// part cuts a link, in that direction, until heal.
func (n *network) part(l link) { n.change(func() { n.parted[l] = true }) }

// heal undoes part and slowDown.
func (n *network) heal(l link) { n.change(func() { delete(n.parted, l); delete(n.slow, l) }) }

func (n *network) healAll() { n.change(func() { clear(n.parted); clear(n.slow) }) }

// slowDown has everything on a link be so much later, until heal.
func (n *network) slowDown(l link, by time.Duration) { n.change(func() { n.slow[l] = by }) }

// change changes links, and carries on with what was held up.
func (n *network) change(by func()) {
	n.mu.Lock()
	by()
	streams := slices.Collect(maps.Keys(n.streams))
	n.mu.Unlock()
	for _, s := range streams {
		s.deliver()
	}
}

// breakSome breaks each connection between two hosts at a chance, wherever it is.
func (n *network) breakSome(random *rand.Rand, l link) {
	n.mu.Lock()
	var streams []*stream
	for s := range n.streams {
		if s.link == l {
			streams = append(streams, s)
		}
	}
	n.mu.Unlock()
	slices.SortFunc(streams, func(a, b *stream) int { return cmp.Compare(a.number, b.number) })
	for _, s := range streams {
		if random.IntN(2) == 0 {
			s.from.reset(random.IntN(2) == 0)
		}
	}
}

func (n *network) forget(s *stream) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.streams, s)
}
