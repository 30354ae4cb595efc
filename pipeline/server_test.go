package pipeline

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

func TestShutdownLetsRequestsFinish(t *testing.T) {
	c := newCluster(t, 3, clusterOptions{})
	g := newGate(testChunk(1))
	c.members[2].store.set(func(s *memStore) {
		s.onWrite = func(chunk uuid.UUID, _ uint64, _ int) error { return g.pass(chunk) }
	})
	result := make(chan error, 1)
	c.client.StartWrite(&WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 100), Create: true, Chain: c.chain()}, func(err error) { result <- err })
	<-g.entered
	stopped := make(chan error, 1)
	go func() { stopped <- c.members[0].server.Shutdown(testContext(t)) }()
	for !c.members[0].server.draining.Load() {
		time.Sleep(time.Millisecond)
	}
	if len(stopped) > 0 {
		t.Error("the shutdown did not wait")
	}
	close(g.open)
	if err := errors.Join(<-result, <-stopped); err != nil {
		t.Error(err)
	}
	err := c.client.Write(testContext(t), &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 100), Create: true, Chain: c.chain()})
	wantFailure(t, err, proto.ChainBroken, 1)
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, clusterOptions{pipes: true})
		g := newGate(testChunk(1))
		defer close(g.open)
		c.members[0].store.set(func(s *memStore) {
			s.onWrite = func(chunk uuid.UUID, _ uint64, _ int) error { return g.pass(chunk) }
		})
		result := make(chan error, 1)
		c.client.StartWrite(&WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 100), Create: true, Chain: c.chain()}, func(err error) { result <- err })
		<-g.entered
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := c.members[0].server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		wantFailure(t, <-result, proto.ChainBroken, 1)
	})
}

func TestTheBudgetBoundsWhatAServerHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, clusterOptions{pipes: true, client: ClientOptions{Window: 64 << 20}, server: ServerOptions{Budget: 4 << 20}})
		for i := range 2 {
			c.write(t, &WriteRequest{Chunk: testChunk(i), Version: 1, Data: pattern(1, 100), Create: true})
		}
		g := newGate(testChunk(1))
		c.members[1].store.set(func(s *memStore) {
			s.onWrite = func(chunk uuid.UUID, _ uint64, _ int) error { return g.pass(chunk) }
		})
		var all sync.WaitGroup
		const writes = 20
		all.Add(writes)
		for range writes {
			c.client.StartWrite(&WriteRequest{Chunk: testChunk(1), Version: 1, Data: make([]byte, MaxPayload), Chain: c.chain()}, func(err error) {
				if err != nil {
					t.Error(err)
				}
				all.Done()
			})
		}
		synctest.Wait()
		for i, m := range c.members {
			if n := m.server.inflight.Load(); n > 4 { // three fit, and one waits to be read
				t.Errorf("member %d holds %d MiB", i, n)
			}
		}
		// Other classes go on: a read, and a write from the tail's own machine.
		if _, err := c.read(t, 0, testChunk(0), 1, 0, 100); err != nil {
			t.Error(err)
		}
		close(g.open)
		all.Wait()
	})
}

func TestChainsThatCrossDoNotDeadlock(t *testing.T) {
	c := newCluster(t, 3, clusterOptions{client: ClientOptions{Window: 16 << 20}, server: ServerOptions{Budget: 1}})
	var all sync.WaitGroup
	for i := range 3 {
		chain := []Hop{c.members[i].hop, c.members[(i+1)%3].hop, c.members[(i+2)%3].hop}
		data := pattern(byte(i), MaxPayload)
		all.Go(func() {
			for range 20 {
				all.Add(1)
				c.client.StartWrite(&WriteRequest{Chunk: testChunk(i), Version: 1, Data: data, Create: true, Chain: chain}, func(err error) {
					if err != nil {
						t.Error(err)
					}
					all.Done()
				})
			}
		})
	}
	all.Wait()
}

// startServer serves one end of a pipe.
func startServer(t testing.TB, options ServerOptions) (net.Conn, *Server) {
	client := NewClient(ClientOptions{Dial: func(context.Context, string) (net.Conn, error) { return nil, io.ErrClosedPipe }})
	server := NewServer(newMemStore(), client, options)
	here, there := net.Pipe()
	server.accept(there)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		here.Close()
		server.Shutdown(ctx)
		client.Close()
	})
	return here, server
}

func TestMalformedFramesCloseTheConnection(t *testing.T) {
	flip := func(frame []byte, at int) []byte { frame[at] ^= 1; return frame }
	for name, bytes := range map[string][]byte{
		"garbage":         bytes.Repeat([]byte("garbage "), 20),
		"header checksum": flip(samples()[0].encode(), 40),
		"meta checksum":   flip(samples()[0].encode(), headerSize),
		"reply":           samples()[4].encode(),
		"alive":           samples()[7].encode(),
	} {
		t.Run(name, func(t *testing.T) {
			conn, server := startServer(t, ServerOptions{})
			go conn.Write(bytes)
			if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
				t.Error(err)
			}
			if n := server.inflight.Load(); n != 0 {
				t.Errorf("%d requests are left", n)
			}
		})
	}
}

func TestAPeerThatStopsInMidFrameIsDropped(t *testing.T) {
	for _, sent := range []int{1, headerSize, headerSize + 60} {
		synctest.Test(t, func(t *testing.T) {
			conn, server := startServer(t, ServerOptions{})
			go conn.Write(samples()[0].encode()[:sent])
			time.Sleep(time.Minute)
			synctest.Wait()
			server.mu.Lock()
			defer server.mu.Unlock()
			if len(server.conns) != 0 {
				t.Errorf("after %d bytes: the connection is kept", sent)
			}
		})
	}
}

func TestAPeerThatTakesNoRepliesIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, server := startServer(t, ServerOptions{})
		go conn.Write(samples()[2].encode())
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := server.inflight.Load(); n != 0 {
			t.Errorf("%d requests are left", n)
		}
	})
}

func TestASilentConnectionIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, _ := startServer(t, ServerOptions{})
		time.Sleep(time.Hour)
		go conn.Write(samples()[2].encode())
		h := header{kind: kindAlive}
		for h.kind == kindAlive {
			reply := make([]byte, headerSize)
			if _, err := io.ReadFull(conn, reply); err != nil {
				t.Fatal(err)
			}
			var err error
			if h, err = parseHeader(reply); err != nil {
				t.Fatal(err)
			}
		}
		if h.id != 3 || h.failure != proto.NoReplica {
			t.Errorf("%+v", h)
		}
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	_, server := startServer(t, ServerOptions{MaxConnections: 1})
	here, there := net.Pipe()
	server.accept(there)
	if _, err := here.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
}

// countingConn counts the writes to it.
type countingConn struct {
	net.Conn
	writes int
	bytes  []byte
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes++
	c.bytes = append(c.bytes, p...)
	return len(p), nil
}

func TestSmallFramesThatAreQueuedTogetherLeaveTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSender(func(err error) { t.Error(err) })
		conn, owner := &countingConn{}, &countingOwner{}
		var want []byte
		for i := range 60 {
			frame := bytes.Repeat([]byte{byte(i)}, headerSize)
			s.enqueue(outgoing{head: frame[:50], data: frame[50:], owner: owner})
			want = append(want, frame...)
		}
		go s.run(conn)
		synctest.Wait()
		if conn.writes != 1 || !bytes.Equal(conn.bytes, want) || owner.freed.Load() != 60 {
			t.Errorf("%d writes, %d bytes, %d frames freed", conn.writes, len(conn.bytes), owner.freed.Load())
		}
		s.close()
	})
}

func TestASenderKeepsOrderUnderConcurrentFlushes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := newSender(func(err error) { t.Error(err) })
	go s.run(conn)
	const frames = 2000
	owner := &countingOwner{}
	var mu sync.Mutex
	next := 0
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				mu.Lock()
				if next == frames {
					mu.Unlock()
					return
				}
				head := []byte{byte(next), byte(next >> 8)}
				s.enqueue(outgoing{head: head, data: bytes.Repeat(head[:1], next%3*3000), owner: owner})
				next++
				mu.Unlock()
				s.flush()
			}
		})
	}
	for i := range frames {
		frame := make([]byte, 2+i%3*3000)
		if _, err := io.ReadFull(peer, frame); err != nil {
			t.Fatal(err)
		}
		if frame[0] != byte(i) || frame[1] != byte(i>>8) || bytes.Count(frame[2:], frame[:1]) != len(frame)-2 {
			t.Fatalf("frame %d is %d", i, int(frame[0])|int(frame[1])<<8)
		}
	}
	all.Wait()
	conn.Close()
	peer.Close()
	s.close()
	if n := owner.freed.Load(); n != frames {
		t.Errorf("%d of %d frames were freed", n, frames)
	}
}

// A connection that could not be dialled has frames that nobody will write, and a flush may come
// before it is closed.
func TestASenderThatNeverRanCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, owner := newSender(func(error) {}), &countingOwner{}
		s.enqueue(outgoing{head: []byte("frame"), owner: owner})
		s.fail(errClosed)
		s.flush()
		s.close() // or this test does not end
		if n := owner.freed.Load(); n != 1 {
			t.Errorf("the frame was freed %d times", n)
		}
	})
}

type countingOwner struct{ freed atomic.Int64 }

func (o *countingOwner) sent() { o.freed.Add(1) }

func FuzzServerReadsAnything(f *testing.F) {
	var all []byte
	for _, s := range samples() {
		f.Add(s.encode())
		if s.h.kind < kindReply {
			all = append(all, s.encode()...)
		}
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, frames []byte) {
		conn, server := startServer(t, ServerOptions{})
		go io.Copy(io.Discard, conn)
		conn.Write(frames)
		conn.Close()
		for server.inflight.Load() > 0 {
			time.Sleep(100 * time.Microsecond)
		}
	})
}
