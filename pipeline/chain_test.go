package pipeline

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

func pattern(seed byte, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = seed + byte(i*7)
	}
	return data
}

func (c *cluster) write(t testing.TB, w *WriteRequest) {
	t.Helper()
	if w.Chain == nil {
		w.Chain = c.chain()
	}
	if err := c.client.Write(testContext(t), w); err != nil {
		t.Fatal(err)
	}
}

// read reads from member i.
func (c *cluster) read(t testing.TB, i int, chunk uuid.UUID, v proto.Version, off uint64, n int) ([]byte, error) {
	t.Helper()
	dst := make([]byte, n)
	n, err := c.client.Read(testContext(t), ReadRequest{Chunk: chunk, Version: v, Offset: off, From: c.members[i].hop}, dst)
	return dst[:n], err
}

func TestAWriteReachesEveryReplica(t *testing.T) {
	c := newCluster(t, 3, clusterOptions{})
	next := 0
	for _, size := range []int{1, 4096, 5000, 64 << 10, 100_001, MaxPayload} {
		for _, off := range []uint64{0, 1, 4095, 12288} {
			next++
			data := pattern(byte(size), size)
			c.write(t, &WriteRequest{Chunk: testChunk(next), Version: 1, Offset: off, Data: data, Create: true})
			c.write(t, &WriteRequest{Chunk: testChunk(next), Version: 1, Offset: off, Zero: 1})
			data[0] = 0
			for i := range c.members {
				got, err := c.read(t, i, testChunk(next), 1, off, size+10)
				if err != nil || !bytes.Equal(got, data) {
					t.Fatalf("member %d, %d bytes at %d: %d bytes, %v", i, size, off, len(got), err)
				}
			}
		}
	}
}

func TestAReadOverTheFrameSize(t *testing.T) {
	c := newCluster(t, 1, clusterOptions{})
	data := pattern(3, 3<<20+5000)
	for off := 0; off < len(data); off += MaxPayload {
		part := data[off:min(len(data), off+MaxPayload)]
		c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 1, Offset: uint64(off), Data: part, Create: true})
	}
	for _, off := range []int{0, 1000} {
		got, err := c.read(t, 0, testChunk(1), 1, uint64(off), 4<<20-1000)
		if err != nil || !bytes.Equal(got, data[off:]) {
			t.Errorf("from %d: %d bytes, %v", off, len(got), err)
		}
	}
	if got, err := c.read(t, 0, testChunk(1), 1, uint64(len(data))+1, 10); len(got) != 0 || err != nil {
		t.Errorf("behind the end: %d bytes, %v", len(got), err)
	}
}

func TestSyncReachesEveryReplica(t *testing.T) { // G1
	c := newCluster(t, 3, clusterOptions{})
	c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 100), Create: true})
	if err := c.client.Sync(testContext(t), testChunk(1), 1, c.chain()); err != nil {
		t.Fatal(err)
	}
	c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 100), Sync: true})
	for i, m := range c.members {
		if n := m.store.syncs(testChunk(1)); n != 2 {
			t.Errorf("member %d has synced %d times", i, n)
		}
	}
}

func TestConcurrentOverlappingWritesLeaveReplicasEqual(t *testing.T) { // G3
	for _, pipes := range []bool{false, true} {
		c := newCluster(t, 3, clusterOptions{pipes: pipes})
		const chunks, writers, writes, area = 3, 4, 150, 256 << 10
		for i := range chunks {
			c.write(t, &WriteRequest{Chunk: testChunk(i), Version: 1, Data: make([]byte, area), Create: true})
		}
		var all sync.WaitGroup
		for i := range writers {
			client := c.client
			if i == 0 {
				client = c.members[1].client // another machine's
			}
			random := rand.New(rand.NewPCG(uint64(i), 1))
			all.Go(func() {
				for j := range writes {
					n := 1 + random.IntN(40<<10)
					w := &WriteRequest{Chunk: testChunk(random.IntN(chunks)), Version: 1, Offset: uint64(random.IntN(area - n)), Chain: c.chain()}
					if j%8 == 0 {
						w.Zero = uint64(n)
					} else {
						w.Data = pattern(byte(random.Int()), n)
					}
					w.Sync = j%32 == 0
					all.Add(1)
					client.StartWrite(w, func(err error) {
						if err != nil {
							t.Error(err)
						}
						all.Done()
					})
				}
			})
		}
		all.Wait()
		for i := range chunks {
			want := c.members[0].store.content(testChunk(i))
			for j, m := range c.members[1:] {
				if !bytes.Equal(m.store.content(testChunk(i)), want) {
					t.Errorf("pipes %v: chunk %d differs on member %d", pipes, i, j+1)
				}
			}
		}
		for i, m := range c.members {
			if n := m.remembered(); n != 0 {
				t.Errorf("member %d still knows %d chunks", i, n)
			}
		}
	}
}

func TestWritesOfOneCallerApplyInOrderEverywhere(t *testing.T) {
	c := newCluster(t, 3, clusterOptions{})
	var mu sync.Mutex
	seen := make([][]uint64, 3)
	for i, m := range c.members {
		m.store.set(func(s *memStore) {
			s.onWrite = func(_ uuid.UUID, off uint64, _ int) error {
				mu.Lock()
				defer mu.Unlock()
				seen[i] = append(seen[i], off)
				return nil
			}
		})
	}
	var all sync.WaitGroup
	const writes = 500
	for i := range writes {
		data := make([]byte, 64<<(i%10))
		binary.LittleEndian.PutUint64(data, uint64(i))
		all.Add(1)
		c.client.StartWrite(&WriteRequest{Chunk: testChunk(1), Version: 1, Offset: uint64(i), Data: data, Create: true, Chain: c.chain()}, func(err error) {
			if err != nil {
				t.Error(err)
			}
			all.Done()
		})
	}
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	for i := range seen {
		if len(seen[i]) != writes {
			t.Errorf("member %d applied %d writes", i, len(seen[i]))
		}
		for j, off := range seen[i] {
			if off != uint64(j) {
				t.Fatalf("member %d applied write %d as number %d", i, off, j)
			}
		}
	}
}

// gate blocks the operations of one chunk until it is opened.
type gate struct {
	chunk   uuid.UUID
	entered chan struct{}
	open    chan struct{}
}

func newGate(chunk uuid.UUID) *gate {
	return &gate{chunk: chunk, entered: make(chan struct{}, 100), open: make(chan struct{})}
}

func (g *gate) pass(chunk uuid.UUID) error {
	if chunk == g.chunk {
		g.entered <- struct{}{}
		<-g.open
	}
	return nil
}

func TestChunksDoNotWaitForEachOther(t *testing.T) {
	c := newCluster(t, 3, clusterOptions{})
	for i := range c.members {
		g := newGate(testChunk(1))
		c.members[i].store.set(func(s *memStore) { s.onWrite = func(chunk uuid.UUID, _ uint64, _ int) error { return g.pass(chunk) } })
		held := make(chan error, 3)
		for range cap(held) {
			c.client.StartWrite(&WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 10_000), Create: true, Chain: c.chain()}, func(err error) { held <- err })
		}
		<-g.entered
		c.write(t, &WriteRequest{Chunk: testChunk(2), Version: 1, Data: pattern(2, 10_000), Create: true})
		if len(held) > 0 {
			t.Errorf("member %d: a write was acknowledged before it was applied", i)
		}
		close(g.open)
		for range cap(held) {
			if err := <-held; err != nil {
				t.Error(err)
			}
		}
	}
}

func TestReadsDoNotWaitForEachOther(t *testing.T) {
	c := newCluster(t, 1, clusterOptions{})
	for i := range 2 {
		c.write(t, &WriteRequest{Chunk: testChunk(i), Version: 1, Data: pattern(1, 4096), Create: true})
	}
	g := newGate(testChunk(0))
	c.members[0].store.set(func(s *memStore) { s.onRead = g.pass })
	held := make(chan error, 1)
	go func() { _, err := c.read(t, 0, testChunk(0), 1, 0, 4096); held <- err }()
	<-g.entered
	if _, err := c.read(t, 0, testChunk(1), 1, 0, 4096); err != nil {
		t.Error(err)
	}
	close(g.open)
	if err := <-held; err != nil {
		t.Error(err)
	}
}

func TestReadsWaitForWritesThatAreOnTheirWayDown(t *testing.T) { // G3
	for _, zero := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 3, clusterOptions{pipes: true})
			old := pattern(1, 64<<10)
			c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: old, Create: true})
			g := newGate(testChunk(1))
			c.members[2].store.set(func(s *memStore) { s.onWrite = func(chunk uuid.UUID, _ uint64, _ int) error { return g.pass(chunk) } })
			w := &WriteRequest{Chunk: testChunk(1), Version: 1, Offset: 10_000, Data: pattern(9, 5000), Chain: c.chain()}
			want := w.Data
			if zero {
				want = make([]byte, 5000)
				w.Data, w.Zero = nil, 5000
			}
			written := make(chan error, 1)
			c.client.StartWrite(w, func(err error) { written <- err })
			synctest.Wait()

			type result struct {
				data []byte
				err  error
			}
			results := make(chan result, 3)
			for i := range c.members {
				if got, err := c.read(t, i, testChunk(1), 1, 15_000, 1000); err != nil || !bytes.Equal(got, old[15_000:16_000]) {
					t.Errorf("member %d: beside the write: %v", i, err)
				}
				go func() {
					got, err := c.read(t, i, testChunk(1), 1, 10_000, 5000)
					results <- result{got, err}
				}()
			}
			synctest.Wait()
			if len(results) > 0 {
				t.Error("a read went past a write that is not acknowledged from below")
			}
			close(g.open)
			for range c.members {
				if r := <-results; r.err != nil || !bytes.Equal(r.data, want) {
					t.Errorf("after the write: %v", r.err)
				}
			}
			if err := <-written; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAReadWaitsForAWriteThatArrivedWhileItRead(t *testing.T) { // G3
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, clusterOptions{pipes: true})
		c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 4096), Create: true})
		reading, writing := newGate(testChunk(1)), newGate(testChunk(1))
		c.members[0].store.set(func(s *memStore) { s.onRead = reading.pass })
		c.members[1].store.set(func(s *memStore) {
			s.onWrite = func(chunk uuid.UUID, _ uint64, _ int) error { return writing.pass(chunk) }
		})
		read, written := make(chan error, 1), make(chan error, 1)
		go func() { _, err := c.read(t, 0, testChunk(1), 1, 0, 4096); read <- err }()
		<-reading.entered
		c.client.StartWrite(&WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(2, 4096), Chain: c.chain()}, func(err error) { written <- err })
		<-writing.entered
		synctest.Wait()
		close(reading.open)
		synctest.Wait()
		if len(read) > 0 {
			t.Error("the read showed bytes that the tail may never have")
		}
		close(writing.open)
		if err := errors.Join(<-read, <-written); err != nil {
			t.Error(err)
		}
	})
}

func TestTheWaitForADirtyRangeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, clusterOptions{pipes: true, server: ServerOptions{DirtyWait: 3 * time.Second}})
		c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 4096), Create: true})
		g := newGate(testChunk(1))
		c.members[1].store.set(func(s *memStore) { s.onWrite = func(chunk uuid.UUID, _ uint64, _ int) error { return g.pass(chunk) } })
		written := make(chan error, 1)
		c.client.StartWrite(&WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(2, 4096), Chain: c.chain()}, func(err error) { written <- err })
		<-g.entered
		start := time.Now()
		if _, err := c.read(t, 0, testChunk(1), 1, 0, 4096); !errors.Is(err, proto.Unavailable) || time.Since(start) != 3*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		close(g.open)
		if err := <-written; err != nil {
			t.Error(err)
		}
	})
}

func TestBadArgumentsAreRefused(t *testing.T) {
	c := newCluster(t, 1, clusterOptions{})
	long := make([]Hop, MaxChain+1)
	for i := range long {
		long[i] = c.members[0].hop
	}
	for name, w := range map[string]*WriteRequest{
		"too much data":   {Data: make([]byte, MaxPayload+1), Chain: c.chain()},
		"beyond a chunk":  {Offset: maxLength, Data: make([]byte, 1), Chain: c.chain()},
		"overflow":        {Offset: 1, Zero: ^uint64(0), Chain: c.chain()},
		"no chain":        {},
		"long chain":      {Chain: long},
		"without address": {Chain: []Hop{{Node: 1}}},
	} {
		done := make(chan error, 1)
		c.client.StartWrite(w, func(err error) { done <- err })
		if err := <-done; !errors.Is(err, proto.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.client.Read(context.Background(), ReadRequest{Offset: maxLength, From: c.members[0].hop}, make([]byte, 1)); !errors.Is(err, proto.Invalid) {
		t.Error(err)
	}
}
