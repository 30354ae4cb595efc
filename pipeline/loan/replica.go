package loan

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"sync"

	"github.com/distrifs/distrifs/proto"
)

// Replica is a chunk file that was borrowed. It may be read from any goroutine, also
// while it is being closed: such a read fails.
type Replica struct {
	Geometry
	file *os.File
}

// NewReplica reads a chunk file of that geometry, which becomes its own.
func NewReplica(file *os.File, g Geometry) *Replica { return &Replica{Geometry: g, file: file} }

// maxBlocks is how many blocks one system call brings.
const maxBlocks = 256

// scratch is the memory of one read under way.
type scratch struct {
	block [blockSize]byte
	table [maxBlocks * entrySize]byte
	seal  [sealSize]byte
}

var (
	scratches  = sync.Pool{New: func() any { return new(scratch) }}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeroSum    = crc32.Checksum(make([]byte, blockSize), castagnoli)
)

// Read fills p from off with bytes that match their checksums, if the file still is of
// the version that was borrowed; what was never written is zero. An error is a doubt, in
// which p holds anything: DataCorrupt if bytes do not fit, WrongVersion, or IO.
func (r *Replica) Read(p []byte, off int64) error {
	if off < 0 || off > r.Capacity || int64(len(p)) > r.Capacity-off {
		return proto.E(proto.Range, "read", "borrowed chunk", "beyond its end")
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	for len(p) > 0 {
		n, err := r.readSome(s, p, off)
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	if _, err := r.file.ReadAt(s.seal[:], r.SealAt); err != nil {
		return failed(err)
	}
	if s.seal != r.Seal {
		return proto.E(proto.WrongVersion, "read", "borrowed chunk", "it has another version now")
	}
	return nil
}

// readSome reads whole blocks straight into p, or a part of one.
func (r *Replica) readSome(s *scratch, p []byte, off int64) (n int, err error) {
	within := int(off % blockSize)
	whole := min(len(p)/blockSize, maxBlocks) * blockSize
	if within == 0 && whole > 0 {
		return whole, r.readBlocks(s, p[:whole], off)
	}
	if err := r.readBlocks(s, s.block[:], off-int64(within)); err != nil {
		return 0, err
	}
	return copy(p, s.block[within:]), nil
}

// readBlocks fills p, some whole blocks, from off.
func (r *Replica) readBlocks(s *scratch, p []byte, off int64) error {
	if _, err := r.file.ReadAt(p, off); err != nil {
		return failed(err)
	}
	entries := s.table[:len(p)/blockSize*entrySize]
	if _, err := r.file.ReadAt(entries, r.TableAt+off/blockSize*entrySize); err != nil {
		return failed(err)
	}
	for ; len(p) > 0; p, entries = p[blockSize:], entries[entrySize:] {
		if crc32.Checksum(p[:blockSize], castagnoli)^zeroSum != binary.LittleEndian.Uint32(entries) {
			return proto.E(proto.DataCorrupt, "read", "borrowed chunk", "bytes do not match their checksum, or are being written")
		}
	}
	return nil
}

func failed(err error) error {
	return &proto.Error{Kind: proto.IO, Op: "read", Subject: "borrowed chunk", Err: err}
}

// Close gives the file back.
func (r *Replica) Close() error { return r.file.Close() }
