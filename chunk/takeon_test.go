package chunk

import (
	"bytes"
	"testing"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// A replica that takes a version on is unclean at it, whatever it was before, and remembers that over
// stops and power cuts: its bytes may differ from others of that version, and nobody
// has said yet that they stand (G3). It keeps all that it had.
func TestTakenOnIsUnclean(t *testing.T) {
	data := bytes.Repeat([]byte("a"), 20_000)
	for name, stop := range map[string]func(*testing.T, *disk.Mem, *Store) *disk.Mem{
		"goes on":       nil,
		"stopped":       func(t *testing.T, mem *disk.Mem, s *Store) *disk.Mem { must(t, s.Close()); return mem },
		"without power": func(t *testing.T, mem *disk.Mem, s *Store) *disk.Mem { return mem.CrashClone(1) },
	} {
		t.Run(name, func(t *testing.T) {
			mem := disk.NewMem()
			s := openStore(t, testOptions(mem, "/data"))
			must(t, write(s, testChunk(1), 1, 0, data, true))
			must(t, s.Sync(testChunk(1), 1))
			must(t, s.settle(0, 1))
			must(t, s.TakeOn(1, 2))
			must(t, s.settle(0, 1))
			if stop != nil {
				s = openStoreAt(t, stop(t, mem, s))
			}
			if r := s.replicaState(1); r.GetVersion() != 2 || !r.GetUnclean() {
				t.Fatalf("the replica is %v", r)
			}
			_, err := read(t, s, testChunk(1), 2, 0, 10)
			wantKind(t, "read", err, proto.NoReplica)
			wantKind(t, "take an older one on", s.TakeOn(1, 1), proto.WrongVersion)
			must(t, s.LetStand(1, 2))
			if got, err := read(t, s, testChunk(1), 2, 0, 20_000); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			must(t, s.Close())
		})
	}
}

// What may lack something that it acknowledged says so also at the version that it takes on (L9).
func TestTakenOnStaysIncomplete(t *testing.T) {
	mem := disk.NewMem()
	s := openStore(t, testOptions(mem, "/data"))
	must(t, write(s, testChunk(1), 1, 0, []byte("synced"), true))
	must(t, s.Sync(testChunk(1), 1))
	must(t, write(s, testChunk(1), 1, 0, []byte("acknowledged"), false))
	s = openStoreAt(t, mem.CrashClone(1))
	must(t, s.TakeOn(1, 2))
	if r := s.replicaState(1); !r.GetUnclean() || r.GetComplete() {
		t.Errorf("the replica is %v", r)
	}
	must(t, s.Close())
}
