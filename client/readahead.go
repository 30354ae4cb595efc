package client

import (
	"context"
	"sync"

	"github.com/distrifs/distrifs/pipeline"
)

// Read-ahead of one open file. Reads that follow one another within slack (the
// kernel sends them at once and out of order) are a sequential stream; from the
// second on, the pieces before the reader are fetched, each in a goroutine of
// its own, across borders of chunks and so from different chunkservers. The
// window grows while the stream goes on. A seek or a change of the file drops
// what was read ahead; random reads go straight through.

const (
	aheadSlack = pieceSize
	aheadFirst = 2 * pieceSize // window of a new stream
)

// readAhead belongs to one File. mu guards it; it is never held while waiting.
type readAhead struct {
	load    func(ctx context.Context, p []byte, off int64) error
	reserve func() bool // memory for one piece, without waiting
	release func()
	spawn   func(func())
	max     int64 // bytes of the largest window

	mu      sync.Mutex
	content uint64 // the state of the file that the pieces are of
	next    int64  // where the stream is
	hits    int    // reads in sequence
	window  int64  // bytes
	pieces  map[int64]*piece
	ctx     context.Context // of the loads; ended when they are dropped
	cancel  context.CancelFunc
}

// piece is an aligned range being read ahead, or read.
type piece struct {
	start  int64
	mem    *pipeline.Buffer
	data   []byte        // up to the end of the file
	err    error         // of the load; written before ready is closed
	ready  chan struct{} // closed when loaded
	served int           // bytes given to readers
	users  int           // readers and the load
	gone   bool          // not in pieces any more
}

// read fills p, which lies before size, the end of the file.
func (ra *readAhead) read(ctx context.Context, p []byte, off, size int64, content uint64) error {
	ra.mu.Lock()
	ra.observe(off, int64(len(p)), content)
	if ra.hits > 0 {
		ra.fetch(off, size)
	}
	parts := ra.plan(p, off)
	ra.mu.Unlock()
	var failed error
	for _, part := range parts {
		if part.piece == nil {
			if failed == nil {
				failed = ra.load(ctx, part.p, part.off)
			}
			continue
		}
		if err := ra.take(ctx, part); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

// observe recognises streams; ra.mu is held.
func (ra *readAhead) observe(off, n int64, content uint64) {
	inStream := off >= ra.next-aheadSlack && off <= ra.next+aheadSlack
	if content != ra.content || !inStream {
		ra.drop()
		ra.content = content
	}
	if !inStream {
		ra.hits, ra.window, ra.next = 0, 0, off+n
		return
	}
	if off+n <= ra.next {
		return
	}
	if ra.next > 0 {
		ra.hits++
	}
	ra.next = off + n
}

// fetch starts loading what the window has not got yet; ra.mu is held.
func (ra *readAhead) fetch(off, size int64) {
	if ra.ctx == nil {
		ra.ctx, ra.cancel = context.WithCancel(context.Background())
		ra.pieces = map[int64]*piece{}
	}
	ra.window = min(max(ra.window, aheadFirst), ra.max)
	grown := false
	for start := pieceEnd(off) - pieceSize; start < min(ra.next+ra.window, size); start += pieceSize {
		if ra.pieces[start] != nil || start+pieceSize <= ra.next-aheadSlack {
			continue
		}
		if start < ra.next && start < off { // the reader is within it already
			continue
		}
		if !ra.reserve() {
			return
		}
		ra.begin(start, min(pieceSize, size-start))
		grown = true
	}
	if grown {
		ra.window = min(2*ra.window, ra.max)
	}
}

// begin starts the load of one piece; ra.mu is held.
func (ra *readAhead) begin(start, n int64) {
	mem := pipeline.GetBuffer(int(n))
	pc := &piece{start: start, mem: mem, data: mem.Bytes[:n], ready: make(chan struct{}), users: 1}
	ra.pieces[start] = pc
	ctx := ra.ctx
	ra.spawn(func() {
		pc.err = ra.load(ctx, pc.data, pc.start)
		ra.mu.Lock()
		if pc.err != nil {
			ra.forget(pc)
		}
		ra.leave(pc) // before a reader can be done with it and have more fetched
		ra.mu.Unlock()
		close(pc.ready)
	})
}

// aheadPart is a part of a read: from a piece, or directly if piece is nil.
type aheadPart struct {
	p     []byte
	off   int64
	piece *piece
}

// plan divides a read among the pieces that there are, and joins what must be
// read directly; ra.mu is held.
func (ra *readAhead) plan(p []byte, off int64) []aheadPart {
	var parts []aheadPart
	for len(p) > 0 {
		n := min(int64(len(p)), pieceEnd(off)-off)
		pc := ra.pieces[pieceEnd(off)-pieceSize]
		if pc != nil && off-pc.start+n > int64(len(pc.data)) {
			pc = nil // the file has grown since
		}
		if last := len(parts) - 1; pc == nil && last >= 0 && parts[last].piece == nil {
			parts[last].p = parts[last].p[:len(parts[last].p)+int(n)]
		} else {
			parts = append(parts, aheadPart{p: p[:n], off: off, piece: pc})
		}
		if pc != nil {
			pc.users++
		}
		p, off = p[n:], off+n
	}
	return parts
}

// take copies a part out of its piece when that is loaded. A load that failed
// is no failure of the read: it is done directly.
func (ra *readAhead) take(ctx context.Context, part aheadPart) error {
	pc := part.piece
	select {
	case <-pc.ready:
	case <-ctx.Done():
		ra.mu.Lock()
		defer ra.mu.Unlock()
		ra.leave(pc)
		return interrupted(ctx, "read")
	}
	err := pc.err
	if err == nil {
		copy(part.p, pc.data[part.off-pc.start:])
	}
	ra.mu.Lock()
	if pc.served += len(part.p); pc.served >= len(pc.data) || pc.start+int64(len(pc.data)) <= ra.next-aheadSlack {
		ra.forget(pc)
	}
	ra.leave(pc)
	ra.mu.Unlock()
	if err != nil {
		return ra.load(ctx, part.p, part.off)
	}
	return nil
}

// forget takes a piece out of reach of new reads; ra.mu is held.
func (ra *readAhead) forget(pc *piece) {
	if !pc.gone {
		pc.gone = true
		delete(ra.pieces, pc.start)
		pc.users++
		ra.leave(pc)
	}
}

// leave ends one use of a piece; the last one of a forgotten piece gives its
// memory back (L12). ra.mu is held.
func (ra *readAhead) leave(pc *piece) {
	if pc.users--; pc.users == 0 && pc.gone {
		pc.mem.Release()
		ra.release()
	}
}

// drop forgets all pieces; ra.mu is held.
func (ra *readAhead) drop() {
	if ra.cancel == nil {
		return
	}
	ra.cancel()
	for _, pc := range ra.pieces {
		ra.forget(pc)
	}
	ra.ctx, ra.cancel, ra.pieces = nil, nil, nil
}

// close drops what was read ahead for good.
func (ra *readAhead) close() {
	ra.mu.Lock()
	defer ra.mu.Unlock()
	ra.drop()
}
