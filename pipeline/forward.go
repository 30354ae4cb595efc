package pipeline

// forward queues r for the next hop of its chain: the bytes of data and checksums
// as they came, behind a header of its own. r.callDone will hear of the end, unless
// an error is returned. The sender is to be flushed. There is no window: what is
// forwarded is within the server's budget.
func (c *Client) forward(r *request) (*sender, error) {
	node, address, rest := cutHop(r.hopBytes(r.meta))
	call := c.newCall(&r.header)
	call.behind, call.owner = r.hops-1, r
	if r.buffer != nil {
		call.data = r.buffer.Bytes
	}
	h := r.header
	h.hops, h.node = r.hops-1, node
	var zero [headerSize]byte
	call.head = append(call.head[:0], zero[:]...)
	call.head = append(call.head, rest...)
	call.head = append(call.head, r.meta[len(r.meta)-r.sumBytes():]...)
	for {
		cc, err := c.connection(address, h.hops)
		if err == nil {
			call.hop = Hop{Node: node, Address: cc.address}
			if err = cc.enqueue(call, &h); err == nil {
				return cc.out, nil
			}
		}
		if err != errIdle {
			call.hop = Hop{Node: node, Address: string(address)}
			err = call.failure(err)
			call.recycle()
			return nil, err
		}
		<-cc.gone // it had no calls: at once
	}
}
