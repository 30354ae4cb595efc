package loan

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/distrifs/distrifs/proto"
)

// chunkFile writes a chunk file of someGeometry with noise, and gives its path and the noise.
func chunkFile(t testing.TB) (path string, content []byte) {
	t.Helper()
	content = make([]byte, someGeometry.Capacity)
	random := rand.New(rand.NewPCG(1, 2))
	for at := range content[:len(content)/2] { // the other half is a hole
		content[at] = byte(random.Uint32())
	}
	file := append(bytes.Clone(content), make([]byte, 4096)...)
	copy(file[someGeometry.SealAt:], someGeometry.Seal[:])
	for at := 0; at < len(content); at += blockSize {
		file = binary.LittleEndian.AppendUint32(file, crc32.Checksum(content[at:at+blockSize], castagnoli)^zeroSum)
	}
	path = filepath.Join(t.TempDir(), "chunk")
	if err := os.WriteFile(path, file, 0o644); err != nil {
		t.Fatal(err)
	}
	return path, content
}

func openChunk(t testing.TB, path string) *Replica {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	r := NewReplica(file, someGeometry)
	t.Cleanup(func() { r.Close() })
	return r
}

func overwrite(t testing.TB, path string, at int64, b []byte) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func TestReadsOfAnyRange(t *testing.T) {
	path, content := chunkFile(t)
	r := openChunk(t, path)
	random := rand.New(rand.NewPCG(3, 4))
	ranges := [][2]int{{0, 0}, {0, 4096}, {0, 1 << 20}, {1, 1<<20 - 1}, {1<<19 - 5, 10}, {1<<20 - 1, 1}}
	for range 200 {
		off := random.IntN(1 << 20)
		ranges = append(ranges, [2]int{off, random.IntN(min(1<<20-off, 20_000) + 1)})
	}
	for _, span := range ranges {
		off, n := span[0], span[1]
		got := bytes.Repeat([]byte{0xdb}, n)
		if err := r.Read(got, int64(off)); err != nil || !bytes.Equal(got, content[off:off+n]) {
			t.Fatalf("%d bytes at %d: error %v, or wrong bytes", n, off, err)
		}
	}
	for _, off := range []int64{-1, 1 << 20, 1 << 62} {
		if err := r.Read(make([]byte, 1), off); proto.KindOf(err) != proto.Range {
			t.Errorf("read at %d: %v", off, err)
		}
	}
}

// G5: a flipped bit anywhere in a block makes every read doubtful that needs the block.
func TestDamageIsADoubt(t *testing.T) {
	for name, at := range map[string]int64{"data": 3*blockSize + 7, "a hole": 1<<20 - 3, "the table": someGeometry.TableAt + 4*entrySize + 1} {
		path, content := chunkFile(t)
		r := openChunk(t, path)
		original := append(bytes.Clone(content), make([]byte, 1<<16)...)
		if at >= int64(len(content)) {
			var raw [1]byte
			if _, err := r.file.ReadAt(raw[:], at); err != nil {
				t.Fatal(err)
			}
			original[at] = raw[0]
		}
		overwrite(t, path, at, []byte{original[at] ^ 1})
		if err := r.Read(make([]byte, 1<<20), 0); proto.KindOf(err) != proto.DataCorrupt {
			t.Errorf("a bit of %s flipped: %v", name, err)
		}
		block := at / blockSize * blockSize
		if name == "the table" {
			block = 4 * blockSize
		}
		if err := r.Read(make([]byte, 1), block+17); proto.KindOf(err) != proto.DataCorrupt {
			t.Errorf("a bit of %s flipped, a byte of its block: %v", name, err)
		}
		if err := r.Read(make([]byte, blockSize), block-blockSize); err != nil {
			t.Errorf("a bit of %s flipped, the block before: %v", name, err)
		}
	}
}

func TestAnotherVersionIsADoubt(t *testing.T) {
	path, _ := chunkFile(t)
	r := openChunk(t, path)
	overwrite(t, path, someGeometry.SealAt+20, []byte{9})
	if err := r.Read(make([]byte, 10), 0); proto.KindOf(err) != proto.WrongVersion {
		t.Errorf("the seal has changed: %v", err)
	}
}

func TestATruncatedFileIsADoubt(t *testing.T) {
	path, content := chunkFile(t)
	r := openChunk(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 100)
	if err := r.Read(got, 5); err != nil || !bytes.Equal(got, content[5:105]) {
		t.Errorf("a file without a name is what it was: %v", err)
	}
	path, _ = chunkFile(t)
	r = openChunk(t, path)
	if err := os.Truncate(path, 2*blockSize); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{0, 4 * blockSize} { // the table is gone in both cases
		if err := r.Read(make([]byte, 10), off); proto.KindOf(err) != proto.IO {
			t.Errorf("read at %d of a truncated file: %v", off, err)
		}
	}
}

func TestAFileThatWasGivenBack(t *testing.T) {
	path, _ := chunkFile(t)
	r := openChunk(t, path)
	r.Close()
	if err := r.Read(make([]byte, 10), 0); proto.KindOf(err) != proto.IO {
		t.Errorf("read after Close: %v", err)
	}
}

func BenchmarkRead4K(b *testing.B) {
	path, _ := chunkFile(b)
	r := openChunk(b, path)
	p := make([]byte, blockSize)
	b.SetBytes(blockSize)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Read(p, 8*blockSize); err != nil {
			b.Fatal(err)
		}
	}
}
