package chunk

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

func chunkFile(n int) string {
	return filepath.Join("/data", bucketDir(proto.ChunkID(n)), chunkPrefix+testChunk(n).String())
}

// flip inverts the lowest bit of one byte of a file.
func flip(t testing.TB, fsys disk.FS, name string, off int64) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], off)
	must(t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b[:], off)
	must(t, err)
}

// G5: a flipped bit anywhere in a chunk's file is never returned, before or after
// a restart, and is reported.
func TestFlippedBits(t *testing.T) {
	const length = 20_000
	l := layout(testCapacity)
	content := randomBytes(rand.New(rand.NewPCG(3, 4)), length)
	for _, c := range []struct {
		name string
		at   int64
	}{
		{"first byte", 0}, {"middle", 9000}, {"last byte", length - 1}, {"behind the length, in its block", length + 10},
		{"first entry", l.tableAt()}, {"last entry", l.tableAt() + 4*entrySize + 3},
		{"magic", l.footerAt()}, {"version", l.footerAt() + 32}, {"length", l.footerAt() + 41}, {"footer's end", l.footerAt() + 4095},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := disk.NewMem()
			s := openStore(t, testOptions(mem, "/data"))
			must(t, write(s, testChunk(1), 1, 0, content, true))
			must(t, s.Close())
			flip(t, mem, chunkFile(1), c.at)
			s = openStoreAt(t, mem)
			for off := uint64(0); off < length; off += 1000 {
				got, err := read(t, s, testChunk(1), 1, off, 1000)
				if err == nil && !bytes.Equal(got, content[off:off+1000]) {
					t.Fatalf("wrong bytes at %d", off)
				}
			}
			_, err := read(t, s, testChunk(1), 1, 0, length+1)
			wantPadding := c.at >= length && c.at < testCapacity // cannot be returned, so need not be refused
			if !wantPadding {
				wantKind(t, "read of everything", err, proto.DataCorrupt)
				if !s.replicaState(1).Corrupt {
					t.Error("not reported")
				}
				if ids, _ := s.changes.take(10); len(ids) != 1 || len(s.changes.wake) != 1 {
					t.Errorf("the heartbeat is not told at once: %v", ids)
				}
			}
			// A write into the middle of the last block must not bless the damage.
			if err := write(s, testChunk(1), 1, length-10, []byte("x"), false); err == nil && c.at > 16384 && c.at < length {
				t.Error("merged with a corrupt block")
			}
		})
	}
}

func TestDamagedFiles(t *testing.T) {
	damage := func(name string, do func(t *testing.T, mem *disk.Mem)) {
		t.Run(name, func(t *testing.T) {
			mem := disk.NewMem()
			s := openStore(t, testOptions(mem, "/data"))
			for n := range 2 {
				must(t, write(s, testChunk(256*n+1), 1, 0, bytes.Repeat([]byte{byte(n + 1)}, 5000), true))
			}
			must(t, s.Close())
			do(t, mem)
			s = openStoreAt(t, mem)
			_, err := read(t, s, testChunk(1), 1, 0, 5000)
			wantKind(t, "read", err, proto.DataCorrupt)
			wantKind(t, "write", write(s, testChunk(1), 1, 0, []byte("x"), true), proto.DataCorrupt)
			wantKind(t, "version", s.SetVersion(1, 2, true), proto.DataCorrupt)
			if st := s.replicaState(1); st == nil || !st.Corrupt {
				t.Errorf("reported as %v", st)
			}
			if _, err := mem.Stat(chunkFile(1)); err != nil {
				t.Errorf("the file was removed on inference (L2): %v", err)
			}
			must(t, s.Delete(1, 1, 1))
			must(t, s.Close())
		})
	}
	resize := func(size int64) func(*testing.T, *disk.Mem) {
		return func(t *testing.T, mem *disk.Mem) {
			f, err := mem.OpenFile(chunkFile(1), os.O_RDWR, 0)
			must(t, err)
			must(t, f.Truncate(size))
			must(t, f.Close())
		}
	}
	damage("empty", resize(0))
	damage("cut within the data", resize(4096))
	damage("cut within the footer", resize(testCapacity+20))
	damage("cut within the table", resize(layout(testCapacity).fileSize()-1))
	damage("too long", resize(2*testCapacity))
	damage("swapped", func(t *testing.T, mem *disk.Mem) {
		must(t, mem.Rename(chunkFile(1), "/x"))
		must(t, mem.Rename(chunkFile(257), chunkFile(1)))
		must(t, mem.Rename("/x", chunkFile(257)))
	})
}

// While the process runs, too: the file is gone, cut, or its footer changed.
func TestDamageUnderARunningStore(t *testing.T) {
	for name, do := range map[string]func(t *testing.T, mem *disk.Mem){
		"cut":     func(t *testing.T, mem *disk.Mem) { truncate(t, mem, 4096) },
		"removed": func(t *testing.T, mem *disk.Mem) { must(t, mem.Remove(chunkFile(1))) },
		"footer":  func(t *testing.T, mem *disk.Mem) { flip(t, mem, chunkFile(1), testCapacity+33) },
	} {
		t.Run(name, func(t *testing.T) {
			mem := disk.NewMem()
			o := testOptions(mem, "/data")
			o.OpenChunks = 1
			s := openStore(t, o)
			must(t, write(s, testChunk(1), 1, 0, make([]byte, 8192), true))
			for n := 2; n < 5; n++ { // closes the first
				must(t, write(s, testChunk(n), 1, 0, make([]byte, 8192), true))
			}
			do(t, mem)
			_, err := read(t, s, testChunk(1), 1, 0, 8192)
			wantKind(t, "read", err, proto.DataCorrupt)
		})
	}
}

func truncate(t *testing.T, mem *disk.Mem, size int64) {
	f, err := mem.OpenFile(chunkFile(1), os.O_RDWR, 0)
	must(t, err)
	must(t, f.Truncate(size))
	must(t, f.Close())
}
