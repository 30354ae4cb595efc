package pipeline

import (
	"fmt"
	"time"

	"github.com/distrifs/distrifs/proto"
)

// admit does what must happen in the order of arrival, and cannot block: it checks
// the bytes, puts a write in its chunk's order, and queues the frame for the next hop.
// mine is true if the caller is to serve r; otherwise r is taken care of. below, if
// not nil, is to be flushed.
func (s *Server) admit(r *request) (mine bool, below *sender) {
	if r.kind.onlyReads() {
		return true, nil
	}
	if r.buffer != nil { // L4: before anything else, at each hop
		sums := r.meta[len(r.meta)-r.sumBytes():]
		if at := badPiece(sums, r.offset, r.buffer.Bytes); at >= 0 {
			r.answer(r.refusal(proto.DataCorrupt, fmt.Sprintf("the bytes at %d changed on the way to node %d", r.offset+uint64(at), r.node)), 0)
			return false, nil
		}
		r.sums = decodeSums(r.sums[:0], sums)
	}
	sh := s.shardOf(r.chunk)
	sh.mu.Lock()
	mine, below, err := s.enter(sh, r)
	sh.mu.Unlock()
	if err != nil {
		r.answer(err, 0)
		return false, nil
	}
	return mine, below
}

// enter is admit's part under the shard's lock. With an error nothing has happened.
func (s *Server) enter(sh *shard, r *request) (mine bool, below *sender, err error) {
	var o *order
	if r.kind != kindSync {
		if o, err = sh.join(r); err != nil {
			return false, nil, err
		}
	}
	r.waits = 1
	if r.hops > 0 {
		if below, err = s.client.forward(r); err != nil {
			if o != nil {
				sh.leave(r)
			}
			return false, nil, err
		}
		r.waits++
	}
	if o == nil {
		return true, below, nil
	}
	mine = !o.applying
	o.applying = true
	return mine, below, nil
}

// serve does the part of r that may block, and answers.
func (s *Server) serve(r *request) {
	switch r.kind {
	case kindRead:
		n, err := s.read(r)
		r.answer(err, n)
	case kindExtent:
		err := s.extent(r)
		r.answer(err, extentSize)
	case kindSums:
		n, err := s.sums(r)
		r.answer(err, n)
	case kindSync:
		r.conn.passOn(r.ticket)
		s.localDone(r, s.store.Sync(r.chunk, r.version))
	default:
		if next := s.apply(r); next != nil {
			go s.applyRest(next)
		}
	}
}

// applyRest applies from r on, until the chunk's order has no more.
func (s *Server) applyRest(r *request) {
	for r != nil {
		out := r.conn.out
		r = s.apply(r)
		out.flush()
	}
}

// apply applies r, and returns the write that is to be applied next.
func (s *Server) apply(r *request) (next *request) {
	var err error
	if r.kind == kindWrite {
		err = s.store.Write(r.chunk, r.version, r.offset, r.buffer.Bytes, r.sums, r.flags&flagCreate != 0)
	} else {
		err = s.store.Zero(r.chunk, r.version, r.offset, r.length, r.flags&flagCreate != 0)
	}
	if r.flags&flagSync == 0 || err != nil {
		return s.applied(r, err)
	}
	if next := s.successor(r); next != nil { // which need not wait for the disk
		go s.applyRest(next)
	}
	r.conn.passOn(r.ticket)
	s.localDone(r, s.store.Sync(r.chunk, r.version))
	return nil
}

// successor passes the right to apply on to the write behind r.
func (s *Server) successor(r *request) *request {
	sh := s.shardOf(r.chunk)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if r.next == nil {
		sh.orders[r.chunk].applying = false
	}
	return r.next
}

// applied is successor and localDone at once.
func (s *Server) applied(r *request, err error) (next *request) {
	sh := s.shardOf(r.chunk)
	sh.mu.Lock()
	if next = r.next; next == nil {
		sh.orders[r.chunk].applying = false
	}
	r.localErr = err
	over := sh.partDone(r)
	sh.mu.Unlock()
	if over {
		r.answer(r.result(), 0)
	}
	return next
}

// localDone records the end of what is to be done here.
func (s *Server) localDone(r *request, err error) {
	sh := s.shardOf(r.chunk)
	sh.mu.Lock()
	r.localErr = err
	over := sh.partDone(r)
	sh.mu.Unlock()
	if over {
		r.answer(r.result(), 0)
	}
}

// callDone implements callOwner: the acknowledgement from below.
func (r *request) callDone(err error) *sender {
	sh, out := r.conn.server.shardOf(r.chunk), r.conn.out
	sh.mu.Lock()
	r.remoteErr = err
	over := sh.partDone(r)
	sh.mu.Unlock()
	if !over {
		return nil
	}
	r.answer(r.result(), 0)
	return out
}

// partDone is called with mu held when a part of r has ended; if that was the last
// one it returns true, and r is to be answered.
func (sh *shard) partDone(r *request) bool {
	if r.waits--; r.waits > 0 {
		return false
	}
	if r.kind != kindSync {
		first := sh.orders[r.chunk].settle(r)
		if told := r.conn.server.options.Broken; first && told != nil {
			go told(r.chunk, r.version)
		}
		sh.leave(r)
	}
	return true
}

// read fills r's buffer. Before and after, it waits for the writes in its range that
// arrived so far: before, lest it misses one that another replica has already
// shown; after, lest it shows one that another replica may never see.
func (s *Server) read(r *request) (n int, err error) {
	if err := s.awaitClean(r); err != nil {
		return 0, err
	}
	r.buffer = GetBuffer(int(r.length))
	r.sums = append(r.sums[:0], make([]uint32, Pieces(r.offset, len(r.buffer.Bytes)))...)
	if n, err = s.store.Read(r.chunk, r.version, r.offset, r.buffer.Bytes, r.sums); err != nil {
		return 0, err
	}
	return n, s.awaitClean(r)
}

// awaitClean waits until the writes in r's range that have arrived by now are
// acknowledged from below.
func (s *Server) awaitClean(r *request) error {
	sh := s.shardOf(r.chunk)
	sh.mu.Lock()
	limit := sh.arrivals
	changed, err := sh.conflict(r, limit)
	sh.mu.Unlock()
	if changed == nil {
		return err
	}
	r.conn.passOn(r.ticket)
	timer := time.NewTimer(s.options.DirtyWait)
	defer timer.Stop()
	for changed != nil && err == nil {
		select {
		case <-changed:
		case <-timer.C:
			return r.refusal(proto.Unavailable, "a write of this range is not acknowledged from below")
		case <-s.ctx.Done():
			return r.refusal(proto.Unavailable, "the server stops")
		}
		sh.mu.Lock()
		changed, err = sh.conflict(r, limit)
		sh.mu.Unlock()
	}
	return err
}
