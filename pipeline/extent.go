package pipeline

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// extentSize is the length of the answer to an extent request: two offsets.
const extentSize = 16

// ExtentRequest says where to look for data, and in which replica.
type ExtentRequest struct {
	Chunk   uuid.UUID
	Version proto.Version
	Offset  uint64 // in the chunk, bytes; a border of blocks
	Length  uint64 // bytes; not 0
	From    Hop
}

// Extent finds the first extent of data in a range of a replica: before its start
// the range reads as zero, and right behind its end too, unless that is the end of the
// range. Without data, both are the end of the range.
func (c *Client) Extent(ctx context.Context, r ExtentRequest) (start, end uint64, err error) {
	if err := checkChain([]Hop{r.From}); err != nil {
		return 0, 0, err
	}
	h := header{kind: kindExtent, chunk: r.Chunk, version: r.Version, offset: r.Offset, length: r.Length, node: r.From.Node}
	if r.Offset > maxLength || r.Length > maxLength-r.Offset || r.Length == 0 || r.Offset%proto.BlockSize != 0 {
		return 0, 0, proto.E(proto.Invalid, "extent", fmt.Sprintf("chunk %s", r.Chunk), "the range is no range of whole blocks in a chunk")
	}
	var answer [extentSize]byte
	call := c.newCall(&h)
	call.hop, call.dst, call.want = r.From, answer[:], len(answer)
	call.head = append(call.head[:0], make([]byte, headerSize)...)
	if err := call.started(c.send(ctx, call, &h, laneSmallRead)); err != nil {
		return 0, 0, err
	}
	n, err := call.await(ctx)
	if err != nil {
		return 0, 0, err
	}
	start, end = binary.LittleEndian.Uint64(answer[:]), binary.LittleEndian.Uint64(answer[8:])
	if n != len(answer) || start < r.Offset || start > end || end > r.Offset+r.Length {
		return 0, 0, proto.E(proto.Malformed, "extent", fmt.Sprintf("chunk %s", r.Chunk), "the answer lies outside the range")
	}
	return start, end, nil
}

// extent fills r's buffer with the answer. Like a read, it waits for writes.
func (s *Server) extent(r *request) error {
	if err := s.awaitClean(r); err != nil {
		return err
	}
	start, end, err := s.store.Extent(r.chunk, r.version, r.offset, r.length)
	if err != nil {
		return err
	}
	r.buffer = GetBuffer(extentSize)
	binary.LittleEndian.PutUint64(r.buffer.Bytes, start)
	binary.LittleEndian.PutUint64(r.buffer.Bytes[8:], end)
	r.sums = append(r.sums[:0], checksum(r.buffer.Bytes))
	return s.awaitClean(r)
}
