package pipeline

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// wantFailure checks kind and blamed node of an error.
func wantFailure(t *testing.T, err error, kind proto.Kind, node proto.NodeID) {
	t.Helper()
	var ce *ChainError
	if !errors.As(err, &ce) || proto.KindOf(err) != kind || ce.FailedNode != node {
		t.Errorf("got %v, want kind %v of node %d", err, kind, node)
	}
}

func TestEveryFailureOfAHopNamesIt(t *testing.T) {
	chunk := testChunk(1)
	for name, c := range map[string]struct {
		kind  proto.Kind
		spoil func(m *member)
		sync  bool
	}{
		"no space": {proto.NoSpace, func(m *member) { m.store.setSize(0) }, false},
		"medium error": {proto.IO, func(m *member) {
			m.store.set(func(s *memStore) { s.onWrite = func(uuid.UUID, uint64, int) error { return errors.New("EIO") } })
		}, false},
		"sync error": {proto.IO, func(m *member) {
			m.store.set(func(s *memStore) { s.onSync = func(uuid.UUID) error { return errors.New("EIO") } })
		}, true}, // L9
		"other version": {proto.WrongVersion, func(m *member) { m.store.setVersion(chunk, 2) }, false},
		"no replica":    {proto.NoReplica, func(m *member) { m.store.set(func(s *memStore) { delete(s.replicas, chunk) }) }, false},
		"killed":        {proto.ChainBroken, (*member).stop, false},
	} {
		for i := range 3 {
			cl := newCluster(t, 3, clusterOptions{})
			cl.write(t, &WriteRequest{Chunk: chunk, Version: 1, Data: pattern(1, 9000), Create: true})
			c.spoil(cl.members[i])
			t.Run(name, func(t *testing.T) {
				ctx := testContext(t)
				if c.sync {
					wantFailure(t, cl.client.Sync(ctx, chunk, 1, cl.chain()), c.kind, cl.members[i].hop.Node)
				}
				err := cl.client.Write(ctx, &WriteRequest{Chunk: chunk, Version: 1, Data: pattern(2, 9000), Sync: c.sync, Chain: cl.chain()})
				wantFailure(t, err, c.kind, cl.members[i].hop.Node)
			})
		}
	}
}

// flippingConn flips a bit in the last byte of every large write.
type flippingConn struct{ net.Conn }

func (c flippingConn) Write(p []byte) (int, error) {
	if len(p) < 4096 {
		return c.Conn.Write(p)
	}
	p = append([]byte(nil), p...)
	p[len(p)-1] ^= 4
	return c.Conn.Write(p)
}

// flippingRead flips a bit in the last byte of every large read.
type flippingRead struct{ net.Conn }

func (c flippingRead) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n >= 4096 {
		p[n-1] ^= 4
	}
	return n, err
}

func TestABitFlippedOnTheWayIsNoticedAtTheNextHop(t *testing.T) { // L4
	for i := range 3 {
		var flip atomic.Bool
		c := newCluster(t, 3, clusterOptions{wrap: func(from int, conn net.Conn) net.Conn {
			if from == i-1 && flip.Load() {
				return flippingConn{conn}
			}
			return conn
		}})
		flip.Store(true)
		err := c.client.Write(testContext(t), &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 9000), Create: true, Chain: c.chain()})
		wantFailure(t, err, proto.DataCorrupt, c.members[i].hop.Node)
		if got := c.members[i].store.content(testChunk(1)); got != nil {
			t.Errorf("member %d keeps corrupt bytes", i)
		}
	}
}

func TestABitFlippedOnTheWayToTheReaderIsNoticed(t *testing.T) { // G5
	c := newCluster(t, 1, clusterOptions{wrap: func(_ int, conn net.Conn) net.Conn { return flippingRead{conn} }})
	c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 9000), Create: true})
	_, err := c.read(t, 0, testChunk(1), 1, 0, 9000)
	wantFailure(t, err, proto.DataCorrupt, c.members[0].hop.Node)
}

func TestABrokenChainWaitsForALaterVersion(t *testing.T) { // G3
	c := newCluster(t, 3, clusterOptions{})
	chunk := testChunk(1)
	c.write(t, &WriteRequest{Chunk: chunk, Version: 1, Data: pattern(1, 64<<10), Create: true})
	c.members[2].store.setSize(0)
	w := &WriteRequest{Chunk: chunk, Version: 1, Offset: 8192, Data: pattern(2, 4096), Chain: c.chain()}
	wantFailure(t, c.client.Write(testContext(t), w), proto.NoSpace, 3)
	c.members[2].store.setSize(1 << 20)

	wantFailure(t, c.client.Write(testContext(t), w), proto.ChainBroken, 3)
	for i := range 2 {
		_, err := c.read(t, i, chunk, 1, 8192, 10)
		wantFailure(t, err, proto.ChainBroken, 3)
		if _, err := c.read(t, i, chunk, 1, 0, 8192); err != nil {
			t.Errorf("beside the failed write: %v", err)
		}
	}
	if _, err := c.read(t, 2, chunk, 1, 8192, 10); err != nil {
		t.Errorf("behind the failure: %v", err)
	}
	for _, m := range c.members {
		m.store.setVersion(chunk, 2)
	}
	wantFailure(t, c.client.Write(testContext(t), w), proto.ChainBroken, 3)
	w.Version = 2
	c.write(t, w)
	for i := range c.members {
		if got, err := c.read(t, i, chunk, 2, 8192, 4096); err != nil || !bytes.Equal(got, w.Data) {
			t.Errorf("member %d at the later version: %v", i, err)
		}
	}
	for i, m := range c.members {
		if m.remembered() != 0 {
			t.Errorf("member %d remembers the failure", i)
		}
	}
}

func TestForgetEndsABreakage(t *testing.T) {
	c := newCluster(t, 2, clusterOptions{})
	c.members[1].store.setSize(0)
	w := &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(2, 4096), Create: true, Chain: c.chain()}
	wantFailure(t, c.client.Write(testContext(t), w), proto.NoSpace, 2)
	c.members[1].store.setSize(1 << 20)
	c.members[0].server.Forget(testChunk(1))
	c.write(t, w)
}

func TestKillingTheTailInMidFlight(t *testing.T) { // G7
	c := newCluster(t, 3, clusterOptions{})
	const writes, size = 200, 32 << 10
	chunk := testChunk(1)
	var seen atomic.Int64
	c.members[2].store.set(func(s *memStore) {
		s.onWrite = func(uuid.UUID, uint64, int) error {
			if seen.Add(1) == 20 {
				c.members[2].stop()
			}
			return nil
		}
	})
	results := make([]error, writes)
	var calls [writes]atomic.Int64
	var all sync.WaitGroup
	for i := range writes {
		all.Add(1)
		w := &WriteRequest{Chunk: chunk, Version: 1, Offset: uint64(i * size / 2), Data: pattern(byte(i), size), Create: true, Chain: c.chain()}
		c.client.StartWrite(w, func(err error) {
			results[i] = err
			if calls[i].Add(1) == 1 {
				all.Done()
			}
		})
	}
	all.Wait()
	acknowledged := 0
	for i, err := range results {
		if calls[i].Load() != 1 {
			t.Errorf("write %d ended %d times", i, calls[i].Load())
		}
		if err == nil {
			if acknowledged < i {
				t.Errorf("write %d was acknowledged behind one that failed", i)
			}
			acknowledged++
			continue
		}
		wantFailure(t, err, proto.ChainBroken, 3)
	}
	if acknowledged == writes {
		t.Error("no write noticed")
	}
	for i, m := range c.members[:2] {
		got := m.store.content(chunk)
		for j := range acknowledged {
			from := j * size / 2
			if !bytes.Equal(got[from:from+size/2], pattern(byte(j), size)[:size/2]) {
				t.Fatalf("member %d: write %d was acknowledged and is lost", i, j)
			}
		}
	}
}

func TestASilentHopIsNamedByItsPredecessor(t *testing.T) {
	for i := range 3 {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 3, clusterOptions{pipes: true})
			c.members[i].server.Shutdown(context.Background())
			l := c.network.listen(t, c.members[i].hop.Address) // accepts, and says nothing
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					defer conn.Close()
				}
			}()
			start := time.Now()
			err := c.client.Write(testContext(t), &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 9000), Create: true, Chain: c.chain()})
			wantFailure(t, err, proto.ChainBroken, c.members[i].hop.Node)
			if took := time.Since(start); took < 1500*time.Millisecond || took > 2*time.Second {
				t.Errorf("noticed after %v", took)
			}
		})
	}
}

func TestASlowHopIsNotAFailedOne(t *testing.T) { // L18
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, clusterOptions{pipes: true})
		c.members[2].store.set(func(s *memStore) {
			s.onWrite = func(uuid.UUID, uint64, int) error { time.Sleep(25 * time.Second); return nil }
		})
		c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 9000), Create: true})
	})
}

func TestAHungStoreIsNamedInTheEnd(t *testing.T) {
	for i := range 3 {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 3, clusterOptions{pipes: true})
			g := newGate(testChunk(1))
			defer close(g.open)
			c.members[i].store.set(func(s *memStore) { s.onWrite = func(chunk uuid.UUID, _ uint64, _ int) error { return g.pass(chunk) } })
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			err := c.client.Write(ctx, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 9000), Create: true, Chain: c.chain()})
			wantFailure(t, err, proto.ChainBroken, c.members[i].hop.Node)
		})
	}
}

func TestADeadAddressIsNamed(t *testing.T) {
	c := newCluster(t, 3, clusterOptions{pipes: true})
	for i := range 3 {
		chain := c.chain()
		chain[i].Address = "nobody"
		err := c.client.Write(testContext(t), &WriteRequest{Chunk: testChunk(i), Version: 1, Data: pattern(1, 9000), Create: true, Chain: chain})
		wantFailure(t, err, proto.ChainBroken, chain[i].Node)
	}
	_, err := c.client.Read(testContext(t), ReadRequest{From: Hop{Node: 7, Address: "nobody"}}, make([]byte, 1))
	wantFailure(t, err, proto.Unavailable, 7)
}

// Who applied a write that failed behind it says so, once, with the version.
func TestABrokenChainIsTold(t *testing.T) {
	type told struct {
		chunk   uuid.UUID
		version proto.Version
	}
	heard := make(chan told, 10)
	c := newCluster(t, 3, clusterOptions{server: ServerOptions{Broken: func(chunk uuid.UUID, v proto.Version) { heard <- told{chunk, v} }}})
	c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 4, Data: pattern(1, 9000), Create: true})
	c.members[2].store.set(func(s *memStore) { s.onWrite = func(uuid.UUID, uint64, int) error { return errors.New("EIO") } })
	for range 3 {
		if err := c.client.Write(testContext(t), &WriteRequest{Chunk: testChunk(1), Version: 4, Data: pattern(2, 9000), Chain: c.chain()}); err == nil {
			t.Error("it succeeded")
		}
	}
	for range 2 { // members 0 and 1
		if got := <-heard; got != (told{testChunk(1), 4}) {
			t.Errorf("%v", got)
		}
	}
	if len(heard) > 0 {
		t.Errorf("told again: %v", <-heard)
	}
}
