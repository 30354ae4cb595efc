package chunk

import (
	"bytes"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// Random writes and holes: extents tell the blocks that are not zero, and no others.
func TestExtentsAgainstOracle(t *testing.T) {
	s := openStore(t, testOptions(disk.NewMem(), "/d"))
	rnd := rand.New(rand.NewPCG(1, 2))
	want := make([]byte, testCapacity)
	for step := range 300 {
		off := rnd.IntN(testCapacity)
		n := min(1+rnd.IntN(1<<(1+rnd.IntN(18))), testCapacity-off)
		switch rnd.IntN(3) {
		case 0:
			copy(want[off:off+n], randomBytes(rnd, n))
			must(t, write(s, testChunk(1), 1, uint64(off), want[off:off+n], true))
		case 1: // zeros that were written are no data either
			clear(want[off : off+n])
			must(t, write(s, testChunk(1), 1, uint64(off), want[off:off+n], true))
		default:
			clear(want[off : off+n])
			must(t, s.Zero(testChunk(1), 1, uint64(off), uint64(n), true))
		}
		from := rnd.IntN(testCapacity/blockSize) * blockSize
		limit := min(testCapacity, from+(1+rnd.IntN(testCapacity/blockSize))*blockSize)
		wantStart := nextBlock(want, from, limit, true)
		wantEnd := nextBlock(want, wantStart, limit, false)
		start, end, err := s.Extent(testChunk(1), 1, uint64(from), uint64(limit-from))
		if err != nil {
			t.Fatal(err)
		}
		if int(start) != wantStart || int(end) != wantEnd {
			t.Fatalf("step %d: extent %d to %d in %d to %d, want %d to %d", step, start, end, from, limit, wantStart, wantEnd)
		}
	}
	must(t, s.Close())
}

func nextBlock(p []byte, off, limit int, data bool) int {
	for ; off < limit; off += blockSize {
		if data == (len(bytes.TrimLeft(p[off:off+blockSize], "\x00")) > 0) {
			return off
		}
	}
	return limit
}

// CRC-32C can be forged: a block whose checksum is that of zeros may be data.
func TestForgedBlockIsData(t *testing.T) {
	s := openStore(t, testOptions(disk.NewMem(), "/d"))
	block := forge(t)
	must(t, write(s, testChunk(1), 1, blockSize, block, true))
	start, end, err := s.Extent(testChunk(1), 1, 0, testCapacity)
	if err != nil || start != blockSize || end != 2*blockSize {
		t.Errorf("extent %d to %d, %v", start, end, err)
	}
	_, _, err = s.Extent(testChunk(1), 2, 0, testCapacity)
	wantKind(t, "another version", err, proto.WrongVersion)
	_, _, err = s.Extent(testChunk(2), 1, 0, testCapacity)
	wantKind(t, "an absent replica", err, proto.NoReplica)
	must(t, s.Close())
}

// forge makes a block that is not zero and has the checksum of zeros: of 33 blocks
// with one bit set each, some must cancel out, for a CRC is linear.
func forge(t *testing.T) []byte {
	t.Helper()
	type vector struct{ sum, bits uint64 }
	var basis [32]vector
	for bit := range 33 {
		p := make([]byte, blockSize)
		p[bit/8] = 1 << (bit % 8)
		v := vector{uint64(entryOf(crc32.Checksum(p, castagnoli))), 1 << bit}
		for i := range basis {
			if v.sum>>i&1 == 0 {
				continue
			}
			if basis[i].sum == 0 {
				basis[i] = v
				v.sum = 0
				v.bits = 0
				break
			}
			v.sum ^= basis[i].sum
			v.bits ^= basis[i].bits
		}
		if v.sum == 0 && v.bits != 0 {
			block := make([]byte, blockSize)
			for i := range 33 {
				block[i/8] |= byte(v.bits>>i&1) << (i % 8)
			}
			if crc32.Checksum(block, castagnoli) != zeroSum {
				t.Fatal("the forgery failed")
			}
			return block
		}
	}
	t.Fatal("33 vectors of 32 bits are independent")
	return nil
}
