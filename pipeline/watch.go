package pipeline

import "time"

// ticksPerTimeout is how finely the progress time-out is watched: a peer that falls silent is
// given up after one to one and a third of it.
const ticksPerTimeout = 6

// watch ends connections that make no progress, and those that nobody uses.
// Progress, not a count, is what keeps a connection alive (L18).
func (c *Client) watch() {
	ticker := time.NewTicker(c.options.ProgressTimeout / ticksPerTimeout)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-c.stop:
			return
		}
		for _, cc := range c.connections() {
			cc.check()
		}
		c.sweep()
	}
}

// sweep forgets connections that are gone, and servers without any.
func (c *Client) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for address, p := range c.peers {
		used := false
		for i, cc := range p.lanes {
			if cc != nil && cc.replaceable() {
				p.lanes[i] = nil
			}
			used = used || p.lanes[i] != nil
		}
		if !used {
			delete(c.peers, address)
		}
	}
}

// check is one look at the connection's progress.
func (c *clientConn) check() {
	tick := c.tick.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	if len(c.pending) == 0 && c.filling == nil {
		c.idle()
		return
	}
	c.idleTicks = 0
	c.still++
	// What is sent is no sign of life: it may end in a buffer on the way.
	if c.in != nil {
		if received := c.in.received.Load(); received != c.heard {
			c.heard, c.still = received, 0
		}
	}
	err := error(nil)
	switch {
	case c.still > ticksPerTimeout:
		err = errSilent
	case c.overdue(tick):
		err = errStuck
	default:
		return
	}
	c.client.options.Logger.Warn("data connection failed", "address", c.address, "error", err, "requests", len(c.pending))
	c.breakOff(err)
}

// idle closes a connection that was long unused. It is called with mu held.
func (c *clientConn) idle() {
	c.still = 0
	c.idleTicks++
	if time.Duration(c.idleTicks)*c.client.options.ProgressTimeout/ticksPerTimeout > c.client.options.IdleTimeout {
		c.breakOff(errIdle)
	}
}

// overdue says whether a request has been unanswered for too long. The nearer a
// server is to the fault, the earlier it gives up, so that it can say who failed.
func (c *clientConn) overdue(tick int64) bool {
	o := &c.client.options
	limit := int64(o.RequestTimeout * ticksPerTimeout / o.ProgressTimeout)
	for _, call := range c.pending {
		if tick-call.tick > limit+limit*int64(call.behind)/4 {
			return true
		}
	}
	return false
}
