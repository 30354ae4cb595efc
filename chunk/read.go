package chunk

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// Read fills dst with verified bytes from off, and sums with the CRC-32C of each
// piece of them within one block. n < len(dst): the replica ends there. Bytes
// never written below its length are zero.
//
// Errors: NoReplica, WrongVersion (with the replica's own), DataCorrupt (which the
// master is told of), IO, WrongCluster, Unavailable (not registered yet).
func (s *Store) Read(chunk uuid.UUID, v proto.Version, off uint64, dst []byte, sums []uint32) (n int, err error) {
	s.load.Add(1)
	defer s.load.Add(-1)
	if pieces := pieces(off, len(dst)); len(sums) < pieces {
		return 0, proto.E(proto.Invalid, "read", chunk.String(), fmt.Sprintf("room for %d checksums of %d pieces", len(sums), pieces))
	}
	id, err := s.identify("read", chunk)
	if err != nil {
		return 0, err
	}
	r := s.find(id)
	if r == nil {
		return 0, proto.E(proto.NoReplica, "read", fmt.Sprintf("chunk %v", id), "")
	}
	exclusive, err := r.lockForRead("read", v)
	if err != nil {
		return 0, err
	}
	defer r.unlock(exclusive)
	r.used.Store(true)
	if off >= uint64(r.length) {
		return 0, nil
	}
	dst = dst[:min(int64(len(dst)), r.length-int64(off))]
	return len(dst), r.get(int64(off), dst, sums)
}

// Extent finds the first extent of data within n bytes from off, a border of blocks:
// start and end are borders of blocks too, or the end of the range. Blocks of zeros
// are no data, written or not. Errors are those of Read.
func (s *Store) Extent(chunk uuid.UUID, v proto.Version, off, n uint64) (start, end uint64, err error) {
	s.load.Add(1)
	defer s.load.Add(-1)
	id, err := s.identify("extent", chunk)
	if err != nil {
		return 0, 0, err
	}
	r := s.find(id)
	if r == nil {
		return 0, 0, proto.E(proto.NoReplica, "extent", fmt.Sprintf("chunk %v", id), "")
	}
	exclusive, err := r.lockForRead("extent", v)
	if err != nil {
		return 0, 0, err
	}
	defer r.unlock(exclusive)
	r.used.Store(true)
	limit := min(off+n, uint64(blocksOf(r.length)*blockSize))
	if start, err = r.next(true, off, limit); err != nil || start >= limit {
		return off + n, off + n, err
	}
	end, err = r.next(false, start, limit)
	return start, min(end, off+n), err
}

// next finds the first block at or behind off that holds data, or none, before
// limit; it is limit if there is none. The table decides for most: only blocks with
// the checksum of zeros need a look.
func (r *replica) next(data bool, off, limit uint64) (uint64, error) {
	buffer := spanPool.Get().(*[spanSize]byte)
	defer spanPool.Put(buffer)
	block, end := int64(off)/blockSize, blocksOf(int64(limit))
	for block < end {
		suspects := int64(0)
		for suspects < spanSize/blockSize && block+suspects < end && r.table.entry(block+suspects) == 0 {
			suspects++
		}
		if suspects == 0 {
			if data {
				return uint64(block) * blockSize, nil
			}
			block++
			continue
		}
		span := buffer[:suspects*blockSize]
		if err := r.readBlocks(span, block*blockSize); err != nil {
			return 0, err
		}
		for ; len(span) > 0; block, span = block+1, span[blockSize:] {
			if zero := bytes.Equal(span[:blockSize], zeroBlock[:]); zero != data {
				return uint64(block) * blockSize, nil
			}
		}
	}
	return limit, nil
}

// lockForRead gives the replica open and locked: for reading, or, when it had to
// be opened, for writing (exclusive).
func (r *replica) lockForRead(op string, v proto.Version) (exclusive bool, err error) {
	r.mu.RLock()
	err = r.serves(op, v)
	if err == nil && r.file != nil {
		return false, nil
	}
	r.mu.RUnlock()
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	if err = r.serves(op, v); err == nil {
		err = r.open()
	}
	if err != nil {
		r.mu.Unlock()
	}
	return true, err
}

func (r *replica) unlock(exclusive bool) {
	if exclusive {
		r.mu.Unlock()
	} else {
		r.mu.RUnlock()
	}
}

// get reads a range below the length. Whole blocks, and one cut off by the length,
// go straight to dst; parts of blocks through a pooled buffer.
func (r *replica) get(off int64, dst []byte, sums []uint32) error {
	end := off + int64(len(dst))
	from, to := blocksOf(off)*blockSize, end
	if end < r.length {
		to = end / blockSize * blockSize
	}
	if from == off && to == end {
		return r.getBlocks(off, dst, sums)
	}
	if start := off / blockSize * blockSize; blocksOf(end)*blockSize-start <= spanSize {
		return r.getSpan(off, dst, sums)
	}
	if head := from - off; head > 0 {
		if err := r.getSpan(off, dst[:head], sums); err != nil {
			return err
		}
		dst, sums = dst[head:], sums[1:]
	}
	if err := r.getBlocks(from, dst[:to-from], sums); err != nil || to == end {
		return err
	}
	return r.getSpan(to, dst[to-from:], sums[(to-from)/blockSize:])
}

// getBlocks reads blocks; the last may be cut off by the length.
func (r *replica) getBlocks(off int64, dst []byte, sums []uint32) error {
	if err := r.readBlocks(dst, off); err != nil {
		return err
	}
	for i := 0; len(dst) > 0; i++ {
		n := min(blockSize, len(dst))
		block := off/blockSize + int64(i)
		sum, ok := r.table.verify(block, dst[:n])
		if !ok {
			return r.mismatch(block)
		}
		sums[i], dst = sum, dst[n:]
	}
	return nil
}

// getSpan reads a range of at most spanSize, counted in whole blocks, with one
// system call.
func (r *replica) getSpan(off int64, dst []byte, sums []uint32) error {
	buffer := spanPool.Get().(*[spanSize]byte)
	defer spanPool.Put(buffer)
	end := off + int64(len(dst))
	start := off / blockSize * blockSize
	span := buffer[:min(blocksOf(end)*blockSize, r.length)-start]
	if err := r.readBlocks(span, start); err != nil {
		return err
	}
	for i := 0; len(span) > 0; i++ {
		content := span[:min(blockSize, len(span))]
		sum, ok := r.table.verify(start/blockSize, content)
		if !ok {
			return r.mismatch(start / blockSize)
		}
		piece := content[max(off-start, 0):min(end-start, int64(len(content)))]
		if len(piece) < len(content) {
			sum = crc32.Checksum(piece, castagnoli)
		}
		dst = dst[copy(dst, piece):]
		sums[i], start, span = sum, start+blockSize, span[len(content):]
	}
	return nil
}

// readBlocks reads from the file, unverified.
func (r *replica) readBlocks(dst []byte, off int64) error {
	n, err := r.file.ReadAt(dst, off)
	switch {
	case n == len(dst):
		return nil
	case errors.Is(err, io.EOF):
		return r.lose(damaged("file ends at %d", off+int64(n)))
	default:
		err = r.folder.failed("read", r.subject(), err)
		r.damagedBlock((off+int64(n))/blockSize, err)
		return err
	}
}

// mismatch is the answer when a block is not what was written.
func (r *replica) mismatch(block int64) error {
	err := r.fail(proto.DataCorrupt, "read", fmt.Sprintf("block %d does not match its checksum", block), nil)
	r.damagedBlock(block, err)
	return err
}
