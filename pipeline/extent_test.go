package pipeline

import (
	"testing"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

func TestExtent(t *testing.T) {
	c := newCluster(t, 2, clusterOptions{})
	for _, off := range []uint64{2 * proto.BlockSize, 3*proto.BlockSize + 100, 9 * proto.BlockSize} {
		w := &WriteRequest{Chunk: testChunk(1), Version: 3, Offset: off, Data: pattern(1, 100), Create: true, Chain: c.chain()}
		if err := c.client.Write(testContext(t), w); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ off, n, start, end uint64 }{ // in blocks
		{0, 16, 2, 4}, {2, 16, 2, 4}, {3, 16, 3, 4}, {4, 16, 9, 10}, {4, 5, 9, 9}, {0, 3, 2, 3}, {10, 7, 17, 17}, {1 << 17, 1 << 17, 1 << 18, 1 << 18},
	} {
		for _, m := range c.members {
			r := ExtentRequest{Chunk: testChunk(1), Version: 3, Offset: test.off * proto.BlockSize, Length: test.n * proto.BlockSize, From: m.hop}
			start, end, err := c.client.Extent(testContext(t), r)
			if err != nil || start != test.start*proto.BlockSize || end != test.end*proto.BlockSize {
				t.Errorf("%+v: %d to %d, %v", test, start/proto.BlockSize, end/proto.BlockSize, err)
			}
		}
	}
	r := ExtentRequest{Chunk: testChunk(1), Version: 2, Length: 1, From: c.members[1].hop}
	_, _, err := c.client.Extent(testContext(t), r)
	wantFailure(t, err, proto.WrongVersion, 2)
	for _, bad := range []ExtentRequest{
		{Offset: 1, Length: 1, From: r.From}, {From: r.From}, {Offset: maxLength, Length: 1, From: r.From}, {Length: 1},
	} {
		if _, _, err := c.client.Extent(testContext(t), bad); proto.KindOf(err) != proto.Invalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// A hole is not shown while a write into it is under way, which another reader may
// have seen already.
func TestExtentWaitsForWrites(t *testing.T) { // G3
	c := newCluster(t, 2, clusterOptions{})
	g := newGate(testChunk(1))
	c.members[1].store.set(func(s *memStore) {
		s.onWrite = func(chunk uuid.UUID, _ uint64, _ int) error { return g.pass(chunk) }
	})
	result := make(chan error, 1)
	c.client.StartWrite(&WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 100), Create: true, Chain: c.chain()}, func(err error) { result <- err })
	<-g.entered
	found := make(chan uint64, 1)
	go func() {
		start, _, err := c.client.Extent(testContext(t), ExtentRequest{Chunk: testChunk(1), Version: 1, Length: 1 << 20, From: c.members[0].hop})
		if err != nil {
			t.Error(err)
		}
		found <- start
	}()
	for c.members[0].server.inflight.Load() < 2 {
	}
	if len(found) > 0 {
		t.Error("it did not wait")
	}
	close(g.open)
	if err := <-result; err != nil {
		t.Error(err)
	}
	if start := <-found; start != 0 {
		t.Errorf("data from %d on", start)
	}
}
