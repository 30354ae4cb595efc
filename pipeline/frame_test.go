package pipeline

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sample is a frame as a test describes it.
type sample struct {
	name string
	h    header
	hops []Hop
	text string
	data []byte
}

func (s sample) encode() []byte {
	frame := make([]byte, headerSize)
	s.h.hops = len(s.hops)
	for _, hop := range s.hops {
		frame = appendHop(frame, hop)
	}
	frame = append(frame, s.text...)
	frame = appendSums(frame, s.h.offset, s.data)
	s.h.put(frame)
	return append(frame, s.data...)
}

func samples() []sample {
	chunk := uuid.MustParse("01234567-89ab-4def-0000-000300000007")
	data := bytes.Repeat([]byte("DistriFS"), 4)
	hops := []Hop{{Node: 2, Address: "10.0.0.2:9421"}, {Node: 3, Address: "[::1]:9422"}}
	return []sample{
		{name: "write", h: header{kind: kindWrite, flags: flagCreate | flagSync, id: 1, chunk: chunk, version: 5, offset: 4080, length: 32, node: 1}, hops: hops, data: data},
		{name: "zero", h: header{kind: kindZero, id: 2, chunk: chunk, version: 5, offset: 1 << 20, length: 1 << 21, node: 1}, hops: hops[:1]},
		{name: "read", h: header{kind: kindRead, id: 3, chunk: chunk, version: 5, offset: 4080, length: 32, node: 1}},
		{name: "sync", h: header{kind: kindSync, id: 4, chunk: chunk, version: 5, node: 1}, hops: hops},
		{name: "reply", h: header{kind: kindReply, id: 1, offset: 4080}},
		{name: "reply-data", h: header{kind: kindReply, id: 3, offset: 4080, length: 32}, data: data},
		{name: "reply-failure", h: header{kind: kindReply, id: 4, node: 3, failure: proto.NoSpace}, text: "disk full"},
		{name: "alive", h: header{kind: kindAlive}},
		{name: "extent", h: header{kind: kindExtent, id: 5, chunk: chunk, version: 5, offset: 8192, length: 1 << 26, node: 1}},
		{name: "sums", h: header{kind: kindSums, id: 6, chunk: chunk, version: 5, length: 1 << 29, node: 1}},
	}
}

// parseFrame takes a whole frame apart, as both ends do.
func parseFrame(frame []byte) (h header, meta, data []byte, err error) {
	if len(frame) < headerSize {
		return h, nil, nil, errors.New("short")
	}
	if h, err = parseHeader(frame[:headerSize]); err != nil {
		return h, nil, nil, err
	}
	rest := frame[headerSize:]
	if len(rest) < h.metaLen+h.dataLen() {
		return h, nil, nil, errors.New("short")
	}
	meta, data = rest[:h.metaLen], rest[h.metaLen:h.metaLen+h.dataLen()]
	return h, meta, data, h.checkMeta(meta)
}

func TestFramesMatchTheGoldenFile(t *testing.T) {
	const file = "testdata/frames.golden"
	var text strings.Builder
	for _, s := range samples() {
		fmt.Fprintf(&text, "%s %s\n", s.name, hex.EncodeToString(s.encode()))
	}
	if *update {
		if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(golden) != text.String() {
		t.Errorf("the wire format has changed: raise its version, or\ngot  %s\nwant %s", text.String(), golden)
	}
}

func TestFramesComeBackAsTheyWere(t *testing.T) {
	for _, s := range samples() {
		h, meta, data, err := parseFrame(s.encode())
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
			continue
		}
		want := s.h
		want.hops, want.metaLen, want.metaSum = len(s.hops), len(meta), checksum(meta)
		if h != want {
			t.Errorf("%s: got %+v, want %+v", s.name, h, want)
		}
		if !bytes.Equal(data, s.data) || badPiece(meta[len(meta)-h.sumBytes():], h.offset, data) >= 0 {
			t.Errorf("%s: data %q", s.name, data)
		}
		rest := h.hopBytes(meta)
		for _, hop := range s.hops {
			var node proto.NodeID
			var address []byte
			node, address, rest = cutHop(rest)
			if node != hop.Node || string(address) != hop.Address {
				t.Errorf("%s: hop %d %s, want %v", s.name, node, address, hop)
			}
		}
	}
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	for _, s := range samples() {
		frame := s.encode()
		for bit := range len(frame) * 8 {
			frame[bit/8] ^= 1 << (bit % 8)
			h, meta, data, err := parseFrame(frame)
			if err == nil && badPiece(meta[len(meta)-h.sumBytes():], h.offset, data) < 0 {
				t.Errorf("%s: bit %d of byte %d", s.name, bit%8, bit/8)
			}
			frame[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestHeadersOverALimitAreMalformed(t *testing.T) {
	for _, c := range []struct {
		name   string
		sample int
		change func(h *header)
	}{
		{"kind 0", 0, func(h *header) { h.kind = 0 }},
		{"kind 7", 0, func(h *header) { h.kind = 7 }},
		{"kind 9", 9, func(h *header) { h.kind = 9 }},
		{"unknown flag", 0, func(h *header) { h.flags = 4 }},
		{"empty write", 0, func(h *header) { h.length = 0 }},
		{"too much data", 0, func(h *header) { h.length = MaxPayload + 1 }},
		{"beyond the largest chunk", 1, func(h *header) { h.offset = maxLength }},
		{"overflow", 1, func(h *header) { h.offset, h.length = 1, ^uint64(0) }},
		{"chain too long", 1, func(h *header) { h.hops = MaxChain }},
		{"hops missing", 1, func(h *header) { h.hops = 3 }},
		{"read with flags", 2, func(h *header) { h.flags = flagSync }},
		{"endless read", 2, func(h *header) { h.length = MaxPayload + 1 }},
		{"sync of a range", 3, func(h *header) { h.length = 1 }},
		{"reply about a chunk", 4, func(h *header) { h.version = 1 }},
		{"reply without checksums", 4, func(h *header) { h.length = 1 }},
		{"failure with data", 6, func(h *header) { h.length = 1 }},
		{"sums of too much", 9, func(h *header) { h.length++ }},
		{"sums within a block", 9, func(h *header) { h.offset, h.length = 1, 1 }},
		{"alive with an id", 7, func(h *header) { h.id = 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := samples()[c.sample]
			meta := s.encode()[headerSize : len(s.encode())-len(s.data)]
			s.h.hops = len(s.hops)
			c.change(&s.h)
			frame := append(make([]byte, headerSize), meta...)
			s.h.put(frame)
			if _, _, _, err := parseFrame(frame); !errors.Is(err, proto.Malformed) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestALaterFormatIsNamed(t *testing.T) {
	frame := samples()[0].encode()
	frame[3] = formatVersion + 1
	if _, _, _, err := parseFrame(frame); !errors.Is(err, proto.NewerFormat) {
		t.Errorf("got %v", err)
	}
}

func FuzzParseFrame(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.encode(), true)
	}
	f.Fuzz(func(t *testing.T, frame []byte, repair bool) {
		if repair && len(frame) >= headerSize { // get past the checksums
			repairSums(frame)
		}
		h, meta, data, err := parseFrame(frame)
		if err != nil {
			return
		}
		if len(meta) > maxMeta || len(data) > MaxPayload {
			t.Fatalf("%d bytes of meta, %d of data", len(meta), len(data))
		}
		again := append(make([]byte, headerSize), meta...)
		h.put(again)
		if !bytes.Equal(again, frame[:len(again)]) {
			t.Fatal("the frame is not what its header says")
		}
		badPiece(meta[len(meta)-h.sumBytes():], h.offset, data)
	})
}

// repairSums gives a frame the checksums that its bytes need.
func repairSums(frame []byte) {
	metaLen := int(uint32(frame[64]) | uint32(frame[65])<<8 | uint32(frame[66])<<16 | uint32(frame[67])<<24)
	if meta := frame[headerSize:]; metaLen <= len(meta) {
		copy(frame[68:72], encodeSums(nil, []uint32{checksum(meta[:metaLen])}))
	}
	copy(frame[76:80], encodeSums(nil, []uint32{checksum(frame[:76])}))
}
