package chunk

import (
	"encoding/binary"
	"hash/crc32"
	"sync"
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeroBlock  [blockSize]byte
	zeroSum    = crc32.Checksum(zeroBlock[:], castagnoli)
)

// table holds the entries of a chunk in memory, as far as its length reaches:
// entries behind its end are 0. The format is in footer.go.
type table []uint32

// entryOf is the entry of a block with that CRC-32C.
func entryOf(sum uint32) uint32 { return sum ^ zeroSum }

// paddedEntry is the entry of a block that begins with n bytes of that CRC-32C
// and has zeros behind them.
func paddedEntry(sum uint32, n int) uint32 {
	return entryOf(crc32.Update(sum, castagnoli, zeroBlock[n:]))
}

// entry of any block of the chunk.
func (t table) entry(block int64) uint32 {
	if block < int64(len(t)) {
		return t[block]
	}
	return 0
}

// verify checks the content of a block, zeros understood behind it, and gives
// the CRC-32C of the content alone.
func (t table) verify(block int64, content []byte) (sum uint32, ok bool) {
	sum = crc32.Checksum(content, castagnoli)
	return sum, paddedEntry(sum, len(content)) == t.entry(block)
}

// blockSums gives the CRC-32C of each block of data, of which the last may be short.
func blockSums(data []byte) []uint32 {
	sums := make([]uint32, 0, blocksOf(int64(len(data))))
	for ; len(data) > 0; data = data[min(blockSize, len(data)):] {
		sums = append(sums, crc32.Checksum(data[:min(blockSize, len(data))], castagnoli))
	}
	return sums
}

// grown is the table with at least n entries.
func (t table) grown(n int64) table {
	if missing := n - int64(len(t)); missing > 0 {
		return append(t, make(table, missing)...)
	}
	return t
}

func encodeEntries(dst []byte, entries []uint32) []byte {
	dst = dst[:0]
	for _, e := range entries {
		dst = binary.LittleEndian.AppendUint32(dst, e)
	}
	return dst
}

func decodeEntries(raw []byte) table {
	t := make(table, len(raw)/entrySize)
	for i := range t {
		t[i] = binary.LittleEndian.Uint32(raw[i*entrySize:])
	}
	return t
}

// scratch is the memory of one request under way. One owner: who took it from
// the pool gives it back (L12).
type scratch struct {
	block  [blockSize]byte
	footer [footerUsed]byte
	old    []uint32
	new    []uint32
	raw    []byte
}

var scratchPool = sync.Pool{New: func() any { return new(scratch) }}

func getScratch() *scratch  { return scratchPool.Get().(*scratch) }
func (s *scratch) release() { scratchPool.Put(s) }

// spanSize is the largest range of blocks that an unaligned read takes through a
// pooled buffer; of a larger one only the partial blocks at its ends.
const spanSize = 64 << 10

var spanPool = sync.Pool{New: func() any { return new([spanSize]byte) }}
