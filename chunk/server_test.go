package chunk

import (
	"bytes"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// running is a chunkserver with a master of its own.
type running struct {
	*Server
	dir     string
	hop     pipeline.Hop
	master  *fakeMaster
	served  chan error
	stopped bool
}

func startServer(t *testing.T, dir string) *running {
	t.Helper()
	master, address := startMaster(t, "127.0.0.1:0", testCluster, 1)
	s, err := Open(Config{Dirs: []string{dir}, Master: address, Version: "test"})
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r := &running{Server: s, dir: dir, hop: pipeline.Hop{Node: 7, Address: listener.Addr().String()}, master: master, served: make(chan error, 1)}
	go func() { r.served <- s.Serve(listener) }()
	t.Cleanup(func() { r.close(t) })
	master.synced()
	return r
}

func (r *running) close(t *testing.T) {
	t.Helper()
	if r.stopped {
		return
	}
	r.stopped = true
	must(t, r.Close())
	must(t, <-r.served)
	must(t, r.Close()) // once more is nothing
}

func TestServersInAChain(t *testing.T) {
	root := t.TempDir()
	var servers []*running
	var chain []pipeline.Hop
	for _, name := range []string{"a", "b", "c"} {
		s := startServer(t, filepath.Join(root, name))
		servers, chain = append(servers, s), append(chain, s.hop)
	}
	client := pipeline.NewClient(pipeline.ClientOptions{})
	defer client.Close()
	content := randomBytes(rand.New(rand.NewPCG(1, 1)), testCapacity-777)
	must(t, client.Write(t.Context(), &pipeline.WriteRequest{Chunk: testChunk(1), Version: 1, Data: content, Create: true, Sync: true, Chain: chain}))
	must(t, client.Write(t.Context(), &pipeline.WriteRequest{Chunk: testChunk(1), Version: 1, Offset: 10_001, Data: []byte("overwritten"), Chain: chain}))
	must(t, client.Write(t.Context(), &pipeline.WriteRequest{Chunk: testChunk(1), Version: 1, Offset: 20_000, Zero: 30_000, Chain: chain}))
	must(t, client.Sync(t.Context(), testChunk(1), 1, chain))
	copy(content[10_001:], "overwritten")
	clear(content[20_000:50_000])
	for _, s := range servers {
		got := make([]byte, testCapacity)
		n, err := client.Read(t.Context(), pipeline.ReadRequest{Chunk: testChunk(1), Version: 1, From: s.hop}, got)
		if err != nil || !bytes.Equal(got[:n], content) {
			t.Errorf("%s: %d bytes, %v", s.dir, n, err)
		}
	}
	_, err := client.Read(t.Context(), pipeline.ReadRequest{Chunk: testChunk(1), Version: 2, From: chain[1]}, make([]byte, 10))
	wantKind(t, "other version", err, proto.WrongVersion)

	// A fourth copies from the first by order of its master.
	fourth := startServer(t, filepath.Join(root, "d"))
	order := &pb.CopyChunk{Chunk: 1, Version: 1, Sources: []*pb.Replica{{Node: 1, Address: chain[0].Address}}}
	result := fourth.master.order(&pb.NodeCommand{Epoch: 1, Command: &pb.NodeCommand_Copy{Copy: order}})
	must(t, proto.FromFailure(result.Failure))

	var first []byte
	for _, s := range append(servers, fourth) {
		s.close(t)
		file, err := os.ReadFile(filepath.Join(s.dir, "01", chunkPrefix+testChunk(1).String()))
		must(t, err)
		if !bytes.HasPrefix(file, content) {
			t.Errorf("%s: the file does not begin with the content", s.dir)
		}
		if first == nil {
			first = file
		} else if !bytes.Equal(first, file) {
			t.Errorf("%s: the file is another than %s has", s.dir, servers[0].dir)
		}
	}
}

func TestServeFails(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir)
	s.close(t)
	_, foreign := startMaster(t, "127.0.0.1:0", proto.ClusterID(uuid.New()), 1)
	again, err := Open(Config{Dirs: []string{dir}, Master: foreign})
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	err = again.Serve(listener)
	if wantKind(t, "foreign master", err, proto.WrongCluster); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("not one line: %q", err)
	}
	must(t, again.Close())
	listener, err = net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	wantKind(t, "after Close", again.Serve(listener), proto.Unavailable)

	any, err := Open(Config{Dirs: []string{dir}, Master: foreign})
	must(t, err)
	listener, err = net.Listen("tcp", "0.0.0.0:0")
	must(t, err)
	defer listener.Close()
	wantKind(t, "address that others cannot use", any.Serve(listener), proto.Invalid)
	must(t, any.Close())
}
