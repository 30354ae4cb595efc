package pipeline

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"github.com/distrifs/distrifs/proto"
)

// eachOf reads the first bytes of chunks, and gives what came of each.
func eachOf(ctx context.Context, c *Client, list []ReadRequest, sizes ...int) (data [][]byte, errs []error, calls []int) {
	into := make([][]byte, len(list))
	for k := range into {
		into[k] = make([]byte, sizes[k])
	}
	data, errs, calls = make([][]byte, len(list)), make([]error, len(list)), make([]int, len(list))
	var all sync.WaitGroup
	all.Add(len(list))
	c.ReadEach(ctx, list, into, func(k, n int, err error) {
		defer all.Done()
		data[k], errs[k] = into[k][:n], err
		calls[k]++
	})
	all.Wait()
	return data, errs, calls
}

func TestReadEach(t *testing.T) {
	const chunks = 300 // more than one system call takes
	c := newCluster(t, 1, clusterOptions{})
	var list []ReadRequest
	var sizes []int
	for k := range chunks {
		c.write(t, &WriteRequest{Chunk: testChunk(k), Version: 1, Data: pattern(byte(k), 5000), Create: true})
		list = append(list, ReadRequest{Chunk: testChunk(k), Version: 1, From: c.members[0].hop})
		sizes = append(sizes, 5000)
	}
	list[7].Version, list[8].From.Address, sizes[9] = 2, "", 6000
	data, errs, calls := eachOf(t.Context(), c.client, list, sizes...)
	for k := range chunks {
		want := map[int]proto.Kind{7: proto.WrongVersion, 8: proto.Invalid}[k]
		if proto.KindOf(errs[k]) != want || calls[k] != 1 || want == proto.OK && !bytes.Equal(data[k], pattern(byte(k), 5000)) {
			t.Errorf("chunk %d: %d bytes, %v, %d calls of done", k, len(data[k]), errs[k], calls[k])
		}
	}
}

// Whatever happens, each request is heard of once.
func TestReadEachOfABrokenConnection(t *testing.T) {
	c := newCluster(t, 1, clusterOptions{})
	var list []ReadRequest
	var sizes []int
	for k := range 100 {
		list = append(list, ReadRequest{Chunk: testChunk(k), Version: 1, From: c.members[0].hop})
		sizes = append(sizes, MaxPayload)
	}
	c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 10), Create: true})
	g := newGate(testChunk(0))
	c.members[0].store.set(func(s *memStore) { s.onRead = g.pass })
	ctx, cancel := context.WithCancel(t.Context())
	defer close(g.open)
	go func() {
		<-g.entered
		cancel() // most do not fit into the window
		c.client.Close()
	}()
	_, errs, calls := eachOf(ctx, c.client, list, sizes...)
	for k := range list {
		if calls[k] != 1 || errs[k] == nil {
			t.Errorf("request %d: %d calls of done, %v", k, calls[k], errs[k])
		}
	}
}
