package pipeline

import (
	"encoding/binary"

	"github.com/distrifs/distrifs/proto"
)

// Pieces is the number of pieces that the block borders cut the n bytes from off
// into: each has a checksum of its own.
func Pieces(off uint64, n int) int {
	if n == 0 {
		return 0
	}
	return int((off+uint64(n)-1)/proto.BlockSize - off/proto.BlockSize + 1)
}

// firstPiece is the length of the first piece of n bytes from off.
func firstPiece(off uint64, n int) int {
	return min(n, proto.BlockSize-int(off%proto.BlockSize))
}

// appendSums appends the checksum of each piece of data, which starts at off.
func appendSums(dst []byte, off uint64, data []byte) []byte {
	for len(data) > 0 {
		n := firstPiece(off, len(data))
		dst = binary.LittleEndian.AppendUint32(dst, checksum(data[:n]))
		data, off = data[n:], off+uint64(n)
	}
	return dst
}

// badPiece compares data, which starts at off, with the checksums in sums. It
// returns the offset in data of the first piece that differs, or -1.
func badPiece(sums []byte, off uint64, data []byte) int {
	for at := 0; at < len(data); sums = sums[4:] {
		n := firstPiece(off+uint64(at), len(data)-at)
		if checksum(data[at:at+n]) != binary.LittleEndian.Uint32(sums) {
			return at
		}
		at += n
	}
	return -1
}

// decodeSums appends the checksums in raw to dst.
func decodeSums(dst []uint32, raw []byte) []uint32 {
	for ; len(raw) > 0; raw = raw[4:] {
		dst = append(dst, binary.LittleEndian.Uint32(raw))
	}
	return dst
}

// encodeSums appends sums to dst.
func encodeSums(dst []byte, sums []uint32) []byte {
	for _, sum := range sums {
		dst = binary.LittleEndian.AppendUint32(dst, sum)
	}
	return dst
}
