package pipeline

import "github.com/distrifs/distrifs/proto"

// Limits of the wire format.
const (
	MaxPayload = 1 << 20 // bytes of data in a frame
	MaxChain   = 16      // replicas of a chunk
)

// Pieces is the number of pieces that the block borders cut the n bytes from off
// into: each has a checksum of its own.
func Pieces(off uint64, n int) int {
	if n == 0 {
		return 0
	}
	return int((off+uint64(n)-1)/proto.BlockSize - off/proto.BlockSize + 1)
}
