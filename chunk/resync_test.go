package chunk

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// twin is a replica in another store as a Source that counts what is fetched.
type twin struct {
	store   *Store
	id      int
	version proto.Version
	fetched int   // bytes
	fail    error // of the next read
	before  func()
}

func (w *twin) Sums(context.Context) (uint64, []uint32, error) {
	return w.store.Sums(testChunk(w.id), w.version, 0, testCapacity, nil)
}

func (w *twin) Read(_ context.Context, off uint64, dst []byte, sums []uint32) (int, error) {
	if w.before != nil {
		w.before()
	}
	if w.fail != nil {
		return 0, w.fail
	}
	n, err := w.store.Read(testChunk(w.id), w.version, off, dst, sums)
	w.fetched += n
	return n, err
}

func mustRead(t *testing.T, s *Store, v proto.Version) []byte {
	t.Helper()
	got, err := read(t, s, testChunk(1), v, 0, testCapacity)
	must(t, err)
	return got
}

// Only the blocks that differ are fetched; length and bytes are the other's afterwards.
func TestResync(t *testing.T) { // G3
	for _, c := range []struct {
		name    string
		ours    func(s *Store)
		fetched int // bytes at most
	}{
		{"equal", func(*Store) {}, 0},
		{"one byte", func(s *Store) { must(t, write(s, testChunk(1), 1, 5000, []byte("!"), false)) }, blockSize},
		{"longer", func(s *Store) { must(t, write(s, testChunk(1), 1, 150_000, bytes.Repeat([]byte("l"), 50_000), false)) }, 0},
		{"longer within the last block", func(s *Store) { must(t, write(s, testChunk(1), 1, 100_000, []byte("l"), false)) }, 0},
		{"bytes where it has a hole", func(s *Store) { must(t, write(s, testChunk(1), 1, 40_000, []byte("no hole"), false)) }, blockSize},
		{"a hole where it has bytes", func(s *Store) { must(t, s.Zero(testChunk(1), 1, 0, 8192, false)) }, 2 * blockSize},
		{"nothing", func(s *Store) { must(t, s.Delete(1, 1, 1)) }, 100_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			content := bytes.Repeat([]byte("0123456789abcdef"), 6250) // 100,000 bytes
			clear(content[32_768:65_536])
			mem := disk.NewMem()
			s, other := openStore(t, testOptions(mem, "/data")), openStore(t, testOptions(disk.NewMem(), "/data"))
			for _, s := range []*Store{s, other} {
				must(t, write(s, testChunk(1), 1, 0, content, true))
				must(t, s.Zero(testChunk(1), 1, 32_768, 32_768, false))
			}
			c.ours(s)
			must(t, other.SetVersion(1, 2, false))
			from := &twin{store: other, id: 1, version: 2}
			must(t, s.Resync(t.Context(), 1, 2, from))
			if got := mustRead(t, s, 2); !bytes.Equal(got, content) {
				t.Errorf("%d bytes that are not the other's %d", len(got), len(content))
			}
			if from.fetched > c.fetched {
				t.Errorf("%d bytes were fetched, not %d", from.fetched, c.fetched)
			}
			s = openStoreAt(t, mem.CrashClone(3)) // it was durable
			if got := mustRead(t, settled(t, s), 2); !bytes.Equal(got, content) {
				t.Error("not there any more after a power cut")
			}
			must(t, s.Close())
		})
	}
}

// From when a resync has begun no write of an older version gets in, even if it
// fails; and while it goes on nobody reads a mixture (L8).
func TestResyncFences(t *testing.T) {
	s, other := openStore(t, testOptions(disk.NewMem(), "/data")), openStore(t, testOptions(disk.NewMem(), "/data"))
	must(t, write(s, testChunk(1), 1, 0, []byte("ours"), true))
	must(t, write(other, testChunk(1), 2, 0, []byte("theirs"), true))
	from := &twin{store: other, id: 1, version: 2, fail: errors.New("the network is down")}
	from.before = func() {
		wantKind(t, "write during it", write(s, testChunk(1), 1, 0, []byte("late"), false), proto.WrongVersion)
		_, err := read(t, s, testChunk(1), 1, 0, 4)
		wantKind(t, "read during it", err, proto.WrongVersion)
		_, err = read(t, s, testChunk(1), 2, 0, 4)
		wantKind(t, "read of the new version during it", err, proto.WrongVersion)
	}
	if err := s.Resync(t.Context(), 1, 2, from); err == nil {
		t.Error("it did not fail")
	}
	wantKind(t, "write after it", write(s, testChunk(1), 1, 0, []byte("late"), false), proto.WrongVersion)
	wantKind(t, "an order that was overtaken", s.SetVersion(1, 1, false), proto.WrongVersion)
	if st := s.replicaState(1); st.Version != 1 || st.Unclean {
		t.Errorf("it counts as %v", st)
	}
	must(t, s.SetVersion(1, 3, false)) // the master has thought of something else
	if got := mustRead(t, s, 3); string(got) != "ours" {
		t.Errorf("%q", got)
	}
	must(t, s.Resync(t.Context(), 1, 3, from))
	wantKind(t, "resync to an older version", s.Resync(t.Context(), 1, 2, from), proto.WrongVersion) // L1
}

// A corrupt replica is not built upon.
func TestResyncReplacesCorruptReplicas(t *testing.T) { // L13
	mem := disk.NewMem()
	s, other := openStore(t, testOptions(mem, "/data")), openStore(t, testOptions(disk.NewMem(), "/data"))
	content := bytes.Repeat([]byte("c"), 20_000)
	for _, s := range []*Store{s, other} {
		must(t, write(s, testChunk(1), 1, 0, content, true))
	}
	r := s.find(1)
	_, err := r.file.WriteAt([]byte("x"), 5000)
	must(t, err)
	_, err = read(t, s, testChunk(1), 1, 0, 20_000)
	wantKind(t, "read", err, proto.DataCorrupt)
	must(t, other.SetVersion(1, 2, false))
	must(t, s.Resync(t.Context(), 1, 2, &twin{store: other, id: 1, version: 2}))
	if got := mustRead(t, s, 2); !bytes.Equal(got, content) || s.replicaState(1).Corrupt {
		t.Errorf("%d bytes, %v", len(got), s.replicaState(1))
	}
}

// Whenever the power goes during a resync, what both had acknowledged and synced is there.
func TestResyncInterrupted(t *testing.T) { // G1
	common := bytes.Repeat([]byte("="), 60_000)
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 1))
		mem := disk.NewMem()
		s, other := openStore(t, testOptions(mem, "/data")), openStore(t, testOptions(disk.NewMem(), "/data"))
		for i, s := range []*Store{s, other} {
			must(t, write(s, testChunk(1), 1, 0, common, true))
			must(t, s.Sync(testChunk(1), 1))
			must(t, write(s, testChunk(1), 1, 20_000, bytes.Repeat([]byte{byte('a' + i)}, 10_000), false))
		}
		must(t, other.SetVersion(1, 2, false))
		var clone *disk.Mem
		calls, at := 0, 1+random.IntN(16)
		mem.SetHook(func(disk.Op, string) error {
			if calls++; calls == at {
				clone = mem.CrashClone(seed)
			}
			return nil
		})
		must(t, s.Resync(t.Context(), 1, 2, &twin{store: other, id: 1, version: 2}))
		mem.SetHook(nil)
		if clone == nil {
			continue
		}
		after := openStoreAt(t, clone)
		v := proto.Version(after.replicaState(1).Version)
		got := mustRead(t, settled(t, after), v)
		for i, c := range got {
			within := i >= 20_000/blockSize*blockSize && i < 32_768
			if c != '=' && !(within && (c == 'a' || c == 'b')) {
				t.Fatalf("operation %d seed %d: byte %d is %q", at, seed, i, c)
			}
		}
		must(t, after.Resync(t.Context(), 1, 2, &twin{store: other, id: 1, version: 2}))
		if !bytes.Equal(mustRead(t, after, 2), mustRead(t, other, 2)) {
			t.Errorf("operation %d seed %d: not equal in the end", at, seed)
		}
	}
}
