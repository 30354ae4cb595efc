package chunk

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// sourceOf reads chunk id for a copy.
func sourceOf(s *Store, id int) pieceReader {
	return func(_ context.Context, off uint64, dst []byte, sums []uint32) (int, error) {
		version := s.replicaState(proto.ChunkID(id)).Version
		return s.Read(testChunk(id), proto.Version(version), off, dst, sums)
	}
}

func TestVersionFencing(t *testing.T) {
	s := openStore(t, testOptions(disk.NewMem(), "/data"))
	must(t, write(s, testChunk(1), 5, 0, []byte("five"), true))
	for _, c := range []struct {
		name string
		do   func() error
		want proto.Kind
	}{
		{"write older", func() error { return write(s, testChunk(1), 4, 0, []byte("x"), false) }, proto.WrongVersion},
		{"write newer", func() error { return write(s, testChunk(1), 6, 0, []byte("x"), false) }, proto.WrongVersion},
		{"create newer", func() error { return write(s, testChunk(1), 6, 0, []byte("x"), true) }, proto.WrongVersion},
		{"zero older", func() error { return s.Zero(testChunk(1), 4, 0, 1, false) }, proto.WrongVersion},
		{"sync older", func() error { return s.Sync(testChunk(1), 4) }, proto.WrongVersion},
		{"read older", func() error { _, err := read(t, s, testChunk(1), 4, 0, 1); return err }, proto.WrongVersion},
		{"set older", func() error { return s.SetVersion(1, 4, false) }, proto.WrongVersion}, // L3
		{"set the same", func() error { return s.SetVersion(1, 5, false) }, proto.OK},
		{"set absent", func() error { return s.SetVersion(2, 5, false) }, proto.NoReplica},
		{"create by set", func() error { return s.SetVersion(2, 5, true) }, proto.OK},
		{"write to it", func() error { return write(s, testChunk(2), 5, 0, []byte("x"), false) }, proto.OK},
		{"set newer", func() error { return s.SetVersion(1, 8, false) }, proto.OK},
		{"write the old", func() error { return write(s, testChunk(1), 5, 0, []byte("x"), false) }, proto.WrongVersion},
		{"write the new", func() error { return write(s, testChunk(1), 8, 4, []byte("+"), false) }, proto.OK},
		{"copy older", func() error { return s.Copy(t.Context(), 1, 7, sourceOf(s, 2)) }, proto.WrongVersion}, // L1
		{"delete older", func() error { return s.Delete(1, 7, 1) }, proto.WrongVersion},
		{"delete by old master", func() error { return s.Delete(1, 8, 0) }, proto.OldEpoch}, // G10
		{"still there", func() error { _, err := read(t, s, testChunk(1), 8, 0, 1); return err }, proto.OK},
		{"delete by new master", func() error { return s.Delete(1, 8, 3) }, proto.OK},
		{"delete again", func() error { return s.Delete(1, 8, 3) }, proto.OK},
		{"gone", func() error { _, err := read(t, s, testChunk(1), 8, 0, 1); return err }, proto.NoReplica},
		{"order of the master before", func() error { return s.Delete(2, 8, 2) }, proto.OldEpoch},
	} {
		err := c.do()
		wantKind(t, c.name, err, c.want)
		if c.want == proto.WrongVersion && !strings.Contains(err.Error(), "version 5") && !strings.Contains(err.Error(), "version 8") {
			t.Errorf("%s: %q does not tell the replica's version", c.name, err)
		}
	}
	must(t, s.Close())
}

func TestVersionAndEpochAreDurable(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	must(t, write(s, testChunk(1), 1, 0, []byte("hello"), true))
	must(t, s.SetVersion(1, 2, false))
	must(t, s.obey(7))
	for seed := range uint64(50) {
		s := settled(t, openStoreAt(t, mem.CrashClone(seed)))
		if got, err := read(t, s, testChunk(1), 2, 0, 10); err != nil || string(got) != "hello" {
			t.Fatalf("after a crash: %q, %v", got, err)
		}
		wantKind(t, "old master", s.Delete(1, 2, 6), proto.OldEpoch)
	}
}

// openStoreAt opens what a crash left, without joining again.
func openStoreAt(t testing.TB, fsys disk.FS) *Store {
	t.Helper()
	s, err := OpenStore(testOptions(fsys, "/data"))
	must(t, err)
	return s
}

// settled says as the master that the bytes of all unclean replicas stand.
func settled(t testing.TB, s *Store) *Store {
	t.Helper()
	for _, r := range s.replicaStates(func(proto.ChunkID) bool { return true }) {
		if r.Unclean && !r.Corrupt {
			must(t, s.LetStand(proto.ChunkID(r.Chunk), proto.Version(r.Version)))
		}
	}
	return s
}

func TestCopy(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	content := bytes.Repeat([]byte("0123456789abcdef"), 30_000)
	clear(content[50_000:300_000])
	must(t, write(s, testChunk(1), 3, 0, content[:480_000-5], true))
	must(t, write(s, testChunk(2), 2, 0, []byte("stale"), true))
	for name, target := range map[string]int{"absent": 3, "stale": 2} {
		must(t, s.Copy(t.Context(), proto.ChunkID(target), 3, sourceOf(s, 1)))
		got, err := read(t, s, testChunk(target), 3, 0, testCapacity)
		if err != nil || !bytes.Equal(got, content[:480_000-5]) {
			t.Errorf("%s: copy has %d bytes, %v", name, len(got), err)
		}
		clone := openStoreAt(t, mem.CrashClone(uint64(target))) // durable when it returns
		if got, err := read(t, clone, testChunk(target), 3, 0, testCapacity); err != nil || !bytes.Equal(got, content[:480_000-5]) {
			t.Errorf("%s: after a crash the copy has %d bytes, %v", name, len(got), err)
		}
	}
	calls := 0
	must(t, s.Copy(t.Context(), 3, 3, func(context.Context, uint64, []byte, []uint32) (int, error) { calls++; return 0, nil }))
	if calls != 0 {
		t.Error("a good replica of the version was copied again")
	}
	broken := errors.New("source is gone")
	err := s.Copy(t.Context(), 2, 4, func(context.Context, uint64, []byte, []uint32) (int, error) { return 0, broken })
	if !errors.Is(err, broken) {
		t.Errorf("failed source: %v", err)
	}
	if got, err := read(t, s, testChunk(2), 3, 0, 5); err != nil || string(got) != "01234" {
		t.Errorf("after a failed copy the replica has %q, %v", got, err)
	}
	if left, err := mem.ReadDir("/data/tmp"); err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
	must(t, s.Close())
}

func TestCopyHealsCorruptReplica(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	must(t, write(s, testChunk(1), 1, 0, []byte("good"), true))
	must(t, write(s, testChunk(2), 1, 0, []byte("good"), true))
	flip(t, mem, chunkFile(2), 1)
	_, err := read(t, s, testChunk(2), 1, 0, 4)
	wantKind(t, "flipped", err, proto.DataCorrupt)
	if !s.replicaState(2).Corrupt {
		t.Error("not reported as corrupt")
	}
	must(t, s.Copy(t.Context(), 2, 1, sourceOf(s, 1)))
	if got, err := read(t, s, testChunk(2), 1, 0, 4); err != nil || string(got) != "good" || s.replicaState(2).Corrupt {
		t.Errorf("after the copy: %q, %v, %v", got, err, s.replicaState(2))
	}
}

// To confirm a version again costs no sync, however much was written meanwhile: it is asked in the
// middle of a writer's wait. A version that no sync has confirmed yet, does.
func TestConfirmingAVersionAgainSyncsNothing(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	must(t, write(s, testChunk(1), 1, 0, []byte("one"), true))
	syncs := 0
	mem.SetHook(func(op disk.Op, _ string) error {
		if op == disk.OpSync {
			syncs++
		}
		return nil
	})
	for i, want := range []int{1, 1, 2, 2} {
		must(t, s.SetVersion(1, proto.Version(1+i/2), false))
		if syncs != want {
			t.Fatalf("order %d: %d syncs, want %d", i, syncs, want)
		}
		must(t, write(s, testChunk(1), proto.Version(1+i/2), 0, []byte("more"), false))
	}
	mem.Inject(disk.Fault{Op: disk.OpSync, Times: 1})
	if err := s.SetVersion(1, 3, false); err == nil {
		t.Error("confirmed without a sync")
	}
	wantKind(t, "confirm after a failed sync", s.SetVersion(1, 3, false), proto.DataCorrupt) // L9
	mem.SetHook(nil)
	must(t, s.Close())
}

// A writer waits for its chain to be replaced, so a clean replica that goes on to the next version
// makes that durable alone. One that has missed a version may have missed a sync, and one
// that is unclean may have lost what it had: all of what is there is made durable (G1).
func TestWhatAVersionMakesDurable(t *testing.T) {
	content := bytes.Repeat([]byte("b"), 20_000)
	for name, c := range map[string]struct {
		to    proto.Version
		crash bool
		all   bool
	}{"next": {to: 2}, "skipped": {to: 3, all: true}, "unclean": {to: 2, crash: true, all: true}} {
		kept := 0
		const seeds = 40
		for seed := range uint64(seeds) {
			mem := disk.NewMem()
			s := openStore(t, testOptions(mem, "/data"))
			must(t, write(s, testChunk(1), 1, 0, bytes.Repeat([]byte("a"), 20_000), true))
			must(t, s.Sync(testChunk(1), 1))
			must(t, write(s, testChunk(1), 1, 0, content, false))
			if c.crash {
				mem = mem.CrashClone(1)
				s = openStoreAt(t, mem)
				must(t, s.LetStand(1, c.to))
				content, _ = read(t, s, testChunk(1), c.to, 0, 20_000)
			} else {
				must(t, s.SetVersion(1, c.to, false))
			}
			after := openStoreAt(t, mem.CrashClone(seed))
			if v := after.replicaState(1).Version; v != uint64(c.to) {
				t.Fatalf("%s, seed %d: version %d", name, seed, v)
			}
			got, err := read(t, settled(t, after), testChunk(1), c.to, 0, 20_000)
			must(t, err)
			if bytes.Equal(got, content) {
				kept++
			}
		}
		if c.all != (kept == seeds) {
			t.Errorf("%s: what was written is there after %d of %d crashes", name, kept, seeds)
		}
	}
}
