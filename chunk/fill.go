package chunk

import (
	"context"
	"fmt"
	"sync"
)

// copyPiece is what a copy asks its source for at once, in bytes: a frame of the data plane.
const copyPiece = 512 << 10

// pieceReader is Source.Read.
type pieceReader func(ctx context.Context, off uint64, dst []byte, sums []uint32) (n int, err error)

// piece is a part of a chunk on its way from a source to a file, with the checksums that it
// came with. They become entries of the table: a byte that changes in between is found by
// who reads it later (G5).
type piece struct {
	data [copyPiece]byte
	sums [copyPiece / blockSize]uint32
	n    int
	err  error
}

var piecePool = sync.Pool{New: func() any { return new(piece) }}

// fetch reads the piece at off in the background; it comes out of the channel when it
// is there.
func (p *piece) fetch(ctx context.Context, read pieceReader, off int64) <-chan *piece {
	there := make(chan *piece, 1)
	go func() {
		p.n, p.err = read(ctx, uint64(off), p.data[:], p.sums[:])
		there <- p
	}()
	return there
}

// fill writes the chunk into a draft and makes it durable; a piece is read while the one
// before is written. Blocks of zeros stay holes. Needs mu for writing.
func (r *replica) fill(ctx context.Context, read pieceReader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p, next := piecePool.Get().(*piece), piecePool.Get().(*piece)
	defer piecePool.Put(p)
	defer piecePool.Put(next)
	length := int64(0)
	for coming := next.fetch(ctx, read, 0); coming != nil; {
		p, next = <-coming, p
		if coming = nil; p.err != nil {
			return fmt.Errorf("copy %s: offset %d: %w", r.subject(), length, p.err)
		}
		if end := length + copyPiece; p.n == copyPiece && end < int64(r.layout()) {
			coming = next.fetch(ctx, read, end)
		}
		err := r.putBlocks(length, p.data[:p.n], p.sums[:], skip)
		if err != nil {
			cancel()
			if coming != nil {
				<-coming // nobody uses source and piece behind us
			}
			return err
		}
		length += int64(p.n)
	}
	r.length = length
	if err := r.writeFooter(0); err != nil {
		return err
	}
	if err := r.file.Sync(); err != nil {
		return r.folder.failed("sync", r.subject(), err)
	}
	return nil
}

// skip leaves a hole where there is one.
func skip(int64, int64) error { return nil }

// putBlocks puts data at off, a border of blocks, with the checksum of each block, of which
// the last may be cut off by the length. Runs of blocks of zeros go to zero instead. Needs
// what put does.
func (r *replica) putBlocks(off int64, data []byte, sums []uint32, zero func(off, n int64) error) (err error) {
	for err == nil && len(data) > 0 {
		run := 1 // blocks alike: all zero, or all not
		for run < int(blocksOf(int64(len(data)))) && (sums[run] == zeroSum) == (sums[0] == zeroSum) {
			run++
		}
		n := min(run*blockSize, len(data))
		if sums[0] == zeroSum && isZero(data[:n]) {
			err = zero(off, int64(n))
		} else {
			err = r.put(off, data[:n], sums[:run])
		}
		off, data, sums = off+int64(n), data[n:], sums[run:]
	}
	return err
}
