package pipeline

import (
	"errors"
	"strings"
	"sync"

	"github.com/distrifs/distrifs/proto"
)

// request is one request at a Server, from its header's arrival until its reply is
// written. It owns its buffer.
type request struct {
	header
	conn   *serverConn
	ticket uint64 // of the connection's reading role
	meta   []byte // hops and checksums, as received
	sums   []uint32
	buffer *Buffer // data; nil if there is none
	out    []byte  // header and meta of the reply
	cost   int64   // of the server's budget

	// mu of the chunk's shard protects the rest while the request goes down a chain.
	prev, next *request // neighbours in the chunk's order
	arrival    uint64   // place in that order
	waits      int      // parts that are not done: here, below
	localErr   error
	remoteErr  error
}

var requests = sync.Pool{New: func() any { return new(request) }}

func newRequest(c *serverConn, h *header) *request {
	r := requests.Get().(*request)
	r.header, r.conn = *h, c
	r.cost = requestCost + int64(h.dataLen())
	switch h.kind {
	case kindRead:
		r.cost += int64(h.length)
	case kindSums:
		r.cost += int64(sumsSize(h.length))
	}
	return r
}

// class is the part of the budget, and the lane, that r belongs to.
func (r *request) class() int {
	if r.kind.onlyReads() {
		return classRead
	}
	return r.hops
}

// sent implements sentOwner: the reply is out, the request over.
func (r *request) sent() {
	c := r.conn
	if r.buffer != nil {
		r.buffer.Release()
	}
	c.server.budget[r.class()].Release(r.cost)
	c.inflight.Add(-1)
	c.server.inflight.Add(-1)
	*r = request{meta: r.meta[:0], sums: r.sums[:0], out: r.out[:0]}
	requests.Put(r)
}

// answer queues the reply: err, or success with the n bytes that a read found. The
// connection's sender is to be flushed, and r belongs to it.
func (r *request) answer(err error, n int) {
	h := header{kind: kindReply, id: r.id}
	var zero [headerSize]byte
	r.out = append(r.out[:0], zero[:]...)
	var data []byte
	if err != nil {
		h.failure, h.node = proto.KindOf(err), r.node
		var ce *ChainError
		if errors.As(err, &ce) {
			h.node = ce.FailedNode
		}
		r.out = append(r.out, explain(err)...)
	} else {
		h.offset, h.length = r.offset, uint64(n)
		if n > 0 {
			r.out = encodeSums(r.out, r.sums[:Pieces(r.offset, n)])
			data = r.buffer.Bytes[:n]
		}
	}
	h.put(r.out)
	r.conn.out.enqueue(outgoing{head: r.out, data: data, owner: r})
}

// explain makes err the text of a reply. What came from further down is passed on
// as it is.
func explain(err error) string {
	var ce *ChainError
	if errors.As(err, &ce) && ce.Err.Err == nil && ce.Err.Detail != "" {
		return ce.Err.Detail
	}
	text := err.Error()
	if ce != nil {
		text = ce.Err.Error()
	}
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "")
}

// refusal is an error of this server about r.
func (r *request) refusal(kind proto.Kind, detail string) error {
	return proto.E(kind, r.kind.String(), "chunk "+r.chunk.String(), detail)
}
