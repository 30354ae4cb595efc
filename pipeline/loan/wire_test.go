package loan

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

var (
	someChunk    = uuid.MustParse("01234567-89ab-4def-8123-456789abcdef")
	someRequest  = request{someChunk, 0x0102030405060708}
	someGeometry = Geometry{Capacity: 1 << 20, TableAt: 1<<20 + 4096, SealAt: 1<<20 + 16, Seal: [sealSize]byte{1, 23: 2}}
)

// What is sent is what it was in format 1.
func TestWireFormat(t *testing.T) {
	for name, frame := range map[string]struct {
		got  []byte
		want string
	}{
		"request": {someRequest.encode(), "4446534201000000" + "0123456789ab4def8123456789abcdef" + "0807060504030201"},
		"loan": {encodeReply(0, &someGeometry), "4446534c00000000" + "0000100000000000" + "0010100000000000" + "1000100000000000" +
			"01000000000000000000000000000000000000000000" + "0002"},
		"refusal": {encodeReply(5, &Geometry{}), "4446534c05000000" + hex.EncodeToString(make([]byte, 48))},
	} {
		if got := hex.EncodeToString(frame.got); got != frame.want {
			t.Errorf("%s: got %s, want %s", name, got, frame.want)
		}
	}
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add(someRequest.encode())
	f.Add([]byte(requestMagic))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if r, err := decodeRequest(raw); err == nil && !bytes.Equal(r.encode(), raw) {
			t.Errorf("%x was read as %v", raw, r)
		}
	})
}

func FuzzDecodeReply(f *testing.F) {
	f.Add(encodeReply(0, &someGeometry))
	f.Add(encodeReply(proto.NoReplica, &Geometry{}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		refusal, g, err := decodeReply(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(encodeReply(refusal, &g), raw) {
			t.Errorf("%x was read as %v %v", raw, refusal, g)
		}
		if refusal == 0 && (g.Capacity <= 0 || g.TableAt < g.Capacity || g.SealAt < g.Capacity) {
			t.Errorf("impossible geometry %+v", g)
		}
	})
}
