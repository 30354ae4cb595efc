package chunk

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// sliced reads pieces of content, and counts the reads that are under way.
type sliced struct {
	content []byte
	active  atomic.Int32
	most    atomic.Int32
	read    func(off uint64, dst []byte) error // is told of each; may be nil
}

func (s *sliced) Read(_ context.Context, off uint64, dst []byte, sums []uint32) (int, error) {
	s.most.Store(max(s.most.Load(), s.active.Add(1)))
	defer s.active.Add(-1)
	n := copy(dst, s.content[min(off, uint64(len(s.content))):])
	copy(sums, blockSums(dst[:n]))
	if s.read == nil {
		return n, nil
	}
	return n, s.read(off, dst[:n])
}

func TestCopyInPieces(t *testing.T) {
	content := randomBytes(rand.New(rand.NewPCG(1, 1)), testCapacity)
	clear(content[copyPiece-3*blockSize : copyPiece+2*blockSize]) // a hole over the border
	for _, length := range []int{0, 1, copyPiece - 1, copyPiece, copyPiece + 1, testCapacity - 1, testCapacity} {
		s := openStore(t, testOptions(disk.NewMem(), "/data"))
		source := &sliced{content: content[:length]}
		must(t, s.Copy(t.Context(), 1, 1, source.Read))
		if got, err := read(t, s, testChunk(1), 1, 0, testCapacity); err != nil || !bytes.Equal(got, content[:length]) {
			t.Errorf("%d bytes: the copy has %d, %v", length, len(got), err)
		}
		if source.most.Load() != 1 {
			t.Errorf("%d reads of the source at a time", source.most.Load())
		}
	}
}

// Nobody reads from the source any more when a copy has failed, and nothing of it is left.
func TestCopyFailsInTheMiddle(t *testing.T) {
	for name, c := range map[string]struct {
		read, write error
		kind        proto.Kind
	}{
		"read":  {read: proto.E(proto.Unavailable, "read", "", "gone"), kind: proto.Unavailable},
		"write": {write: syscall.ENOSPC, kind: proto.NoSpace},
	} {
		t.Run(name, func(t *testing.T) {
			mem := disk.NewMem()
			s := openStore(t, testOptions(mem, "/data"))
			source := &sliced{content: randomBytes(rand.New(rand.NewPCG(2, 2)), testCapacity)}
			source.read = func(off uint64, _ []byte) error {
				if off == 0 {
					return nil
				}
				return c.read
			}
			if c.write != nil {
				t.Cleanup(mem.Inject(disk.Fault{Op: disk.OpWrite, Err: c.write}))
			}
			wantKind(t, "copy", s.Copy(t.Context(), 1, 1, source.Read), c.kind)
			if n := source.active.Load(); n != 0 {
				t.Errorf("%d reads are under way", n)
			}
			if left, err := mem.ReadDir("/data/tmp"); err != nil || len(left) > 0 || s.find(1) != nil {
				t.Errorf("left in tmp: %v, %v", left, err)
			}
		})
	}
}

// G5: a byte that changes after it was verified and before it is on the disk is found, for
// the checksum that it came with goes into the table.
func TestBytesChangedOnTheirWayIntoACopy(t *testing.T) {
	content := randomBytes(rand.New(rand.NewPCG(3, 3)), testCapacity)
	source := &sliced{content: content, read: func(off uint64, dst []byte) error {
		if off > 0 {
			dst[5*blockSize]++
		}
		return nil
	}}
	s := openStore(t, testOptions(disk.NewMem(), "/data"))
	must(t, s.Copy(t.Context(), 1, 1, source.Read))
	_, err := read(t, s, testChunk(1), 1, copyPiece+5*blockSize, blockSize)
	wantKind(t, "copied", err, proto.DataCorrupt)

	must(t, write(s, testChunk(2), 1, 0, content[:10], true))
	must(t, s.Resync(t.Context(), 2, 2, resyncSource{source, blockSums(content)}))
	_, err = read(t, s, testChunk(2), 2, copyPiece+5*blockSize, blockSize)
	wantKind(t, "made equal", err, proto.DataCorrupt)
}

type resyncSource struct {
	*sliced
	sums []uint32
}

func (r resyncSource) Sums(context.Context) (uint64, []uint32, error) {
	return uint64(len(r.content)), r.sums, nil
}
