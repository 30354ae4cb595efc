package chunk

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// G1: whatever was synced is there after a power cut at any moment, and every
// block that a read returns after it matches its checksum. Blocks that were not
// written since the last sync hold what was synced.
func TestPowerCut(t *testing.T) {
	for seed := range uint64(80) {
		random := rand.New(rand.NewPCG(seed, 9))
		mem := disk.NewMem()
		s := openStore(t, testOptions(mem, "/data"))
		synced, written := map[uuid.UUID]model{}, map[uuid.UUID]model{}
		touched := map[uuid.UUID]map[int]bool{} // blocks written since the last sync
		for range 5 + random.IntN(40) {
			chunk := testChunk(random.IntN(3))
			off, n := randomRange(random)
			switch random.IntN(8) {
			case 0, 1:
				if written[chunk] == nil {
					continue
				}
				must(t, s.Sync(chunk, 1))
				synced[chunk], touched[chunk] = bytes.Clone(written[chunk]), nil
				continue
			case 2:
				must(t, s.settle(0, 2))
				writeBack(t, mem, written)
				for chunk, m := range written {
					synced[chunk], touched[chunk] = bytes.Clone(m), nil
				}
				continue
			case 3:
				must(t, s.Zero(chunk, 1, off, uint64(n), true))
				m := written[chunk]
				m.write(off, make([]byte, n))
				written[chunk] = m
			default:
				data := randomBytes(random, n)
				must(t, write(s, chunk, 1, off, data, true))
				m := written[chunk]
				m.write(off, data)
				written[chunk] = m
			}
			if touched[chunk] == nil {
				touched[chunk] = map[int]bool{}
			}
			for b := int(off) / blockSize; b <= (int(off)+n-1)/blockSize; b++ {
				touched[chunk][b] = true
			}
		}
		after := settled(t, openStoreAt(t, mem.CrashClone(seed)))
		for chunk, m := range synced {
			checkSynced(t, after, seed, chunk, m, touched[chunk])
		}
		must(t, after.Close())
	}
}

// writeBack is the kernel that writes footers without being asked, so that the
// flag of the last period is gone from the disk.
func writeBack(t *testing.T, mem *disk.Mem, chunks map[uuid.UUID]model) {
	for chunk := range chunks {
		id, _ := testCluster.ChunkOf(chunk)
		f, err := mem.OpenFile(chunkFile(int(id)), os.O_RDWR, 0)
		must(t, err)
		must(t, f.Sync())
		must(t, f.Close())
	}
}

// A write that comes while the replica is being synced belongs to the period: its
// flag must stay.
func TestWriteDuringSettle(t *testing.T) {
	for seed := range uint64(40) {
		mem := disk.NewMem()
		s := openStore(t, testOptions(mem, "/data"))
		must(t, write(s, testChunk(1), 1, 0, bytes.Repeat([]byte("a"), 20_000), true))
		must(t, s.Sync(testChunk(1), 1))
		mem.SetHook(func(op disk.Op, _ string) error {
			if op == disk.OpSyncDir || op == disk.OpSync {
				mem.SetHook(func(op disk.Op, name string) error {
					if op == disk.OpWrite { // the footer that would end the period
						writeBack(t, mem, map[uuid.UUID]model{testChunk(1): nil})
					}
					return nil
				})
				return write(s, testChunk(1), 1, 4096, bytes.Repeat([]byte("b"), 12_000), false)
			}
			return nil
		})
		must(t, s.settle(0, 2))
		mem.SetHook(nil)
		after := openStoreAt(t, mem.CrashClone(seed))
		if !after.replicaState(1).Unclean {
			t.Fatal("the flag was taken away under a write")
		}
		if _, err := read(t, settled(t, after), testChunk(1), 1, 0, 20_000); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func checkSynced(t *testing.T, s *Store, seed uint64, chunk uuid.UUID, m model, touched map[int]bool) {
	t.Helper()
	got, err := read(t, s, chunk, 1, 0, testCapacity)
	if err != nil || len(got) < len(m) {
		t.Fatalf("seed %d: chunk %v: %d bytes of %d, %v", seed, chunk, len(got), len(m), err)
	}
	for b := 0; b*blockSize < len(m); b++ {
		end := min((b+1)*blockSize, len(m))
		if !touched[b] && !bytes.Equal(got[b*blockSize:end], m[b*blockSize:end]) {
			t.Fatalf("seed %d: chunk %v block %d is not what was synced", seed, chunk, b)
		}
	}
}

// A power cut within any single operation: the hook takes the clone there.
func TestPowerCutWithinAWrite(t *testing.T) {
	for at := range 30 {
		for seed := range uint64(6) {
			mem := disk.NewMem()
			s := openStore(t, testOptions(mem, "/data"))
			before := bytes.Repeat([]byte("a"), 20_000)
			must(t, write(s, testChunk(1), 1, 0, before, true))
			must(t, s.settle(0, 2))
			var clone *disk.Mem
			calls := 0
			mem.SetHook(func(disk.Op, string) error {
				if calls++; calls == at {
					clone = mem.CrashClone(seed)
				}
				return nil
			})
			must(t, write(s, testChunk(1), 1, 5000, bytes.Repeat([]byte("b"), 9000), false))
			must(t, s.Zero(testChunk(1), 1, 10_000, 20_000, false))
			must(t, s.SetVersion(1, 2, false))
			mem.SetHook(nil)
			if clone == nil {
				continue
			}
			after := openStoreAt(t, clone)
			v := proto.Version(after.replicaState(1).Version)
			got, err := read(t, settled(t, after), testChunk(1), v, 0, testCapacity)
			if err != nil || len(got) < 20_000 || string(got[:4096]) != string(before[:4096]) {
				t.Fatalf("operation %d seed %d: %d bytes, %v", at, seed, len(got), err)
			}
			for i, c := range got[:20_000] {
				if c != 'a' && c != 'b' && c != 0 {
					t.Fatalf("operation %d seed %d: byte %d is %q, which nobody wrote", at, seed, i, c)
				}
			}
		}
	}
}

// After a power cut a replica lacks acknowledged writes that were not synced. It must
// not pass for one that has them: not for a reader, nor for a sync (G1, G3).
func TestUncleanReplicaServesNobody(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	must(t, write(s, testChunk(1), 1, 0, bytes.Repeat([]byte("a"), 20_000), true))
	must(t, s.Sync(testChunk(1), 1))
	must(t, write(s, testChunk(1), 1, 0, bytes.Repeat([]byte("b"), 20_000), false))
	s = openStoreAt(t, mem.CrashClone(1))
	_, err := read(t, s, testChunk(1), 1, 0, 20_000)
	wantKind(t, "read", err, proto.NoReplica)
	wantKind(t, "sync", s.Sync(testChunk(1), 1), proto.NoReplica)
	wantKind(t, "write", write(s, testChunk(1), 1, 0, []byte("c"), false), proto.NoReplica)
	wantKind(t, "zero", s.Zero(testChunk(1), 1, 0, 10, false), proto.NoReplica)
	wantKind(t, "set version", s.SetVersion(1, 2, false), proto.Unavailable)
	must(t, s.LetStand(1, 1)) // no better replica is left: its bytes stand
	got, err := read(t, s, testChunk(1), 1, 0, 20_000)
	if err != nil || len(got) != 20_000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	must(t, s.Close())
}

// kill -9: what was acknowledged is there, what was not is readable, and the
// replica is reported unclean until the master says otherwise.
func TestKilled(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	must(t, write(s, testChunk(1), 1, 0, bytes.Repeat([]byte("a"), 20_000), true))
	must(t, write(s, testChunk(2), 1, 0, []byte("settled"), true))
	must(t, s.settle(0, 2))
	must(t, write(s, testChunk(1), 1, 10_000, []byte("acknowledged"), false))
	must(t, write(s, testChunk(3), 1, 0, []byte("new"), true))
	// A write that dies between table and data.
	errKilled := errors.New("killed")
	writes := 0
	mem.SetHook(func(op disk.Op, _ string) error {
		if op == disk.OpWrite {
			if writes++; writes > 1 {
				return errKilled
			}
		}
		return nil
	})
	if err := write(s, testChunk(1), 1, 4096, bytes.Repeat([]byte("x"), 4096), false); err == nil {
		t.Fatal("the write should have died")
	}
	mem.SetHook(nil)
	s.abandon()
	s = openStoreAt(t, mem)
	for id, unclean := range map[proto.ChunkID]bool{1: true, 2: false, 3: true} {
		if st := s.replicaState(id); st.Unclean != unclean || st.Corrupt {
			t.Errorf("chunk %v: %v, want unclean %v", id, st, unclean)
		}
	}
	must(t, s.Close())
	s = openStoreAt(t, mem)
	if !s.replicaState(1).Unclean {
		t.Error("a clean stop made an unclean replica clean")
	}
	must(t, s.LetStand(1, 2))
	if s.replicaState(1).Unclean {
		t.Error("unclean after the master has settled it")
	}
	got, err := read(t, s, testChunk(1), 2, 0, testCapacity)
	want := bytes.Repeat([]byte("a"), 20_000)
	copy(want[10_000:], "acknowledged")
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("after the kill: %d bytes, %v", len(got), err)
	}
	must(t, s.Close())
}

// Blocks of a chunk that was not being written are never given a new checksum.
func TestUncleanStopBlessesNothingElse(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	must(t, write(s, testChunk(1), 1, 0, []byte("settled"), true))
	must(t, s.settle(0, 2))
	s.abandon()
	flip(t, mem, chunkFile(1), 3)
	s = openStoreAt(t, mem)
	_, err := read(t, s, testChunk(1), 1, 0, 7)
	wantKind(t, "read", err, proto.DataCorrupt)
}

// faultScript is a life of a store in which any disk operation may fail. Every
// failure must come out as an error; what was acknowledged must be read back, or
// refused.
func faultScript(t *testing.T, mem *disk.Mem, what string) {
	s, err := OpenStore(testOptions(mem, "/data"))
	if err != nil {
		return
	}
	if err := s.join(testCluster, 1, testCapacity, 1); err != nil {
		return
	}
	acked := map[int]model{}
	put := func(n int, off uint64, data []byte) {
		m := bytes.Clone(acked[n])
		if err := write(s, testChunk(n), 1, off, data, true); err != nil {
			for i := int(off); i < min(len(m), int(off)+len(data)); i++ {
				m[i] = '?' // either
			}
			acked[n] = m
			return
		}
		(*model)(&m).write(off, data)
		acked[n] = m
	}
	put(1, 0, bytes.Repeat([]byte("a"), 10_000))
	put(1, 9_000, bytes.Repeat([]byte("b"), 10_000))
	_ = s.settle(0, 2) // may fail like everything here
	put(1, 4_096, bytes.Repeat([]byte("c"), 8_192))
	put(2, 100_000, []byte("d"))
	if m := acked[1]; s.Zero(testChunk(1), 1, 3_000, 12_000, false) == nil {
		(*model)(&m).write(3_000, make([]byte, 12_000))
		acked[1] = m
	} else {
		for i := 3_000; i < min(15_000, len(m)); i++ {
			m[i] = '?'
		}
	}
	_ = s.Sync(testChunk(1), 1)
	put(1, 5, []byte("e"))
	for n, m := range acked {
		got, err := read(t, s, testChunk(n), 1, 0, testCapacity)
		if err != nil {
			continue
		}
		if len(got) < len(m) {
			t.Fatalf("%s: chunk %d has %d bytes of %d", what, n, len(got), len(m))
		}
		for i, c := range m {
			if c != '?' && got[i] != c || c == '?' && !bytes.ContainsRune([]byte("abcde\x00"), rune(got[i])) {
				t.Fatalf("%s: chunk %d byte %d is %q, want %q", what, n, i, got[i], c)
			}
		}
	}
	_ = s.Close()
}

func TestEveryOperationFailsInTurn(t *testing.T) {
	for _, fault := range []struct {
		err     error
		partial bool
		times   int
	}{{syscall.EIO, false, 1}, {syscall.EIO, true, 1}, {syscall.ENOSPC, true, 1}, {syscall.ENOSPC, false, 3}, {syscall.EIO, false, 0}} {
		for _, op := range []disk.Op{disk.OpOpen, disk.OpRead, disk.OpWrite, disk.OpSync, disk.OpSyncDir, disk.OpRename, disk.OpTruncate, disk.OpPunchHole, disk.OpRemove, disk.OpUsage, disk.OpStat} {
			for after := 0; ; after++ {
				mem := disk.NewMem()
				mem.Inject(disk.Fault{Op: op, After: after, Times: fault.times, Err: fault.err, Partial: fault.partial})
				faultScript(t, mem, fmt.Sprintf("%s fails after %d with %v (%d times, partial %v)", op, after, fault.err, fault.times, fault.partial))
				if mem.Calls(op) <= after {
					break
				}
			}
		}
	}
}

// After a restart that follows the failure, still no wrong byte.
func TestFaultThenRestart(t *testing.T) {
	for after := range 28 {
		kill := after%2 == 0
		after := after / 2
		for _, partial := range []bool{false, true} {
			mem := disk.NewMem()
			s := openStore(t, testOptions(mem, "/data"))
			must(t, write(s, testChunk(1), 1, 0, bytes.Repeat([]byte("a"), 30_000), true))
			must(t, s.settle(0, 2))
			remove := mem.Inject(disk.Fault{Op: disk.OpWrite, Path: "chunk-*", After: after, Times: 2, Err: syscall.ENOSPC, Partial: partial})
			for i := range uint64(3) {
				_ = write(s, testChunk(1), 1, 1000+i*9000, bytes.Repeat([]byte("b"), 9_000), false)
			}
			remove()
			s.refresh()
			if kill {
				s.abandon()
			} else {
				must(t, s.Close())
			}
			s = settled(t, openStoreAt(t, mem))
			got, err := read(t, s, testChunk(1), 1, 0, testCapacity)
			if err != nil || len(got) != 30_000 {
				t.Fatalf("after %d: %d bytes, %v", after, len(got), err)
			}
			if i := bytes.IndexFunc(got, func(c rune) bool { return c != 'a' && c != 'b' }); i >= 0 {
				t.Fatalf("after %d: byte %d is %q", after, i, got[i])
			}
			must(t, s.Close())
		}
	}
}

// L9: a sync that failed is never followed by one that says all is well.
func TestFailedSyncLosesTheReplica(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	must(t, write(s, testChunk(1), 1, 0, []byte("x"), true))
	mem.Inject(disk.Fault{Op: disk.OpSync, Path: "chunk-*", Times: 1})
	wantKind(t, "sync", s.Sync(testChunk(1), 1), proto.DataCorrupt)
	wantKind(t, "sync again", s.Sync(testChunk(1), 1), proto.DataCorrupt)
	if !s.replicaState(1).Corrupt || s.disks()[0].Fault == "" {
		t.Errorf("not reported: %v, %v", s.replicaState(1), s.disks())
	}
	_ = s.Close()
	s = openStoreAt(t, mem)
	if !s.replicaState(1).Unclean {
		t.Error("after a restart it passes for clean")
	}
}
