package pipeline

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distrifs/distrifs/proto"
)

// cutConn closes itself after so many bytes in either direction.
type cutConn struct {
	net.Conn
	left atomic.Int64
}

func (c *cutConn) spend(n int, err error) (int, error) {
	if c.left.Add(-int64(n)) < 0 {
		c.Conn.Close()
	}
	return n, err
}

func (c *cutConn) Read(p []byte) (int, error)  { return c.spend(c.Conn.Read(p)) }
func (c *cutConn) Write(p []byte) (int, error) { return c.spend(c.Conn.Write(p)) }

// Connections are cut at random, reads are cancelled at random: every request ends
// once, what is read is right, and in the end everything works. Each chunk has
// one content only, so that a failed write may be repeated at the same version.
func TestRandomCutsAndCancellations(t *testing.T) {
	const chunks, workers, rounds, size = 4, 6, 120, 300_000
	var calm atomic.Bool
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(1, 2))
	c := newCluster(t, 3, clusterOptions{wrap: func(_ int, conn net.Conn) net.Conn {
		if calm.Load() {
			return conn
		}
		mu.Lock()
		defer mu.Unlock()
		cut := &cutConn{Conn: conn}
		cut.left.Store(random.Int64N(8 << 20))
		return cut
	}})
	content := make([][]byte, chunks)
	for i := range content {
		content[i] = pattern(byte(i), size)
	}
	var failed, good, ended atomic.Int64
	var all sync.WaitGroup
	for i := range workers {
		random := rand.New(rand.NewPCG(3, uint64(i)))
		room := make(chan struct{}, 3) // what a cut takes with it is a part of all
		all.Go(func() {
			for range rounds {
				k := random.IntN(chunks)
				off := random.IntN(size - 1)
				n := 1 + random.IntN(min(size-off, 120_000))
				if random.IntN(2) == 0 {
					all.Add(1)
					room <- struct{}{}
					w := &WriteRequest{Chunk: testChunk(k), Version: 1, Offset: uint64(off), Data: content[k][off : off+n], Create: true, Chain: c.chain()}
					c.client.StartWrite(w, func(err error) {
						defer all.Done()
						defer func() { <-room }()
						ended.Add(1)
						if err != nil {
							failed.Add(1)
							for _, m := range c.members {
								m.server.Forget(testChunk(k))
							}
						}
					})
					continue
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.IntN(3000))*time.Microsecond)
				dst := make([]byte, n)
				got, err := c.client.Read(ctx, ReadRequest{Chunk: testChunk(k), Version: 1, Offset: uint64(off), From: c.members[random.IntN(3)].hop}, dst)
				cancel()
				if err == nil {
					good.Add(1)
					checkKnown(t, dst[:got], content[k][off:])
				}
				clear(dst) // whoever still writes here is found by the race detector
			}
		})
	}
	all.Wait()
	if failed.Load() == 0 || failed.Load() == ended.Load() || good.Load() == 0 {
		t.Errorf("%d of %d writes failed, %d reads were good: nothing was tried", failed.Load(), ended.Load(), good.Load())
	}
	calm.Store(true)
	for i := range content {
		c.repair(t, &WriteRequest{Chunk: testChunk(i), Version: 1, Data: content[i], Create: true, Chain: c.chain()})
		for j, m := range c.members {
			if !bytes.Equal(m.store.content(testChunk(i)), content[i]) {
				t.Errorf("chunk %d differs on member %d", i, j)
			}
		}
	}
}

// checkKnown compares bytes that were read with what they must be: written, or still zero.
func checkKnown(t *testing.T, got, want []byte) {
	for i, b := range got {
		if b != want[i] && b != 0 {
			t.Errorf("byte %d is %d, want %d", i, b, want[i])
			return
		}
	}
}

// repair writes w until the connections that are yet to be cut are used up.
func (c *cluster) repair(t *testing.T, w *WriteRequest) {
	for range 1000 {
		for _, m := range c.members {
			m.server.Forget(w.Chunk)
		}
		err := c.client.Write(testContext(t), w)
		if err == nil {
			return
		}
		if kind := proto.KindOf(err); kind != proto.ChainBroken && kind != proto.Unavailable {
			t.Fatal(err)
		}
	}
	t.Fatal("the chain stays broken")
}
