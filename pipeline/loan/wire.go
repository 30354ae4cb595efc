package loan

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// What travels over the socket, format 1. Numbers are little endian. A connection carries
// any number of requests, each answered before the next.
//
// Request:
//
//	 0   4   magic "DFSB"
//	 4   4   format: 1
//	 8  16   chunk UUID
//	24   8   version
//
// Reply, with one descriptor (SCM_RIGHTS) if the kind is 0:
//
//	 0   4   magic "DFSL"
//	 4   4   kind of the refusal (proto.Kind), 0: none
//	 8   8   C: bytes of the chunk in the file, from offset 0
//	16   8   offset of the table: an entry of 4 bytes for each 4096 of C, the CRC-32C of
//	         the block XOR that of 4096 zero bytes
//	24   8   offset of the seal
//	32  24   seal: bytes that stand there as long as it is this version
const (
	requestMagic = "DFSB"
	replyMagic   = "DFSL"
	format       = 1
	requestSize  = 32
	replySize    = 32 + sealSize
	sealSize     = 24
	entrySize    = 4
	blockSize    = proto.BlockSize
)

type request struct {
	chunk   uuid.UUID
	version proto.Version
}

func (r request) encode() []byte {
	b := append(make([]byte, 0, requestSize), requestMagic...)
	b = binary.LittleEndian.AppendUint32(b, format)
	b = append(b, r.chunk[:]...)
	return binary.LittleEndian.AppendUint64(b, uint64(r.version))
}

func decodeRequest(b []byte) (r request, err error) {
	if len(b) != requestSize || string(b[:4]) != requestMagic {
		return r, proto.E(proto.Malformed, "receive request for a chunk file", "", "it is none")
	}
	if f := binary.LittleEndian.Uint32(b[4:]); f != format {
		return r, proto.E(proto.NewerFormat, "receive request for a chunk file", "", fmt.Sprintf("format %d", f))
	}
	copy(r.chunk[:], b[8:])
	r.version = proto.Version(binary.LittleEndian.Uint64(b[24:]))
	return r, nil
}

// Geometry is where things are in a chunk file that is lent.
type Geometry struct {
	Capacity int64 // bytes of the chunk, which stand from offset 0
	TableAt  int64
	SealAt   int64
	Seal     [sealSize]byte
}

func (g *Geometry) valid() bool {
	return g.Capacity >= proto.MinChunkSize && g.Capacity <= proto.MaxChunkSize && g.Capacity%blockSize == 0 &&
		g.TableAt >= g.Capacity && g.TableAt <= 2*proto.MaxChunkSize && g.SealAt >= g.Capacity && g.SealAt <= 2*proto.MaxChunkSize
}

func encodeReply(refusal proto.Kind, g *Geometry) []byte {
	b := append(make([]byte, 0, replySize), replyMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(refusal))
	for _, n := range []int64{g.Capacity, g.TableAt, g.SealAt} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return append(b, g.Seal[:]...)
}

func decodeReply(b []byte) (refusal proto.Kind, g Geometry, err error) {
	if len(b) != replySize || !bytes.Equal(b[:4], []byte(replyMagic)) {
		return 0, g, proto.E(proto.Malformed, "receive a chunk file", "", "it is none")
	}
	refusal = proto.Kind(binary.LittleEndian.Uint32(b[4:]))
	for i, n := range []*int64{&g.Capacity, &g.TableAt, &g.SealAt} {
		*n = int64(binary.LittleEndian.Uint64(b[8+8*i:]))
	}
	copy(g.Seal[:], b[32:])
	if refusal == 0 && !g.valid() {
		return 0, g, proto.E(proto.Malformed, "receive a chunk file", "", "its geometry is impossible")
	}
	return refusal, g, nil
}
