package client

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
)

func TestMain(m *testing.M) {
	pipeline.PoisonBuffers(os.Getenv("CLIENT_BENCH") == "") // L12
	os.Exit(m.Run())
}

var root = Cred{Umask: 0o022}

// connect dials a cluster; the client is closed with the test.
func connect(t testing.TB, cluster *clienttest.Cluster, change ...func(*Options)) *Client {
	t.Helper()
	opts := Options{
		Name: t.Name(), IOTimeout: 20 * time.Second,
		Dial: cluster.Dial, DialOptions: cluster.DialOptions(),
	}
	for _, fn := range change {
		fn(&opts)
	}
	c, err := Dial(context.Background(), clienttest.MasterAddress, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !c.closed.Load() {
			_ = c.Close() // a test that cares closes it itself
		}
	})
	return c
}

func impatient(d time.Duration) func(*Options) {
	return func(o *Options) { o.IOTimeout = d }
}

// create makes a file in the root, open for reading and writing.
func create(t testing.TB, c *Client, name string) *File {
	t.Helper()
	f, err := c.Create(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func open(t testing.TB, c *Client, name string, flags int) *File {
	t.Helper()
	f, err := c.OpenFile(t.Context(), name, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func mustWrite(t testing.TB, f *File, p []byte, off int64) {
	t.Helper()
	if n, err := f.WriteAt(p, off); n != len(p) || err != nil {
		t.Fatalf("WriteAt(%d bytes, %d) = %d, %v", len(p), off, n, err)
	}
}

// contents reads a whole file.
func contents(t testing.TB, f *File) []byte {
	t.Helper()
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t testing.TB, what string, err error, kinds ...proto.Kind) {
	t.Helper()
	got := proto.KindOf(err)
	for _, kind := range kinds {
		if got == kind {
			return
		}
	}
	t.Fatalf("%s: %v, want one of %v", what, err, kinds)
}

// noise is n bytes that depend on the seed alone.
func noise(seed uint64, n int) []byte {
	src := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	p := make([]byte, n)
	_, _ = src.Read(p)
	return p
}

// eventually waits for what background work brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("never happened: " + what)
}
