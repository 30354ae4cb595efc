package chunk

import (
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
)

// lease is the right to serve. A chunkserver that no master has answered for the time after
// which a master declares it dead serves nobody: its chunks may have got other chains, and
// who can still reach it must not read what they were, or write to it (L8).
//
// It counts from when the request was sent that a master has answered, and the master from
// when it received it: so the lease is over here before it is over there. Clocks are monotonic.
type lease struct {
	start time.Time    // any
	until atomic.Int64 // nanoseconds since start; 0: no master has answered yet
}

func newLease() *lease { return &lease{start: time.Now()} }

// renew is called when a master has answered what was sent then.
func (l *lease) renew(sent time.Time, period time.Duration) {
	until := int64(sent.Sub(l.start) + period)
	for {
		old := l.until.Load()
		if until <= old || l.until.CompareAndSwap(old, until) {
			return
		}
	}
}

// check refuses when the lease is over.
func (l *lease) check(op string, chunk uuid.UUID) error {
	if int64(time.Since(l.start)) < l.until.Load() {
		return nil
	}
	return proto.E(proto.Unavailable, op, chunk.String(), "this chunkserver has not been answered by a master for too long: it serves nobody until it is")
}

// leased is the store as the data plane sees it.
type leased struct {
	pipeline.Store
	lease *lease
}

// Write implements pipeline.Store.
func (s *leased) Write(chunk uuid.UUID, v proto.Version, off uint64, data []byte, sums []uint32, create bool) error {
	if err := s.lease.check("write", chunk); err != nil {
		return err
	}
	return s.Store.Write(chunk, v, off, data, sums, create)
}

// Zero implements pipeline.Store.
func (s *leased) Zero(chunk uuid.UUID, v proto.Version, off, n uint64, create bool) error {
	if err := s.lease.check("zero", chunk); err != nil {
		return err
	}
	return s.Store.Zero(chunk, v, off, n, create)
}

// Read implements pipeline.Store. It looks at the lease when the bytes are there.
func (s *leased) Read(chunk uuid.UUID, v proto.Version, off uint64, dst []byte, sums []uint32) (n int, err error) {
	if n, err = s.Store.Read(chunk, v, off, dst, sums); err == nil {
		err = s.lease.check("read", chunk)
	}
	return n, err
}

// Extent implements pipeline.Store.
func (s *leased) Extent(chunk uuid.UUID, v proto.Version, off, n uint64) (start, end uint64, err error) {
	if start, end, err = s.Store.Extent(chunk, v, off, n); err == nil {
		err = s.lease.check("extent", chunk)
	}
	return start, end, err
}

// Sums implements pipeline.Store.
func (s *leased) Sums(chunk uuid.UUID, v proto.Version, off, n uint64, dst []uint32) (length uint64, sums []uint32, err error) {
	if length, sums, err = s.Store.Sums(chunk, v, off, n, dst); err == nil {
		err = s.lease.check("sums", chunk)
	}
	return length, sums, err
}

// Sync implements pipeline.Store.
func (s *leased) Sync(chunk uuid.UUID, v proto.Version) error {
	if err := s.lease.check("sync", chunk); err != nil {
		return err
	}
	return s.Store.Sync(chunk, v)
}
