package chunk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// The file of a chunk, format 1. Numbers are little endian. C is the capacity:
// the chunk size of the cluster, a power of two from 1 MiB to 1 GiB.
//
//	0           C bytes    the chunk's bytes, each at its own offset
//	C           4096       footer page
//	C + 4096    C / 1024   table: one entry of 4 bytes for each block of 4096
//
// The file always has its full size, C + 4096 + C/1024, and is sparse. Bytes at
// and behind the length are zero up to C; so are their table entries.
//
// Footer page:
//
//	 0   8   magic "DFSCHUNK"
//	 8   4   format: 1
//	12   4   flags: bit 0 being written, bit 1 unclean; the others are zero
//	16  16   chunk UUID, as in the file's name
//	32   8   version, at least 1
//	40   8   length: bytes of the chunk that exist, at most C
//	48   8   C
//	56   4   zero
//	60   4   CRC-32C of bytes 0 to 59
//	64       zeros to the end of the page
//
// Later formats keep magic, format and the CRC where they are. Only the first 64
// bytes are ever rewritten: they lie within one sector, so a crash leaves the old
// footer or the new one.
//
// A table entry is the CRC-32C of the block's 4096 bytes, XOR that of 4096 zero
// bytes (98f94189). So a block that was never written, which is a hole and reads
// as zeros, has entry 0, and so has one that was written with zeros: the two need
// no telling apart, and a block with other bytes and entry 0 is corrupt.
const (
	footerMagic    = "DFSCHUNK"
	footerFormat   = 1
	footerPageSize = 4096
	footerUsed     = 64 // bytes of the page that carry something

	flagWriting  = 1 << 0 // written to since the last sync: verified after an unclean stop
	flagUnclean  = 1 << 1 // was being written when its machine stopped, and the master has not settled it since
	flagsDefined = flagWriting | flagUnclean

	blockSize = proto.BlockSize
	entrySize = 4
)

// footer is what the footer page says.
type footer struct {
	flags    uint32
	chunk    uuid.UUID
	version  proto.Version
	length   int64 // bytes
	capacity int64 // bytes
}

// layout is the geometry of chunk files of one capacity.
type layout int64

func (l layout) footerAt() int64 { return int64(l) }
func (l layout) tableAt() int64  { return int64(l) + footerPageSize }
func (l layout) blocks() int64   { return int64(l) / blockSize }
func (l layout) fileSize() int64 { return l.tableAt() + l.blocks()*entrySize }

func validCapacity(c int64) bool {
	return c >= proto.MinChunkSize && c <= proto.MaxChunkSize && c&(c-1) == 0
}

// blocksOf counts the blocks that n bytes from offset 0 touch.
func blocksOf(n int64) int64 { return (n + blockSize - 1) / blockSize }

// encode fills dst, at least footerUsed bytes, with the page's used part.
func (f *footer) encode(dst []byte) []byte {
	dst = dst[:footerUsed]
	copy(dst, footerMagic)
	binary.LittleEndian.PutUint32(dst[8:], footerFormat)
	binary.LittleEndian.PutUint32(dst[12:], f.flags)
	copy(dst[16:], f.chunk[:])
	binary.LittleEndian.PutUint64(dst[32:], uint64(f.version))
	binary.LittleEndian.PutUint64(dst[40:], uint64(f.length))
	binary.LittleEndian.PutUint64(dst[48:], uint64(f.capacity))
	binary.LittleEndian.PutUint32(dst[56:], 0)
	binary.LittleEndian.PutUint32(dst[60:], crc32.Checksum(dst[:60], castagnoli))
	return dst
}

// decodeFooter reads a whole footer page. The error is of kind Damaged, or
// NewerFormat.
func decodeFooter(page []byte) (footer, error) {
	if len(page) != footerPageSize {
		return footer{}, damaged("footer page has %d bytes instead of %d", len(page), footerPageSize)
	}
	if string(page[:8]) != footerMagic {
		return footer{}, damaged("footer page does not begin with %q", footerMagic)
	}
	if got, want := crc32.Checksum(page[:60], castagnoli), binary.LittleEndian.Uint32(page[60:]); got != want {
		return footer{}, damaged("footer has checksum %08x and says %08x", got, want)
	}
	if format := binary.LittleEndian.Uint32(page[8:]); format > footerFormat {
		return footer{}, &proto.Error{Kind: proto.NewerFormat, Detail: fmt.Sprintf("chunk file of format %d, this software knows %d: use a newer one", format, footerFormat)}
	} else if format != footerFormat {
		return footer{}, damaged("footer of format %d", format)
	}
	length, capacity := binary.LittleEndian.Uint64(page[40:]), binary.LittleEndian.Uint64(page[48:])
	if capacity > proto.MaxChunkSize || !validCapacity(int64(capacity)) || length > capacity {
		return footer{}, damaged("footer with length %d, capacity %d", length, capacity)
	}
	f := footer{
		flags:    binary.LittleEndian.Uint32(page[12:]),
		chunk:    uuid.UUID(page[16:32]),
		version:  proto.Version(binary.LittleEndian.Uint64(page[32:])),
		length:   int64(length),
		capacity: int64(capacity),
	}
	if f.flags&^flagsDefined != 0 || f.version == 0 || !isZero(page[56:60]) || !isZero(page[footerUsed:]) {
		return footer{}, damaged("footer with flags %#x, version %d, or bytes where zeros belong", f.flags, f.version)
	}
	return f, nil
}

func isZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), blockSize)
		if !bytes.Equal(b[:n], zeroBlock[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

func damaged(format string, args ...any) error {
	return &proto.Error{Kind: proto.Damaged, Detail: fmt.Sprintf(format, args...)}
}
