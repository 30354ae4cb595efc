package chunk

import (
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/distrifs/distrifs/internal/cputime"
	"github.com/distrifs/distrifs/pipeline"
)

// BenchmarkCopy copies a whole chunk from another chunkserver, as a repair does; cpu-s/GiB is the
// processor time of both.
func BenchmarkCopy(b *testing.B) {
	from, to := benchStore(b), benchStore(b)
	data := randomBytes(rand.New(rand.NewPCG(1, 1)), 1<<20)
	for off := uint64(0); off < 64<<20; off += uint64(len(data)) {
		must(b, write(from, testChunk(1), 1, off, data, true))
	}
	client := pipeline.NewClient(pipeline.ClientOptions{})
	defer client.Close()
	server := pipeline.NewServer(from, client, pipeline.ServerOptions{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	go server.Serve(listener)
	defer server.Shutdown(b.Context())
	source := &remote{client, testChunk(1), 1, pipeline.Hop{Node: 1, Address: listener.Addr().String()}}
	b.SetBytes(64 << 20)
	var spent time.Duration
	for b.Loop() {
		before := cputime.Process()
		must(b, to.Copy(b.Context(), 1, 1, source.Read))
		spent += cputime.Process() - before
		must(b, to.Delete(1, 1, 1))
	}
	b.ReportMetric(spent.Seconds()/float64(b.N)*16, "cpu-s/GiB")
}
