package pipeline

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// maxSumsRange is the largest range, in bytes, that one request for sums is about.
const maxSumsRange = 512 << 20

// sumsSize bounds the answer to a request for the sums of a range, in bytes.
func sumsSize(length uint64) int {
	return 8 + 4*int((length+proto.BlockSize-1)/proto.BlockSize)
}

// Sums gives the length of a replica in bytes, and the CRC-32C of each of its blocks, zeros
// understood behind its end. So two replicas are compared without their bytes. It
// waits for the writes that are under way.
func (c *Client) Sums(ctx context.Context, chunk uuid.UUID, version proto.Version, from Hop) (length uint64, sums []uint32, err error) {
	if err := checkChain([]Hop{from}); err != nil {
		return 0, nil, err
	}
	for at := uint64(0); at == 0 || at < length; at += maxSumsRange {
		whole, part, err := c.sumsOfRange(ctx, chunk, version, from, at)
		if err != nil {
			return 0, nil, err
		}
		if at > 0 && whole != length {
			return 0, nil, proto.E(proto.Unavailable, "sums", fmt.Sprintf("chunk %s", chunk), "the replica was written to meanwhile")
		}
		length, sums = whole, append(sums, part...)
	}
	return length, sums, nil
}

// sumsOfRange asks for the sums of the range at offset, which is as long as can be.
func (c *Client) sumsOfRange(ctx context.Context, chunk uuid.UUID, version proto.Version, from Hop, offset uint64) (length uint64, sums []uint32, err error) {
	h := header{kind: kindSums, chunk: chunk, version: version, offset: offset, length: maxSumsRange, node: from.Node}
	buffer := GetBuffer(sumsSize(h.length))
	answer := buffer.Bytes
	call := c.newCall(&h)
	call.hop, call.dst, call.want = from, answer, len(answer)
	call.head = append(call.head[:0], make([]byte, headerSize)...)
	err = call.started(c.send(ctx, call, &h, laneBulkRead))
	n := 0
	if err == nil {
		n, err = call.await(ctx)
	}
	defer buffer.Release()
	if err != nil {
		return 0, nil, err
	}
	if n >= 8 {
		length = binary.LittleEndian.Uint64(answer)
	}
	if n < 8 || length > maxLength || n != sumsSize(min(h.length, length-min(length, offset))) {
		return 0, nil, proto.E(proto.Malformed, "sums", fmt.Sprintf("chunk %s", chunk), "the answer does not fit the length of the replica")
	}
	return length, decodeSums(nil, answer[8:n]), nil
}

// sums fills r's buffer with the answer. Like a read, it waits for writes.
func (s *Server) sums(r *request) (n int, err error) {
	if err := s.awaitClean(r); err != nil {
		return 0, err
	}
	length, sums, err := s.store.Sums(r.chunk, r.version, r.offset, r.length, nil)
	if err != nil {
		return 0, err
	}
	n = 8 + 4*len(sums)
	r.buffer = GetBuffer(n)
	raw := binary.LittleEndian.AppendUint64(r.buffer.Bytes[:0], length)
	encodeSums(raw, sums)
	r.sums = append(r.sums[:0], make([]uint32, Pieces(r.offset, n))...)
	for i := range r.sums {
		r.sums[i] = checksum(r.buffer.Bytes[i*proto.BlockSize : min(n, (i+1)*proto.BlockSize)])
	}
	return n, s.awaitClean(r)
}
