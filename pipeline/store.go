package pipeline

import (
	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// Store is what a chunkserver keeps its replicas in, as the Server needs it. All
// methods are called concurrently, but those that change one chunk come one at a
// time, in the chunk's order, save Sync. None may keep data, dst or sums. An
// operation whose version is not the replica's is refused with WrongVersion, on
// an absent replica with NoReplica.
type Store interface {
	// Write puts data at off. sums holds the CRC-32C of each piece of data that
	// the block borders cut (see Pieces); the server has verified them.
	// With create an absent replica is made.
	Write(chunk uuid.UUID, v proto.Version, off uint64, data []byte, sums []uint32, create bool) error
	// Zero makes n bytes from off read as zero; n may be 0, which only checks
	// the version and makes an absent replica if create is set.
	Zero(chunk uuid.UUID, v proto.Version, off, n uint64, create bool) error
	// Read fills dst from off with verified bytes, and sums with the CRC-32C of
	// their pieces. n < len(dst) means that the replica ends there.
	// len(sums) is Pieces(off, len(dst)).
	Read(chunk uuid.UUID, v proto.Version, off uint64, dst []byte, sums []uint32) (n int, err error)
	// Extent finds the first extent of data within n bytes from off, which is a border
	// of blocks: a range of whole blocks, or up to off+n, before which everything reads
	// as zero, and a whole block behind it too. Without data, start and end are off+n.
	Extent(chunk uuid.UUID, v proto.Version, off, n uint64) (start, end uint64, err error)
	// Sums gives the length of the replica, and appends to dst the CRC-32C of each block
	// that begins within n bytes from off, a border of blocks, and before that length;
	// zeros are understood behind the length.
	Sums(chunk uuid.UUID, v proto.Version, off, n uint64, dst []uint32) (length uint64, sums []uint32, err error)
	// Sync returns when all that was written to the replica is on stable storage.
	Sync(chunk uuid.UUID, v proto.Version) error
}
