package pipeline

// The wire format, version 1. Integers are little-endian, CRC means CRC-32C
// (Castagnoli). A connection carries frames and nothing else; whoever meets a
// frame that breaks a rule below closes the connection.
//
//	frame = header (80 bytes) | meta | data
//
//	 0  3  magic "DFP"
//	 3  1  format version, 1
//	 4  1  kind: 1 write, 2 zero, 3 read, 4 sync, 5 reply, 6 alive, 7 extent, 8 sums
//	 5  1  flags: 1 create, 2 sync
//	 6  2  hops: replicas of the chain behind the receiver, 0 to 15
//	 8  8  request id, chosen by the sender of the request; its reply repeats it
//	16 16  chunk, as a UUID's bytes
//	32  8  version of the chunk's chain
//	40  8  offset in the chunk
//	48  8  length in bytes; offset + length is at most 1 GiB (proto.MaxChunkSize)
//	56  4  node: in a request the receiver, in a failed reply the node that failed
//	60  4  failure: in a reply the proto.Kind, 0 for success
//	64  4  bytes of meta
//	68  4  CRC of meta
//	72  4  reserved, 0
//	76  4  CRC of header bytes 0 to 75
//
// Fields not named here are 0 in that kind:
//
//	write  chunk, version, offset, length 1..MaxPayload, node; both flags
//	       meta = hops, then a CRC for each piece; data = length bytes
//	zero   chunk, version, offset, length, node; both flags     meta = hops
//	read   chunk, version, offset, length 1..MaxPayload, node   no hops, no meta
//	sync   chunk, version, node                                 meta = hops
//	reply  id; if failure is 0: offset, and for a read, extent or sums length 0..MaxPayload, meta = a
//	       CRC for each piece, data = length bytes; else node, and meta = a
//	       text of at most 1024 bytes that says why
//	alive  nothing. From server to client: the requests in flight are being worked on
//
//	extent chunk, version, offset (of a block), length (not 0), node   no hops, no meta.
//	       The data of its reply are 16 bytes: offset and end of the first extent of
//	       data within offset..offset+length, which end at the last one if there is none
//
//	sums   chunk, version, offset (of a block), length 1..512 MiB, node   no hops, no meta.
//	       The data of its reply are the replica's length, 8 bytes, and for each block
//	       that begins within offset..offset+length and before that length, the CRC of
//	       its 4 KiB, zeros understood behind the length
//
//	hop    = node (4 bytes) | bytes of address (1 byte, not 0) | address
//	pieces = what the borders of 4 KiB blocks cut offset..offset+length into
//
// The reply to a request comes after its last byte was received.

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// Limits of the wire format.
const (
	MaxPayload = 1 << 20 // bytes of data in a frame
	MaxChain   = 16      // replicas of a chunk
	maxAddress = 255     // bytes
)

const (
	headerSize    = 80
	formatVersion = 1
	hopSize       = 5 // without the address
	maxText       = 1024
	maxPieces     = MaxPayload/proto.BlockSize + 1
	maxMeta       = (MaxChain-1)*(hopSize+maxAddress) + 4*maxPieces
	maxLength     = proto.MaxChunkSize
)

type kind uint8

const (
	kindWrite kind = iota + 1
	kindZero
	kindRead
	kindSync
	kindReply
	kindAlive
	kindExtent
	kindSums
)

var kindNames = [...]string{"", "write", "zero", "read", "sync", "reply", "alive", "extent", "sums"}

func (k kind) String() string { return kindNames[k] }

// onlyReads tells whether a request changes nothing.
func (k kind) onlyReads() bool { return k == kindRead || k == kindExtent || k == kindSums }

const (
	flagCreate = 1 << iota
	flagSync
	knownFlags = flagCreate | flagSync
)

// header is the fixed part of a frame.
type header struct {
	kind    kind
	flags   uint8
	hops    int
	id      uint64
	chunk   uuid.UUID
	version proto.Version
	offset  uint64
	length  uint64
	node    proto.NodeID
	failure proto.Kind
	metaLen int
	metaSum uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC-32C of one piece.
func checksum(piece []byte) uint32 { return crc32.Checksum(piece, castagnoli) }

// put encodes h with its checksum into the first headerSize bytes of frame, whose
// rest is meta.
func (h *header) put(frame []byte) {
	meta := frame[headerSize:]
	h.metaLen, h.metaSum = len(meta), checksum(meta)
	le := binary.LittleEndian
	b := frame[:headerSize]
	copy(b, "DFP")
	b[3], b[4], b[5] = formatVersion, byte(h.kind), h.flags
	le.PutUint16(b[6:], uint16(h.hops))
	le.PutUint64(b[8:], h.id)
	copy(b[16:32], h.chunk[:])
	le.PutUint64(b[32:], uint64(h.version))
	le.PutUint64(b[40:], h.offset)
	le.PutUint64(b[48:], h.length)
	le.PutUint32(b[56:], uint32(h.node))
	le.PutUint32(b[60:], uint32(h.failure))
	le.PutUint32(b[64:], uint32(h.metaLen))
	le.PutUint32(b[68:], h.metaSum)
	le.PutUint32(b[72:], 0)
	le.PutUint32(b[76:], checksum(b[:76]))
}

// parseHeader decodes and checks headerSize bytes. What it accepts is within all
// limits, so that its lengths may be allocated.
func parseHeader(b []byte) (h header, err error) {
	le := binary.LittleEndian
	switch {
	case string(b[:3]) != "DFP":
		return h, malformed("this is no data plane of DistriFS")
	case b[3] != formatVersion:
		return h, proto.E(proto.NewerFormat, "read frame", "", fmt.Sprintf("format version %d, this software speaks %d", b[3], formatVersion))
	case le.Uint32(b[76:]) != checksum(b[:76]):
		return h, malformed("checksum of the header")
	case b[4] < byte(kindWrite) || b[4] > byte(kindSums):
		return h, malformed("kind")
	case b[5]&^knownFlags != 0 || le.Uint32(b[72:]) != 0:
		return h, malformed("flags or reserved bytes")
	}
	h = header{
		kind:    kind(b[4]),
		flags:   b[5],
		hops:    int(le.Uint16(b[6:])),
		id:      le.Uint64(b[8:]),
		chunk:   uuid.UUID(b[16:32]),
		version: proto.Version(le.Uint64(b[32:])),
		offset:  le.Uint64(b[40:]),
		length:  le.Uint64(b[48:]),
		node:    proto.NodeID(le.Uint32(b[56:])),
		failure: proto.Kind(le.Uint32(b[60:])),
		metaSum: le.Uint32(b[68:]),
	}
	metaLen := le.Uint32(b[64:])
	if h.offset > maxLength || h.length > maxLength-h.offset || metaLen > maxMeta || h.hops >= MaxChain {
		return h, malformed("range, meta or chain over the limit")
	}
	h.metaLen = int(metaLen)
	return h, h.check()
}

// check enforces the rules of each kind.
func (h *header) check() error {
	ok := true
	switch h.kind {
	case kindWrite:
		ok = h.length > 0 && h.length <= MaxPayload && h.failure == 0 && h.metaFits(4*Pieces(h.offset, int(h.length)))
	case kindZero:
		ok = h.failure == 0 && h.metaFits(0)
	case kindRead:
		ok = h.length > 0 && h.length <= MaxPayload && h.flags == 0 && h.hops == 0 && h.failure == 0 && h.metaLen == 0
	case kindExtent:
		ok = h.length > 0 && h.offset%proto.BlockSize == 0 && h.flags == 0 && h.hops == 0 && h.failure == 0 && h.metaLen == 0
	case kindSums:
		ok = h.length > 0 && h.length <= maxSumsRange && h.offset%proto.BlockSize == 0 && h.flags == 0 && h.hops == 0 && h.failure == 0 && h.metaLen == 0
	case kindSync:
		ok = h.offset == 0 && h.length == 0 && h.flags == 0 && h.failure == 0 && h.metaFits(0)
	case kindReply:
		ok = h.flags == 0 && h.hops == 0 && h.chunk == uuid.Nil && h.version == 0 && h.checkReply()
	case kindAlive:
		ok = *h == header{kind: kindAlive, metaSum: h.metaSum}
	}
	if !ok {
		return malformed("fields of a " + h.kind.String())
	}
	return nil
}

func (h *header) checkReply() bool {
	if h.failure != 0 {
		return h.offset == 0 && h.length == 0 && h.metaLen <= maxText
	}
	return h.node == 0 && h.length <= MaxPayload && h.metaLen == 4*Pieces(h.offset, int(h.length))
}

// metaFits says whether meta can hold the hops and sums bytes of checksums.
func (h *header) metaFits(sums int) bool {
	hops := h.metaLen - sums
	return hops >= h.hops*(hopSize+1) && hops <= h.hops*(hopSize+maxAddress)
}

// checkMeta compares meta with its checksum, and walks its hops.
func (h *header) checkMeta(meta []byte) error {
	if checksum(meta) != h.metaSum {
		return malformed("checksum of the meta part")
	}
	switch h.kind {
	case kindWrite, kindZero, kindSync:
	default:
		return nil
	}
	rest := h.hopBytes(meta)
	for range h.hops {
		if len(rest) < hopSize || rest[4] == 0 || len(rest) < hopSize+int(rest[4]) {
			return malformed("hop")
		}
		_, _, rest = cutHop(rest)
	}
	if len(rest) != 0 {
		return malformed("bytes behind the last hop")
	}
	return nil
}

// hopBytes is the part of a request's meta that holds the hops.
func (h *header) hopBytes(meta []byte) []byte { return meta[:len(meta)-h.sumBytes()] }

// sumBytes is the length of the checksums in meta.
func (h *header) sumBytes() int {
	if h.dataLen() == 0 {
		return 0
	}
	return 4 * Pieces(h.offset, h.dataLen())
}

// dataLen is how many bytes follow meta.
func (h *header) dataLen() int {
	if h.kind == kindWrite || h.kind == kindReply {
		return int(h.length)
	}
	return 0
}

func appendHop(dst []byte, hop Hop) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(hop.Node))
	dst = append(dst, byte(len(hop.Address)))
	return append(dst, hop.Address...)
}

// cutHop takes the first hop off hops that checkMeta has accepted.
func cutHop(hops []byte) (node proto.NodeID, address, rest []byte) {
	end := hopSize + int(hops[4])
	return proto.NodeID(binary.LittleEndian.Uint32(hops)), hops[hopSize:end], hops[end:]
}

func malformed(what string) error { return proto.E(proto.Malformed, "read frame", "", what) }
