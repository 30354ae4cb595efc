package client

import "github.com/distrifs/distrifs/pipeline"

// Small writes are gathered into runs. A run lies within one piece of a chunk
// and ends, when it is full, at the end of that piece: so all but the first and
// the last frame of a stream are whole, aligned megabytes, whatever the sizes
// of the writes. What is here knows no locks and no files.

const pieceSize = pipeline.MaxPayload

// run is a contiguous range of unwritten bytes, or of zeros to be written.
type run struct {
	off  int64            // in the chunk
	n    int64            // bytes
	buf  []byte           // the bytes are buf[:n]; nil: zeros
	mem  *pipeline.Buffer // that buf lies in: the run owns it until it is done
	seq  uint64           // in the order in which the runs of an inode were sealed
	sync bool             // ask for fdatasync on every replica

	acked bool // by the whole chain
}

func (r *run) end() int64 { return r.off + r.n }

// pieceEnd is where the piece that holds the offset ends.
func pieceEnd(off int64) int64 { return off/pieceSize*pieceSize + pieceSize }

// takes tells whether a write of n bytes at off belongs to the run: it touches
// or overlaps it and stays within its piece.
func (r *run) takes(off int64, n int) bool {
	return r.buf != nil && r.off <= off && off <= r.end() && off+int64(n) <= pieceEnd(r.off)
}

// fits tells whether the buffer is large enough for bytes up to end.
func (r *run) fits(end int64) bool { return end-r.off <= int64(len(r.buf)) }

func (r *run) full() bool { return r.end() == pieceEnd(r.off) }

// put takes the bytes in; takes and fits hold.
func (r *run) put(p []byte, off int64) {
	copy(r.buf[off-r.off:], p)
	r.n = max(r.n, off+int64(len(p))-r.off)
}

func (r *run) overlaps(off, n int64) bool { return r.off < off+n && off < r.end() }

func (r *run) covers(off, n int64) bool { return r.off <= off && off+n <= r.end() }

// read copies bytes of the run that covers p at off.
func (r *run) read(p []byte, off int64) {
	if r.buf == nil {
		clear(p)
		return
	}
	copy(p, r.buf[off-r.off:r.n])
}

// cut removes what is at or behind end and tells whether anything is left.
func (r *run) cut(end int64) bool {
	r.n = min(r.n, max(end-r.off, 0))
	return r.n > 0
}

// Buffers of runs come in these sizes; a run that outgrows one moves to the next.
var bufferSizes = [...]int{4 << 10, 16 << 10, 64 << 10, 256 << 10, pieceSize}

// bufferSize is the smallest of the sizes for n <= pieceSize bytes.
func bufferSize(n int64) int {
	for _, size := range bufferSizes {
		if n <= int64(size) {
			return size
		}
	}
	panic("client: a run longer than a piece")
}
