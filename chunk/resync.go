package chunk

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// Source is a good replica on another chunkserver, at the version that a copy is to have.
type Source interface {
	// Sums gives the length in bytes, and the CRC-32C of each block, zeros understood
	// behind the length.
	Sums(ctx context.Context) (length uint64, sums []uint32, err error)
	// Read fills dst with verified bytes from off, a border of blocks, and sums with the
	// CRC-32C of each of their blocks; n < len(dst): the replica ends there.
	Read(ctx context.Context, off uint64, dst []byte, sums []uint32) (n int, err error)
}

// Sums is what a Source gives of a replica here, for n bytes from off, a border of
// blocks. Errors are those of Read.
func (s *Store) Sums(chunk uuid.UUID, v proto.Version, off, n uint64, dst []uint32) (length uint64, sums []uint32, err error) {
	s.load.Add(1)
	defer s.load.Add(-1)
	id, err := s.identify("sums", chunk)
	if err != nil {
		return 0, nil, err
	}
	r := s.find(id)
	if r == nil {
		return 0, nil, proto.E(proto.NoReplica, "sums", fmt.Sprintf("chunk %v", id), "")
	}
	exclusive, err := r.lockForRead("sums", v)
	if err != nil {
		return 0, nil, err
	}
	defer r.unlock(exclusive)
	r.used.Store(true)
	end := blocksOf(min(r.length, int64(off+n)))
	for block := int64(off / blockSize); block < end; block++ {
		dst = append(dst, entryOf(r.table.entry(block)))
	}
	return uint64(r.length), dst, nil
}

// Resync makes the replica equal to a good one of version v, and gives it that version,
// durably. Of the replica that is here only the blocks that differ are fetched; one
// that is corrupt or lost, or absent, is replaced by a copy. A good one of version v is
// equal already, and a newer one is never touched (L1).
//
// The replica is fenced first: no write of an older version comes in between, even if the
// rest fails. It keeps its own version until it is equal. In between its bytes are a
// mixture of its own and the other's, so all that both have acknowledged is there.
func (s *Store) Resync(ctx context.Context, id proto.ChunkID, v proto.Version, from Source) error {
	if s.membership.Load() == nil || v == 0 {
		return proto.E(proto.Unavailable, "copy", fmt.Sprintf("chunk %v version %d", id, v), "this chunkserver has not joined a cluster yet")
	}
	r := s.find(id)
	switch equal, usable, err := r.beginResync(v); {
	case err != nil || equal:
		return err
	case !usable:
		return s.Copy(ctx, id, v, from.Read)
	}
	if err := r.makeEqual(ctx, from); err != nil {
		return err
	}
	r.mu.Lock()
	err := r.setVersion(v, true)
	firm := r.firm == v
	r.mu.Unlock()
	if err != nil {
		return err
	}
	s.changes.note(id, false)
	if firm {
		return nil
	}
	return r.sync(false)
}

// beginResync fences the replica, which may be nil, unless it is equal already or
// cannot be built upon.
func (r *replica) beginResync(v proto.Version) (equal, usable bool, err error) {
	if r == nil {
		return false, false, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if equal, err = r.supersedesLocked(v); equal || err != nil {
		return equal, false, err
	}
	if r.exists("copy") != nil || r.corrupt.Load() || r.folder.writable() != nil {
		return false, false, nil
	}
	r.fence = max(r.fence, v)
	return false, true, nil
}

// makeEqual gives the replica the length and the bytes of another.
func (r *replica) makeEqual(ctx context.Context, from Source) error {
	length, sums, err := from.Sums(ctx)
	if err != nil {
		return fmt.Errorf("compare %s: %w", r.subject(), err)
	}
	if length > uint64(r.layout()) || int64(len(sums)) != blocksOf(int64(length)) {
		return r.fail(proto.Malformed, "compare", fmt.Sprintf("%d checksums for %d bytes", len(sums), length), nil)
	}
	differ, err := r.compare(int64(length), sums)
	if err != nil {
		return err
	}
	p := piecePool.Get().(*piece)
	defer piecePool.Put(p)
	for first := 0; first < len(differ); {
		run := 1 // blocks in a row
		for run < copyPiece/blockSize && first+run < len(differ) && differ[first+run] == differ[first]+int64(run) {
			run++
		}
		off := differ[first] * blockSize
		data := p.data[:min(int64(run)*blockSize, int64(length)-off)]
		n, err := from.Read(ctx, uint64(off), data, p.sums[:])
		if err != nil {
			return fmt.Errorf("make %s equal: offset %d: %w", r.subject(), off, err)
		}
		if n < len(data) {
			return r.fail(proto.Unavailable, "make equal", fmt.Sprintf("the other replica ends at %d", off+int64(n)), nil)
		}
		if err := r.overwrite(off, data, p.sums[:blocksOf(int64(n))]); err != nil {
			return err
		}
		first += run
	}
	if r.end() == int64(length) {
		return nil
	}
	return r.setLength(int64(length))
}

// compare cuts off what is too long, and lists the blocks that differ.
func (r *replica) compare(length int64, sums []uint32) (differ []int64, err error) {
	if r.end() > length {
		if err := r.setLength(length); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.exists("compare"); err != nil {
		return nil, err
	}
	if err := r.open(); err != nil {
		return nil, err
	}
	for block, sum := range sums {
		if r.table.entry(int64(block)) != entryOf(sum) {
			differ = append(differ, int64(block))
		}
	}
	return differ, nil
}

// change runs a write on the replica, open and locked, within a period.
func (r *replica) change(write func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.exists("make equal"); err != nil {
		return err
	}
	if err := r.folder.writable(); err != nil {
		return err
	}
	if err := r.open(); err != nil {
		return err
	}
	r.used.Store(true)
	if err := r.beginPeriod(); err != nil {
		return err
	}
	return r.finish(write())
}

// overwrite puts whole blocks, of which the last may be cut off by the length, in the
// place of what is there; blocks of zeros give their space back.
func (r *replica) overwrite(off int64, data []byte, sums []uint32) error {
	return r.change(func() error { return r.putBlocks(off, data, sums, r.zero) })
}

// end is the replica's length.
func (r *replica) end() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.length
}

// setLength makes the replica end at length; bytes that are new are zero.
func (r *replica) setLength(length int64) error {
	return r.change(func() error {
		if length < r.length {
			return r.shorten(length)
		}
		return r.lengthen(length)
	})
}

// shorten makes the replica end at length, which is less than its own. Needs mu for
// writing, an open file, and a period.
func (r *replica) shorten(length int64) error {
	if err := r.zero(length, r.length-length); err != nil {
		return err
	}
	r.length = length
	r.table = r.table[:min(int64(len(r.table)), blocksOf(length))]
	if err := r.writeFooter(r.flags); err != nil {
		r.stale = true
		return err
	}
	return nil
}
