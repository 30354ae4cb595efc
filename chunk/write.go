package chunk

import (
	"fmt"
	"hash/crc32"
	"time"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// Write puts data at off, which makes the replica longer if need be. sums holds
// the CRC-32C of each piece of data within one block; the caller has verified
// them. When it returns nil the write is in the page cache; with an error, any
// mixture of the old bytes and the new may stand in the range, and nowhere else.
// With create an absent replica is made, with version v.
//
// Errors: NoReplica, WrongVersion (with the replica's own), DataCorrupt, NoSpace,
// IO, Range, WrongCluster, Unavailable (not registered yet).
func (s *Store) Write(chunk uuid.UUID, v proto.Version, off uint64, data []byte, sums []uint32, create bool) error {
	if pieces := pieces(off, len(data)); len(sums) < pieces {
		return proto.E(proto.Invalid, "write", chunk.String(), fmt.Sprintf("%d checksums for %d pieces", len(sums), pieces))
	}
	return s.change("write", chunk, v, off, uint64(len(data)), create, func(r *replica) error {
		return r.put(int64(off), data, sums)
	})
}

// Zero makes n bytes from off read as zero, and the replica longer if need be;
// whole blocks give their space back. n may be 0: then nothing changes but that
// create makes an absent replica. Otherwise it is like Write.
func (s *Store) Zero(chunk uuid.UUID, v proto.Version, off, n uint64, create bool) error {
	return s.change("zero", chunk, v, off, n, create, func(r *replica) error {
		return r.zero(int64(off), int64(n))
	})
}

// change runs one write on its replica, open and locked, within a period.
func (s *Store) change(op string, chunk uuid.UUID, v proto.Version, off, n uint64, create bool, write func(*replica) error) error {
	s.load.Add(1)
	defer s.load.Add(-1)
	id, err := s.identify(op, chunk)
	if err != nil {
		return err
	}
	if c := uint64(s.layout()); off > c || n > c-off {
		return proto.E(proto.Range, op, fmt.Sprintf("chunk %v", id), fmt.Sprintf("bytes %d to %d of %d", off, off+n, c))
	}
	r, err := s.lockForWrite(op, id, v, create)
	if err != nil {
		return err
	}
	defer r.mu.Unlock()
	if r.state == absent {
		return s.create(r, func() error { return r.finish(write(r)) })
	}
	if err := r.serves(op, v); err != nil {
		return err
	}
	if n == 0 {
		return nil
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
	return r.finish(write(r))
}

// finish notes the end of a write, failed or not.
func (r *replica) finish(err error) error {
	r.writes++
	r.lastWrite = time.Now()
	r.store.cache.charge(r)
	return err
}

// pieces counts the parts of n bytes at off that lie within one block each.
func pieces(off uint64, n int) int {
	return int(blocksOf(int64(off%blockSize) + int64(n)))
}

// put writes the table's entries, then the data, then a greater length. The order
// matters for failures only (undo, reconcile): an answer waits for all three.
// Needs mu for writing, an open file, and a period.
func (r *replica) put(off int64, data []byte, sums []uint32) error {
	if len(data) == 0 {
		return nil
	}
	s := getScratch()
	defer s.release()
	first := off / blockSize
	if err := r.newEntries(s, off, data, sums); err != nil {
		return err
	}
	if err := r.putEntries(s, first); err != nil {
		return err
	}
	n, err := r.file.WriteAt(data, off)
	if err != nil {
		return r.reconcile(s, first, off+int64(n), r.folder.failed("write to", r.subject(), err))
	}
	return r.lengthen(off + int64(len(data)))
}

// newEntries fills s.new with the entries of the blocks that data touches: of
// whole blocks from the sender's sums, of others merged with what stands there.
func (r *replica) newEntries(s *scratch, off int64, data []byte, sums []uint32) error {
	s.new = s.new[:0]
	for i := 0; len(data) > 0; i++ {
		block, within := off/blockSize, int(off%blockSize)
		n := min(blockSize-within, len(data))
		entry := entryOf(sums[i])
		if n < blockSize {
			var err error
			if entry, err = r.mergedEntry(s, block, within, data[:n], sums[i]); err != nil {
				return err
			}
		}
		s.new = append(s.new, entry)
		off, data = off+int64(n), data[n:]
	}
	return nil
}

// mergedEntry is the entry of a block after piece, whose checksum is sum, was
// written into it.
func (r *replica) mergedEntry(s *scratch, block int64, within int, piece []byte, sum uint32) (uint32, error) {
	start := block * blockSize
	old := int(max(0, min(blockSize, r.length-start))) // bytes there that may not be zero
	if within == 0 && len(piece) >= old {
		return paddedEntry(sum, len(piece)), nil
	}
	clear(s.block[:])
	if old > 0 {
		if err := r.readBlocks(s.block[:old], start); err != nil {
			return 0, err
		}
		if _, ok := r.table.verify(block, s.block[:old]); !ok {
			return 0, r.mismatch(block)
		}
	}
	copy(s.block[within:], piece)
	return entryOf(crc32.Checksum(s.block[:], castagnoli)), nil
}

// putEntries puts s.new into the table, in memory and on disk, and what was there
// into s.old. When it fails nothing has changed.
func (r *replica) putEntries(s *scratch, first int64) error {
	end := first + int64(len(s.new))
	r.table = r.table.grown(end)
	s.old = append(s.old[:0], r.table[first:end]...)
	s.raw = encodeEntries(s.raw, s.new)
	n, err := r.file.WriteAt(s.raw, r.layout().tableAt()+first*entrySize)
	if err == nil {
		copy(r.table[first:], s.new)
		return nil
	}
	err = r.folder.failed("write table of", r.subject(), err)
	s.raw = encodeEntries(s.raw, s.old)
	if _, undoErr := r.file.WriteAt(s.raw[:n], r.layout().tableAt()+first*entrySize); undoErr != nil {
		r.stale = true
	}
	return err
}

// reconcile follows a write of data that failed after the table was written, with
// bytes in place up to end at most. Each block of the range gets the entry of the
// bytes that stand in it, and cause is returned. The write was not acknowledged
// and what it does not cover was verified before, so nothing corrupt is blessed.
func (r *replica) reconcile(s *scratch, first, end int64, cause error) error {
	for i := range s.new {
		block := first + int64(i)
		if err := r.readBlocks(s.block[:], block*blockSize); err != nil {
			return err
		}
		r.table[block] = entryOf(crc32.Checksum(s.block[:], castagnoli))
	}
	s.raw = encodeEntries(s.raw, r.table[first:first+int64(len(s.new))])
	if _, err := r.file.WriteAt(s.raw, r.layout().tableAt()+first*entrySize); err != nil {
		r.stale = true
	}
	if err := r.lengthen(end); err != nil {
		r.stale = true
	}
	return cause
}

// lengthen raises the length to end, if it is less.
func (r *replica) lengthen(end int64) error {
	if end <= r.length {
		return nil
	}
	r.length = end
	if err := r.writeFooter(r.flags); err != nil {
		r.stale = true
		return err
	}
	return nil
}

// zero writes the partial blocks at both ends and punches the whole ones between.
// Needs mu for writing, an open file, and a period.
func (r *replica) zero(off, n int64) error {
	if n == 0 {
		return nil
	}
	end := off + n
	from, to := blocksOf(off)*blockSize, end/blockSize*blockSize // the whole blocks
	if from >= to {
		return r.putZeros(off, end)
	}
	if err := r.putZeros(off, from); err != nil {
		return err
	}
	if err := r.punch(from, min(to, blocksOf(r.length)*blockSize)); err != nil {
		return err
	}
	if err := r.putZeros(to, end); err != nil {
		return err
	}
	return r.lengthen(end)
}

// putZeros writes zeros over parts of blocks; what lies behind the length already
// is zero.
func (r *replica) putZeros(off, end int64) error {
	for off < end && off < r.length {
		n := min(end-off, blockSize-off%blockSize)
		if err := r.put(off, zeroBlock[:n], []uint32{crc32.Checksum(zeroBlock[:n], castagnoli)}); err != nil {
			return err
		}
		off += n
	}
	return r.lengthen(end)
}

// punch takes whole blocks out of the file.
func (r *replica) punch(off, end int64) error {
	if off >= end {
		return nil
	}
	s := getScratch()
	defer s.release()
	first := off / blockSize
	s.new = append(s.new[:0], make([]uint32, (end-off)/blockSize)...)
	if err := r.putEntries(s, first); err != nil {
		return err
	}
	if err := r.file.PunchHole(off, end-off); err != nil {
		return r.reconcile(s, first, 0, r.folder.failed("punch hole into", r.subject(), err))
	}
	return nil
}
