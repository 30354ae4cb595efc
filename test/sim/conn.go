package sim

import (
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

const window = 256 << 10 // bytes that were sent and not read, after which a sender waits

// stream is one direction of a connection.
type stream struct {
	network  *network
	link     link
	number   uint64
	random   *rand.Rand
	from, to *conn

	mu      sync.Mutex // protects all below
	changed sync.Cond
	flight  []segment
	last    time.Time // arrival of the last segment
	unread  int       // bytes in flight and arrived
	arrived [][]byte
	ended   error // what a reader gets behind what arrived
	broken  error // what a writer gets
	deaf    bool  // nobody reads any more
}

// segment is bytes on their way, or the end of them.
type segment struct {
	at   time.Time
	data []byte
	end  error
}

// newStream needs n.mu.
func newStream(n *network, l link, random *rand.Rand) *stream {
	n.opened++
	s := &stream{network: n, link: l, number: n.opened, random: random}
	s.changed.L = &s.mu
	n.streams[s] = struct{}{}
	return s
}

// send puts a segment on its way. It needs s.mu.
func (s *stream) send(g segment) {
	later, _ := s.network.carries(s.link)
	g.at = time.Now().Add(delay(s.random) + later)
	if g.at.Before(s.last) {
		g.at = s.last
	}
	s.last = g.at
	s.flight = append(s.flight, g)
	time.AfterFunc(time.Until(g.at), s.deliver)
}

// deliver has arrive what is due, unless the link is parted.
func (s *stream) deliver() {
	if _, carries := s.network.carries(s.link); !carries {
		return
	}
	s.mu.Lock()
	now := time.Now()
	refused := false
	for len(s.flight) > 0 && !s.flight[0].at.After(now) {
		g := s.flight[0]
		s.flight = s.flight[1:]
		if s.deaf {
			refused = refused || len(g.data) > 0
			continue
		}
		if len(g.data) > 0 {
			s.arrived = append(s.arrived, g.data)
		}
		if g.end != nil && s.ended == nil {
			s.ended = g.end
		}
	}
	over := s.ended == syscall.ECONNRESET
	gone := s.deaf || s.ended != nil
	s.changed.Broadcast()
	s.mu.Unlock()
	if over {
		s.to.out.fail(syscall.ECONNRESET)
	}
	if refused {
		s.fail(syscall.EPIPE)
		s.from.in.end(syscall.ECONNRESET)
	}
	if gone {
		s.network.forget(s)
	}
}

// fail has writers fail from now on.
func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = err
	}
	s.changed.Broadcast()
}

// end has readers find the end, at once.
func (s *stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		s.ended = err
	}
	s.changed.Broadcast()
}

// stop has nobody read any more: what arrives is refused.
func (s *stream) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf, s.arrived = true, nil
	s.changed.Broadcast()
}

// conn is one end of a connection.
type conn struct {
	in, out       *stream
	local, remote string

	mu            sync.Mutex // protects below
	reads, writes deadline
}

// deadline of reads or writes.
type deadline struct {
	at    time.Time // zero: none
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (c *conn) Read(p []byte) (int, error) {
	s := c.in
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.deaf:
			return 0, net.ErrClosed
		case c.late(&c.reads):
			return 0, os.ErrDeadlineExceeded
		case len(s.arrived) > 0 && s.ended != syscall.ECONNRESET:
			n := s.take(p)
			s.unread -= n
			s.changed.Broadcast()
			return n, nil
		case s.ended != nil:
			return 0, s.ended
		}
		s.changed.Wait()
	}
}

// take needs s.mu.
func (s *stream) take(p []byte) (n int) {
	for n < len(p) && len(s.arrived) > 0 {
		m := copy(p[n:], s.arrived[0])
		n += m
		if s.arrived[0] = s.arrived[0][m:]; len(s.arrived[0]) == 0 {
			s.arrived = s.arrived[1:]
		}
	}
	return n
}

func (c *conn) Write(p []byte) (n int, err error) {
	s := c.out
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(p) > 0 {
		switch room := window - s.unread; {
		case s.broken != nil:
			c.in.end(s.broken) // also if what says so cannot arrive: who writes to a socket that is reset reads no more
			return n, s.broken
		case c.late(&c.writes):
			return n, os.ErrDeadlineExceeded
		case room > 0:
			room = min(room, len(p))
			s.send(segment{data: slices.Clone(p[:room])})
			s.unread += room
			n, p = n+room, p[room:]
		default:
			s.changed.Wait()
		}
	}
	return n, nil
}

func (c *conn) late(d *deadline) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return d.passed()
}

// Close ends the connection in order: what was written arrives.
func (c *conn) Close() error {
	c.out.mu.Lock()
	closed := c.out.broken != nil
	if !closed {
		c.out.broken = net.ErrClosed
		c.out.send(segment{end: io.EOF})
		c.out.changed.Broadcast()
	}
	c.out.mu.Unlock()
	c.in.stop()
	return nil
}

// cut has this end see and send nothing any more; the other is not told.
func (c *conn) cut() {
	c.out.fail(net.ErrClosed)
	c.in.stop()
}

// reset breaks the connection for both ends, what is on its way may be lost.
func (c *conn) reset(lost bool) {
	for _, s := range []*stream{c.in, c.out} {
		s.fail(syscall.ECONNRESET)
		s.mu.Lock()
		if lost {
			s.flight = nil
		}
		s.send(segment{end: syscall.ECONNRESET})
		s.mu.Unlock()
	}
}

// refuse tells the other end that there is nobody here.
func (c *conn) refuse() {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.send(segment{end: syscall.ECONNRESET})
}

type hostAddr string

func (hostAddr) Network() string  { return "tcp" }
func (a hostAddr) String() string { return string(a) }

func (c *conn) LocalAddr() net.Addr  { return hostAddr(address(c.local)) }
func (c *conn) RemoteAddr() net.Addr { return hostAddr(address(c.remote)) }

func (c *conn) SetDeadline(t time.Time) error {
	c.set(&c.reads, c.in, t)
	c.set(&c.writes, c.out, t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error  { c.set(&c.reads, c.in, t); return nil }
func (c *conn) SetWriteDeadline(t time.Time) error { c.set(&c.writes, c.out, t); return nil }

func (c *conn) set(d *deadline, s *stream, t time.Time) {
	c.mu.Lock()
	d.at = t
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), s.wake)
	}
	c.mu.Unlock()
	s.wake()
}

// wake has whoever waits look again.
func (s *stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
}

// listener of a process.
type listener struct {
	network *network
	process *process
	ready   chan *conn
	once    sync.Once
	closed  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.network.mu.Lock()
		defer l.network.mu.Unlock()
		if l.network.listeners[l.process.host] == l {
			delete(l.network.listeners, l.process.host)
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return hostAddr(address(l.process.host)) }
