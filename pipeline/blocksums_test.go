package pipeline

import (
	"testing"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

func TestSums(t *testing.T) {
	c := newCluster(t, 2, clusterOptions{})
	data := pattern(1, 2*proto.BlockSize+100)
	w := &WriteRequest{Chunk: testChunk(1), Version: 3, Data: data, Create: true, Chain: c.chain()}
	if err := c.client.Write(testContext(t), w); err != nil {
		t.Fatal(err)
	}
	var last [proto.BlockSize]byte
	copy(last[:], data[2*proto.BlockSize:])
	want := []uint32{checksum(data[:proto.BlockSize]), checksum(data[proto.BlockSize : 2*proto.BlockSize]), checksum(last[:])}
	for _, m := range c.members {
		length, sums, err := c.client.Sums(testContext(t), testChunk(1), 3, m.hop)
		if err != nil || length != uint64(len(data)) || len(sums) != 3 || [3]uint32(sums) != [3]uint32(want) {
			t.Errorf("length %d, sums %x, %v; want %x", length, sums, err, want)
		}
	}
	_, _, err := c.client.Sums(testContext(t), testChunk(1), 2, c.members[1].hop)
	wantFailure(t, err, proto.WrongVersion, 2)
	_, _, err = c.client.Sums(testContext(t), testChunk(2), 1, c.members[1].hop)
	wantFailure(t, err, proto.NoReplica, 2)
	if _, _, err := c.client.Sums(testContext(t), testChunk(1), 3, Hop{}); proto.KindOf(err) != proto.Invalid {
		t.Error(err)
	}
}

// An empty replica has no blocks.
func TestSumsOfNothing(t *testing.T) {
	c := newCluster(t, 1, clusterOptions{})
	if err := c.client.Write(testContext(t), &WriteRequest{Chunk: testChunk(1), Version: 1, Create: true, Chain: c.chain()}); err != nil {
		t.Fatal(err)
	}
	length, sums, err := c.client.Sums(testContext(t), testChunk(1), 1, c.members[0].hop)
	if length != 0 || len(sums) != 0 || err != nil {
		t.Errorf("length %d, %d sums, %v", length, len(sums), err)
	}
}

// What a write under way makes of a block is not told before the whole chain has it.
func TestSumsWaitForWrites(t *testing.T) { // G3
	c := newCluster(t, 2, clusterOptions{})
	g := newGate(testChunk(1))
	c.members[1].store.set(func(s *memStore) {
		s.onWrite = func(chunk uuid.UUID, _ uint64, _ int) error { return g.pass(chunk) }
	})
	result := make(chan error, 1)
	c.client.StartWrite(&WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 100), Create: true, Chain: c.chain()}, func(err error) { result <- err })
	<-g.entered
	length := make(chan uint64, 1)
	go func() {
		n, _, err := c.client.Sums(testContext(t), testChunk(1), 1, c.members[0].hop)
		if err != nil {
			t.Error(err)
		}
		length <- n
	}()
	for c.members[0].server.inflight.Load() < 2 {
	}
	if len(length) > 0 {
		t.Error("it did not wait")
	}
	close(g.open)
	if err := <-result; err != nil {
		t.Error(err)
	}
	if n := <-length; n != 100 {
		t.Errorf("length %d", n)
	}
}
