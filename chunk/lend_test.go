package chunk

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/pipeline/loan"
	"github.com/distrifs/distrifs/proto"
)

// lendingStore is a store on real files that lends them at an address.
func lendingStore(t *testing.T) (s *Store, dir, address string) {
	t.Helper()
	dir, address = t.TempDir(), uuid.NewString()
	s = openStore(t, testOptions(disk.OS, dir))
	server, err := loan.Listen(address, s.Lend, slog.New(slog.DiscardHandler))
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { server.Serve(ctx); close(ended) }()
	t.Cleanup(func() { stop(); <-ended; s.abandon() })
	return s, dir, address
}

func borrow(t *testing.T, address string, chunk uuid.UUID, v proto.Version) *loan.Replica {
	t.Helper()
	r, err := loan.Borrow(address, chunk, v)
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

// expect reads as a borrower.
func expect(t *testing.T, what string, r *loan.Replica, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if err := r.Read(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: error %v, or wrong bytes", what, err)
	}
}

func TestALentChunkFollowsItsWrites(t *testing.T) { // G3
	s, _, address := lendingStore(t)
	chunk, content := testChunk(1), make([]byte, 100_000)
	must(t, write(s, chunk, 1, 0, bytes.Repeat([]byte{1}, 10_000), true))
	copy(content, bytes.Repeat([]byte{1}, 10_000))
	r := borrow(t, address, chunk, 1)
	expect(t, "as it was lent", r, content)

	must(t, write(s, chunk, 1, 5_000, bytes.Repeat([]byte{2}, 50_001), false))
	copy(content[5_000:], bytes.Repeat([]byte{2}, 50_001))
	expect(t, "written to", r, content)

	must(t, s.Zero(chunk, 1, 3_000, 30_000, false))
	clear(content[3_000:33_000])
	expect(t, "zeroed", r, content)

	must(t, s.Sync(chunk, 1))
	expect(t, "synced", r, content)
}

func TestALentChunkOfAnotherVersion(t *testing.T) {
	s, _, address := lendingStore(t)
	must(t, write(s, testChunk(1), 1, 0, []byte("old"), true))
	r := borrow(t, address, testChunk(1), 1)
	must(t, s.SetVersion(1, 2, false))
	wantKind(t, "a read at the old version", r.Read(make([]byte, 3), 0), proto.WrongVersion)
	_, err := loan.Borrow(address, testChunk(1), 1)
	wantKind(t, "to borrow the old version", err, proto.WrongVersion)
	expect(t, "the new version", borrow(t, address, testChunk(1), 2), []byte("old"))
}

func TestALentChunkThatRots(t *testing.T) { // G5
	s, dir, address := lendingStore(t)
	must(t, write(s, testChunk(1), 1, 0, bytes.Repeat([]byte{7}, 5*blockSize), true))
	r := borrow(t, address, testChunk(1), 1)
	var path string
	must(t, filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(p), "chunk-") {
			path = p
		}
		return err
	}))
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	defer file.Close()
	_, err = file.WriteAt([]byte{8}, 2*blockSize+5)
	must(t, err)
	wantKind(t, "a rotten block", r.Read(make([]byte, 5*blockSize), 0), proto.DataCorrupt)
	must(t, r.Read(make([]byte, blockSize), 0))

	// The chunkserver, asked in the ordinary way, finds it too, and lends it no more.
	_, err = read(t, s, testChunk(1), 1, 0, 5*blockSize)
	wantKind(t, "an ordinary read", err, proto.DataCorrupt)
	_, err = loan.Borrow(address, testChunk(1), 1)
	wantKind(t, "to borrow it again", err, proto.Unavailable)
}

func TestALentChunkThatIsDeleted(t *testing.T) {
	s, _, address := lendingStore(t)
	must(t, write(s, testChunk(1), 1, 0, []byte("moved away"), true))
	r := borrow(t, address, testChunk(1), 1)
	must(t, s.Delete(1, 1, 1))
	expect(t, "who has the file", r, []byte("moved away"))
	_, err := loan.Borrow(address, testChunk(1), 1)
	wantKind(t, "to borrow it again", err, proto.NoReplica)
}

func TestWhatIsNotLent(t *testing.T) {
	s, _, address := lendingStore(t)
	must(t, write(s, testChunk(1), 1, 0, []byte("1"), true))
	s.noteBroken(testChunk(1), 1)
	_, err := loan.Borrow(address, testChunk(1), 1)
	wantKind(t, "a replica that may differ from others", err, proto.Unavailable)
	_, err = loan.Borrow(address, testChunk(2), 1)
	wantKind(t, "an absent replica", err, proto.NoReplica)
	_, err = loan.Borrow(address, uuid.New(), 1)
	wantKind(t, "another cluster's chunk", err, proto.WrongCluster)

	memory := openStore(t, testOptions(disk.NewMem(), "/d"))
	must(t, write(memory, testChunk(1), 1, 0, []byte("1"), true))
	_, _, err = memory.Lend(testChunk(1), 1)
	wantKind(t, "a file without a descriptor", err, proto.NotSupported)
}
