package loan

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
)

// serve starts a server for an address that is this test's own, until the test ends.
func serve(t *testing.T, lend Lend) (address string) {
	t.Helper()
	address = uuid.NewString()
	server, err := Listen(address, lend, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { server.Serve(ctx); close(ended) }()
	t.Cleanup(func() { stop(); <-ended })
	return address
}

func TestBorrow(t *testing.T) {
	path, content := chunkFile(t)
	address := serve(t, func(chunk uuid.UUID, v proto.Version) (File, Geometry, error) {
		if chunk != someChunk || v != 7 {
			return nil, Geometry{}, proto.WrongVersion
		}
		file, err := os.Open(path)
		return file, someGeometry, err
	})
	r, err := Borrow(address, someChunk, 7)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make([]byte, 10_000)
	if err := r.Read(got, 123); err != nil || !bytes.Equal(got, content[123:10_123]) {
		t.Errorf("a borrowed file: %v, or wrong bytes", err)
	}
	if _, err := unix.Pwrite(int(r.file.Fd()), []byte{1}, 0); err != unix.EBADF {
		t.Errorf("a borrowed file was written to: %v", err)
	}
	if _, err := Borrow(address, someChunk, 8); proto.KindOf(err) != proto.WrongVersion {
		t.Errorf("a refusal: %v", err)
	}
	if _, err := Borrow("nobody"+address, someChunk, 7); proto.KindOf(err) != proto.Unavailable {
		t.Errorf("nobody there: %v", err)
	}
}

// G9: who sends nonsense is cut off, and others are served on.
func TestNonsenseEndsItsConnection(t *testing.T) {
	path, _ := chunkFile(t)
	address := serve(t, func(uuid.UUID, proto.Version) (File, Geometry, error) {
		file, err := os.Open(path)
		return file, someGeometry, err
	})
	conn, err := net.DialUnix("unix", nil, socketName(address))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(make([]byte, requestSize)); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil && !isReset(err) {
		t.Errorf("nonsense was answered with %x, %v", rest, err)
	}
	r, err := Borrow(address, someChunk, 1)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
}

func isReset(err error) bool { return proto.KindOf(err) == proto.IO }

// An answer without a descriptor, or with an impossible geometry, is refused and leaves
// nothing open.
func TestBadAnswersAreRefused(t *testing.T) {
	path, _ := chunkFile(t)
	for name, g := range map[string]Geometry{
		"no capacity":      {},
		"table in the way": {Capacity: 1 << 20, TableAt: 4096, SealAt: 1 << 20},
		"seal in the way":  {Capacity: 1 << 20, TableAt: 1 << 20, SealAt: -1},
		"far away":         {Capacity: 1 << 20, TableAt: 1 << 62, SealAt: 1 << 20},
	} {
		address := serve(t, func(uuid.UUID, proto.Version) (File, Geometry, error) {
			file, err := os.Open(path)
			return file, g, err
		})
		if _, err := Borrow(address, someChunk, 1); proto.KindOf(err) != proto.Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}
