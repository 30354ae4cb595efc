package chunk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
)

var _ pipeline.Store = (*Store)(nil)

var testCluster = proto.ClusterID(uuid.MustParse("01234567-89ab-4def-8123-456789abcdef"))

const testCapacity = 1 << 20

func testChunk(n int) uuid.UUID { return testCluster.ChunkUUID(proto.ChunkID(n)) }

func testOptions(fsys disk.FS, dirs ...string) StoreOptions {
	return StoreOptions{Dirs: dirs, FS: fsys, Logger: slog.New(slog.DiscardHandler)}
}

// openStore opens a store that belongs to testCluster.
func openStore(t testing.TB, o StoreOptions) *Store {
	t.Helper()
	s, err := OpenStore(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.join(testCluster, 1, testCapacity, 1); err != nil {
		t.Fatal(err)
	}
	return s
}

// abandon is what kill -9 leaves: nothing synced or cleared, the locks gone.
func (s *Store) abandon() { s.unlockFolders() }

// sumsOf gives the checksums that travel with data at off.
func sumsOf(off uint64, data []byte) []uint32 {
	var sums []uint32
	for len(data) > 0 {
		n := min(int(blockSize-off%blockSize), len(data))
		sums = append(sums, crc32.Checksum(data[:n], castagnoli))
		off, data = off+uint64(n), data[n:]
	}
	return sums
}

func write(s *Store, chunk uuid.UUID, v proto.Version, off uint64, data []byte, create bool) error {
	return s.Write(chunk, v, off, data, sumsOf(off, data), create)
}

// read reads n bytes and checks the checksums that come with them.
func read(t testing.TB, s *Store, chunk uuid.UUID, v proto.Version, off uint64, n int) ([]byte, error) {
	t.Helper()
	dst := bytes.Repeat([]byte{0xdb}, n)
	sums := make([]uint32, pieces(off, n))
	got, err := s.Read(chunk, v, off, dst, sums)
	if err != nil {
		return nil, err
	}
	for i, want := range sumsOf(off, dst[:got]) {
		if sums[i] != want {
			t.Errorf("read of %d at %d: checksum of piece %d is %08x, want %08x", n, off, i, sums[i], want)
		}
	}
	return dst[:got], nil
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	for i := n &^ 7; i < n; i++ {
		b[i] = byte(r.Uint32())
	}
	return b
}

// model is what a replica should hold.
type model []byte

func (m *model) write(off uint64, data []byte) {
	if end := int(off) + len(data); end > len(*m) {
		*m = append(*m, make([]byte, end-len(*m))...)
	}
	copy((*m)[off:], data)
}

func (m model) read(off uint64, n int) []byte {
	if off >= uint64(len(m)) {
		return nil
	}
	return m[off:min(int(off)+n, len(m))]
}

// randomRange is a range within a chunk, of any alignment, often a small one.
func randomRange(r *rand.Rand) (off uint64, n int) {
	limit := []int{10, 5000, 100_000, testCapacity}[r.IntN(4)]
	off = uint64(r.IntN(testCapacity))
	if r.IntN(3) == 0 {
		off = off / blockSize * blockSize
	}
	n = 1 + r.IntN(min(limit, testCapacity-int(off)))
	if r.IntN(3) == 0 {
		n = max(1, n/blockSize*blockSize)
	}
	return off, n
}

func TestStoreAgainstModel(t *testing.T) {
	for _, c := range []struct {
		name string
		fs   disk.FS
		dir  string
		ops  int
	}{
		{"memory", disk.NewMem(), "/data", 3000},
		{"disk", disk.OS, t.TempDir(), 2000},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := testOptions(c.fs, filepath.Join(c.dir, "a"), filepath.Join(c.dir, "b"))
			o.OpenChunks = 3 // fewer than chunks, so that they are closed and opened
			s := openStore(t, o)
			random := rand.New(rand.NewPCG(1, 2))
			models := make([]model, 6)
			for op := range c.ops {
				n := random.IntN(len(models))
				randomOp(t, s, random, testChunk(n), &models[n])
				if op%500 == 499 { // stop cleanly, or die
					if random.IntN(2) == 0 {
						s.abandon()
					} else if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					s = settled(t, openStore(t, o))
				}
			}
			for n, m := range models {
				checkReplica(t, s, testChunk(n), m)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func randomOp(t *testing.T, s *Store, random *rand.Rand, chunk uuid.UUID, m *model) {
	t.Helper()
	off, n := randomRange(random)
	switch random.IntN(10) {
	case 0, 1, 2, 3:
		data := randomBytes(random, n)
		if err := write(s, chunk, 1, off, data, true); err != nil {
			t.Fatalf("write %d at %d: %v", n, off, err)
		}
		m.write(off, data)
	case 4, 5:
		if err := s.Zero(chunk, 1, off, uint64(n), true); err != nil {
			t.Fatalf("zero %d at %d: %v", n, off, err)
		}
		m.write(off, make([]byte, n))
	case 6:
		if err := s.Sync(chunk, 1); err != nil && !errors.Is(err, proto.NoReplica) {
			t.Fatal(err)
		}
	default:
		got, err := read(t, s, chunk, 1, off, n)
		if *m == nil && errors.Is(err, proto.NoReplica) {
			return
		}
		if err != nil || !bytes.Equal(got, m.read(off, n)) {
			t.Fatalf("read %d at %d: %d bytes, %v: not what was written", n, off, len(got), err)
		}
	}
}

// checkReplica compares a replica with its model, by Read and as a plain file.
func checkReplica(t *testing.T, s *Store, chunk uuid.UUID, m model) {
	t.Helper()
	got, err := read(t, s, chunk, 1, 0, testCapacity)
	if err != nil || !bytes.Equal(got, m) {
		t.Fatalf("read: %d bytes, %v; want the %d of the model", len(got), err, len(m))
	}
	id, _ := testCluster.ChunkOf(chunk)
	r := s.find(id)
	file, err := r.folder.fs.OpenFile(r.folder.chunkPath(id, chunk), os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	plain := make([]byte, testCapacity)
	if _, err := file.ReadAt(plain, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(plain[:len(m)], m) {
		t.Error("the file does not begin with the chunk's bytes")
	}
	if !isZero(plain[len(m):]) {
		t.Error("bytes behind the length are not zero")
	}
}

// Replicas are the same bytes however they came to be: by writes, by holes, by zeros.
func TestReplicasOfEqualContentAreEqualFiles(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	data := make([]byte, 40_000)
	copy(data[10_000:], "x")
	must(t, write(s, testChunk(1), 1, 0, data, true))
	must(t, s.Zero(testChunk(2), 1, 0, 40_000, true))
	must(t, write(s, testChunk(2), 1, 10_000, []byte("x"), false))
	must(t, write(s, testChunk(3), 1, 39_000, make([]byte, 1000), true))
	must(t, write(s, testChunk(3), 1, 8192, bytes.Repeat([]byte("y"), 8192), false))
	must(t, s.Zero(testChunk(3), 1, 0, 40_000, false))
	must(t, write(s, testChunk(3), 1, 10_000, []byte("x"), false))
	must(t, s.Copy(t.Context(), 4, 1, sourceOf(s, 1)))
	must(t, s.Close())
	var first []byte
	for n := range 4 {
		path := filepath.Join("/data", bucketDir(proto.ChunkID(n+1)), chunkPrefix+testChunk(n+1).String())
		file, err := disk.ReadFile(mem, path, 4<<20)
		must(t, err)
		copy(file[testCapacity+16:], make([]byte, 16)) // the name differs, and so
		copy(file[testCapacity+60:], make([]byte, 4))  // does the checksum
		if first == nil {
			first = file
		} else if !bytes.Equal(file, first) {
			t.Errorf("file %d differs from the first", n+1)
		}
	}
}

// What a read costs: one system call, aligned or not, up to 64 KiB.
func TestReadsAreOneCall(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	must(t, write(s, testChunk(1), 1, 0, make([]byte, 500_001), true))
	for _, c := range []struct{ off, n, calls int }{
		{0, 4096, 1}, {8192, 1 << 18, 1}, {100, 4096, 1}, {5000, 50_000, 1}, {499_712, 4096, 1}, {499_900, 4096, 1}, {100, 1 << 18, 3},
	} {
		before := mem.Calls(disk.OpRead)
		_, err := read(t, s, testChunk(1), 1, uint64(c.off), c.n)
		must(t, err)
		if calls := mem.Calls(disk.OpRead) - before; calls != c.calls {
			t.Errorf("read of %d at %d: %d calls, want %d", c.n, c.off, calls, c.calls)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t testing.TB, what string, err error, kind proto.Kind) {
	t.Helper()
	if proto.KindOf(err) != kind {
		t.Errorf("%s: %v, want kind %q", what, err, kind)
	}
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	s, err := OpenStore(testOptions(disk.NewMem(), "/data"))
	must(t, err)
	wantKind(t, "before joining", write(s, testChunk(1), 1, 0, []byte("x"), true), proto.Unavailable)
	wantKind(t, "version before joining", s.SetVersion(1, 2, true), proto.Unavailable)
	must(t, s.join(testCluster, 1, testCapacity, 1))
	wantKind(t, "absent", write(s, testChunk(1), 1, 0, []byte("x"), false), proto.NoReplica)
	wantKind(t, "absent sync", s.Sync(testChunk(1), 1), proto.NoReplica)
	wantKind(t, "foreign", write(s, uuid.New(), 1, 0, []byte("x"), true), proto.WrongCluster)
	wantKind(t, "beyond", write(s, testChunk(1), 1, testCapacity, []byte("x"), true), proto.Range)
	wantKind(t, "far beyond", s.Zero(testChunk(1), 1, 1<<63, 1<<63, true), proto.Range)
	wantKind(t, "no sums", s.Write(testChunk(1), 1, 4095, []byte("xy"), make([]uint32, 1), true), proto.Invalid)
	wantKind(t, "version 0", write(s, testChunk(1), 0, 0, []byte("x"), true), proto.Invalid)
	if n := s.count(); n != 0 {
		t.Errorf("%d replicas were made", n)
	}
	must(t, s.Zero(testChunk(1), 1, 500, 0, true))
	if got, err := read(t, s, testChunk(1), 1, 0, 10); err != nil || len(got) != 0 {
		t.Errorf("a replica made empty: %q, %v", got, err)
	}
}
