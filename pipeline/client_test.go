package pipeline

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// dialCounter counts the connections that the client makes.
func dialCounter(count *atomic.Int64) func(int, net.Conn) net.Conn {
	return func(i int, conn net.Conn) net.Conn {
		if i == -1 {
			count.Add(1)
		}
		return conn
	}
}

func TestACancelledReadReturnsAtOnceAndHarmsNothing(t *testing.T) {
	var dials atomic.Int64
	c := newCluster(t, 1, clusterOptions{wrap: dialCounter(&dials)})
	data := pattern(1, 8192)
	c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: data, Create: true})
	c.write(t, &WriteRequest{Chunk: testChunk(2), Version: 1, Data: data, Create: true})
	g := newGate(testChunk(1))
	c.members[0].store.set(func(s *memStore) { s.onRead = g.pass })
	ctx, cancel := context.WithCancel(context.Background())
	dst := make([]byte, 8192)
	result := make(chan error, 1)
	go func() {
		_, err := c.client.Read(ctx, ReadRequest{Chunk: testChunk(1), Version: 1, From: c.members[0].hop}, dst)
		result <- err
	}()
	<-g.entered
	cancel()
	if err := <-result; !errors.Is(err, proto.Interrupted) {
		t.Error(err)
	}
	close(g.open)
	for range 3 {
		if got, err := c.read(t, 0, testChunk(2), 1, 0, 8192); err != nil || !bytes.Equal(got, data) {
			t.Error(err)
		}
	}
	if !bytes.Equal(dst, make([]byte, 8192)) {
		t.Error("the late answer went into memory that the caller had back")
	}
	if dials.Load() != 2 { // one for writes, one for small reads
		t.Errorf("%d connections were made", dials.Load())
	}
}

// stallingConn delivers limit bytes, and then nothing until the limit is raised.
type stallingConn struct {
	net.Conn
	limit    *atomic.Int64
	stalled  chan struct{}
	deadline atomic.Bool // one in the past is set
}

func (c *stallingConn) SetReadDeadline(t time.Time) error {
	c.deadline.Store(!t.IsZero())
	return nil
}

func (c *stallingConn) Read(p []byte) (int, error) {
	if c.limit.Load() == 0 {
		c.stalled <- struct{}{}
	}
	for c.limit.Load() == 0 {
		if c.deadline.Load() {
			return 0, os.ErrDeadlineExceeded
		}
		time.Sleep(time.Millisecond)
	}
	n, err := c.Conn.Read(p[:min(len(p), int(c.limit.Load()))])
	c.limit.Add(-int64(n))
	return n, err
}

func TestAReadIsCancelledWhileItsDataArrives(t *testing.T) {
	const open = 1 << 40
	var limit, dials atomic.Int64
	limit.Store(open)
	stalled := make(chan struct{}, 10)
	count := dialCounter(&dials)
	c := newCluster(t, 1, clusterOptions{wrap: func(i int, conn net.Conn) net.Conn {
		return &stallingConn{Conn: count(i, conn), limit: &limit, stalled: stalled}
	}})
	data := pattern(1, MaxPayload)
	c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: data, Create: true})
	limit.Store(300_000)
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	dst := make([]byte, MaxPayload)
	r := ReadRequest{Chunk: testChunk(1), Version: 1, From: c.members[0].hop}
	go func() {
		_, err := c.client.Read(ctx, r, dst)
		result <- err
	}()
	<-stalled
	cancel()
	if err := <-result; !errors.Is(err, proto.Interrupted) {
		t.Error(err)
	}
	clear(dst)
	limit.Store(open)
	if got, err := c.read(t, 0, testChunk(1), 1, 0, MaxPayload); err != nil || !bytes.Equal(got, data) {
		t.Error(err)
	}
	if !bytes.Equal(dst, make([]byte, MaxPayload)) {
		t.Error("the rest of the answer went into memory that the caller had back")
	}
	if dials.Load() != 2 {
		t.Errorf("%d connections were made", dials.Load())
	}
}

func TestDataThatStopArrivingFailTheConnection(t *testing.T) { // L18
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		client := NewClient(ClientOptions{Dial: func(context.Context, string) (net.Conn, error) { return here, nil }})
		defer client.Close()
		defer there.Close()
		go func() {
			there.Read(make([]byte, headerSize))
			frame := sample{h: header{kind: kindReply, id: 1, length: 9000}, data: make([]byte, 9000)}.encode()
			for i := 0; i < 5000; i += 1000 { // slow, then silent
				there.Write(frame[i : i+1000])
				time.Sleep(time.Second)
			}
		}()
		start := time.Now()
		_, err := client.Read(context.Background(), ReadRequest{From: Hop{Node: 3, Address: "peer"}}, make([]byte, 9000))
		wantFailure(t, err, proto.Unavailable, 3)
		if took := time.Since(start); took < 5500*time.Millisecond || took > 6500*time.Millisecond {
			t.Errorf("noticed after %v", took)
		}
	})
}

// A network that is cut in one direction takes what is sent, and brings no answer.
func TestWhatIsSentIsNoSignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		client := NewClient(ClientOptions{Dial: func(context.Context, string) (net.Conn, error) { return here, nil }})
		defer client.Close()
		defer there.Close()
		go io.Copy(io.Discard, there)
		failed := make(chan error, 100)
		start := time.Now()
		for range 30 {
			w := &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 9000), Chain: []Hop{{Node: 3, Address: "peer"}}}
			go client.StartWrite(w, func(err error) { failed <- err })
			time.Sleep(100 * time.Millisecond)
		}
		wantFailure(t, <-failed, proto.ChainBroken, 3)
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("noticed after %v", took)
		}
	})
}

func TestAFailedReadIsOver(t *testing.T) {
	c := newCluster(t, 1, clusterOptions{})
	dst := make([]byte, 100)
	_, err := c.client.Read(testContext(t), ReadRequest{Chunk: testChunk(1), Version: 1, From: c.members[0].hop}, dst)
	wantFailure(t, err, proto.NoReplica, 1)
	for _, cc := range c.client.connections() {
		cc.mu.Lock()
		if cc.filling != nil || len(cc.pending) != 0 {
			t.Error("the connection still knows the read, whose call may be another's by now")
		}
		cc.mu.Unlock()
	}
}

func TestACancelledWriteReturnsOnceItsDataAreFree(t *testing.T) {
	c := newCluster(t, 1, clusterOptions{})
	g := newGate(testChunk(1))
	c.members[0].store.set(func(s *memStore) {
		s.onWrite = func(chunk uuid.UUID, _ uint64, _ int) error { return g.pass(chunk) }
	})
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() {
		result <- c.client.Write(ctx, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 8192), Create: true, Chain: c.chain()})
	}()
	<-g.entered
	cancel()
	if err := <-result; !errors.Is(err, proto.Interrupted) {
		t.Error(err)
	}
	close(g.open)
	c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(2, 8192)})
}

func TestTheWindowBoundsWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, clusterOptions{pipes: true, client: ClientOptions{Window: 4 << 20}})
		g := newGate(testChunk(1))
		c.members[0].store.set(func(s *memStore) {
			s.onWrite = func(chunk uuid.UUID, _ uint64, _ int) error { return g.pass(chunk) }
		})
		var started atomic.Int64
		var all sync.WaitGroup
		all.Add(6)
		go func() {
			for range 6 {
				c.client.StartWrite(&WriteRequest{Chunk: testChunk(1), Version: 1, Data: make([]byte, MaxPayload), Create: true, Chain: c.chain()}, func(err error) {
					if err != nil {
						t.Error(err)
					}
					all.Done()
				})
				started.Add(1)
			}
		}()
		synctest.Wait()
		if n := started.Load(); n != 3 { // the fourth does not fit with what each request costs
			t.Errorf("%d MiB were accepted", n)
		}
		close(g.open)
		all.Wait()
	})
}

func TestWindowWaitEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, clusterOptions{pipes: true, client: ClientOptions{Window: 2 << 20}})
		g := newGate(testChunk(1))
		defer close(g.open)
		c.members[0].store.set(func(s *memStore) {
			s.onWrite = func(chunk uuid.UUID, _ uint64, _ int) error { return g.pass(chunk) }
		})
		w := &WriteRequest{Chunk: testChunk(1), Version: 1, Data: make([]byte, MaxPayload), Create: true, Chain: c.chain()}
		c.client.StartWrite(w, func(error) {})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := c.client.Write(ctx, w); !errors.Is(err, proto.Timeout) {
			t.Error(err)
		}
	})
}

func TestTheNextRequestDialsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, clusterOptions{pipes: true})
		m := c.members[0]
		data := pattern(1, 100)
		c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: data, Create: true})
		if _, err := c.read(t, 0, testChunk(1), 1, 0, 100); err != nil {
			t.Error(err)
		}
		m.stop()
		synctest.Wait()
		_, err := c.read(t, 0, testChunk(1), 1, 0, 100)
		wantFailure(t, err, proto.Unavailable, 1)
		m.client = NewClient(ClientOptions{})
		m.server = NewServer(m.store, m.client, ServerOptions{})
		go m.server.Serve(c.network.listen(t, m.hop.Address))
		if got, err := c.read(t, 0, testChunk(1), 1, 0, 100); err != nil || !bytes.Equal(got, data) {
			t.Error(err)
		}
		c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: data})
	})
}

func TestUnusedConnectionsAreClosedAndMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		c := newCluster(t, 2, clusterOptions{pipes: true, wrap: dialCounter(&dials)})
		for i := range 3 {
			c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 100), Create: true})
			if dials.Load() != int64(i+1) {
				t.Errorf("round %d: %d connections", i, dials.Load())
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if n := len(c.client.connections()); n != 0 {
				t.Errorf("%d connections are kept", n)
			}
		}
	})
}

func TestCloseFailsWhatIsInFlight(t *testing.T) {
	c := newCluster(t, 1, clusterOptions{})
	g := newGate(testChunk(1))
	defer close(g.open)
	c.members[0].store.set(func(s *memStore) {
		s.onWrite = func(chunk uuid.UUID, _ uint64, _ int) error { return g.pass(chunk) }
	})
	w := &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 100), Create: true, Chain: c.chain()}
	result := make(chan error, 1)
	c.client.StartWrite(w, func(err error) { result <- err })
	<-g.entered
	c.client.Close()
	wantFailure(t, <-result, proto.ChainBroken, 1)
	wantFailure(t, c.client.Write(context.Background(), w), proto.ChainBroken, 1)
}

// answering serves one connection with whatever reply makes of each request.
func answering(t *testing.T, reply func(h header) []byte) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := newInput(conn, func() {}, func() error { return nil })
				for {
					raw, err := in.next(headerSize)
					if err != nil {
						return
					}
					h, err := parseHeader(raw)
					if err != nil {
						t.Error(err)
						return
					}
					in.discard(h.metaLen + h.dataLen())
					conn.Write(reply(h))
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestImpossibleAnswersFailTheConnection(t *testing.T) {
	for name, reply := range map[string]func(h header) []byte{
		"another id": func(h header) []byte { return sample{h: header{kind: kindReply, id: h.id + 1}}.encode() },
		"another offset": func(h header) []byte {
			return sample{h: header{kind: kindReply, id: h.id, offset: h.offset + 1}}.encode()
		},
		"more than asked": func(h header) []byte {
			return sample{h: header{kind: kindReply, id: h.id, offset: h.offset, length: h.length + 1}, data: make([]byte, h.length+1)}.encode()
		},
		"a request": func(h header) []byte { return sample{h: header{kind: kindSync, id: h.id}}.encode() },
		"garbage":   func(h header) []byte { return bytes.Repeat([]byte("garbage "), 20) },
		"nothing":   func(h header) []byte { return make([]byte, headerSize) },
	} {
		t.Run(name, func(t *testing.T) {
			client := NewClient(ClientOptions{})
			defer client.Close()
			from := Hop{Node: 5, Address: answering(t, reply)}
			_, err := client.Read(testContext(t), ReadRequest{Chunk: testChunk(1), Version: 1, Offset: 100, From: from}, make([]byte, 1000))
			wantFailure(t, err, proto.Unavailable, 5)
			if name == "more than asked" {
				return // for a write, no data is more than asked
			}
			err = client.Write(testContext(t), &WriteRequest{Chunk: testChunk(1), Version: 1, Offset: 100, Data: make([]byte, 50), Chain: []Hop{from}})
			wantFailure(t, err, proto.ChainBroken, 5)
		})
	}
}

func TestWrongBytesInAnAnswerAreDataCorrupt(t *testing.T) { // G5
	client := NewClient(ClientOptions{})
	defer client.Close()
	from := Hop{Node: 5, Address: answering(t, func(h header) []byte {
		frame := sample{h: header{kind: kindReply, id: h.id, offset: h.offset, length: h.length}, data: make([]byte, h.length)}.encode()
		frame[len(frame)-1] ^= 1
		return frame
	})}
	_, err := client.Read(testContext(t), ReadRequest{Chunk: testChunk(1), Version: 1, Offset: 100, From: from}, make([]byte, 9000))
	wantFailure(t, err, proto.DataCorrupt, 5)
}

// FuzzClientReadsAnything: whatever answers a request of any kind.
func FuzzClientReadsAnything(f *testing.F) {
	for _, s := range samples() {
		for ask := range byte(4) {
			f.Add(s.encode(), ask)
		}
	}
	f.Fuzz(func(t *testing.T, answer []byte, ask byte) {
		here, there := net.Pipe()
		client := NewClient(ClientOptions{Dial: func(context.Context, string) (net.Conn, error) { return here, nil }})
		go func() {
			there.Read(make([]byte, headerSize))
			there.Write(answer)
			there.Close()
		}()
		ctx, from := context.Background(), Hop{Node: 1, Address: "peer"}
		switch ask % 4 {
		case 0:
			if n, err := client.Read(ctx, ReadRequest{Offset: 4080, From: from}, make([]byte, 32)); err == nil && n > 32 {
				t.Fatalf("%d bytes of 32", n)
			}
		case 1:
			start, end, err := client.Extent(ctx, ExtentRequest{Offset: 4096, Length: 8192, From: from})
			if err == nil && (start < 4096 || start > end || end > 4096+8192) {
				t.Fatalf("extent %d to %d", start, end)
			}
		case 2:
			length, sums, err := client.Sums(ctx, testChunk(1), 1, from)
			if err == nil && uint64(len(sums)) != (length+proto.BlockSize-1)/proto.BlockSize {
				t.Fatalf("%d sums of %d bytes", len(sums), length)
			}
		case 3:
			_ = client.Sync(ctx, testChunk(1), 1, []Hop{from})
		}
		client.Close()
		here.Close()
	})
}

// slowConn holds every write back until it is opened.
type slowConn struct {
	net.Conn
	open chan struct{}
}

func (c slowConn) Write(p []byte) (int, error) {
	<-c.open
	return c.Conn.Write(p)
}

func TestACancelledWriteWaitsForTheWriterToLetGoOfItsData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		c := newCluster(t, 1, clusterOptions{pipes: true, wrap: func(_ int, conn net.Conn) net.Conn { return slowConn{conn, open} }})
		g := newGate(testChunk(1))
		defer close(g.open)
		c.members[0].store.set(func(s *memStore) {
			s.onWrite = func(chunk uuid.UUID, _ uint64, _ int) error { return g.pass(chunk) }
		})
		ctx, cancel := context.WithCancel(context.Background())
		result := make(chan error, 1)
		go func() {
			result <- c.client.Write(ctx, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: pattern(1, 8192), Create: true, Chain: c.chain()})
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if len(result) > 0 {
			t.Error("the caller has memory back that is being sent")
		}
		close(open)
		synctest.Wait()
		if len(result) == 0 {
			t.Fatal("the write was sent, and its caller still waits")
		}
		if err := <-result; !errors.Is(err, proto.Interrupted) {
			t.Error(err)
		}
	})
}

// The checksums that a read gives are those that its bytes were verified with.
func TestReadGivesChecksums(t *testing.T) {
	c := newCluster(t, 1, clusterOptions{})
	data := pattern(1, 3*proto.BlockSize-7)
	c.write(t, &WriteRequest{Chunk: testChunk(1), Version: 1, Data: data, Create: true})
	r := ReadRequest{Chunk: testChunk(1), Version: 1, Offset: 5, From: c.members[0].hop, Sums: make([]uint32, 3)}
	n, err := c.client.Read(t.Context(), r, make([]byte, 3*proto.BlockSize-5))
	if err != nil || n != len(data)-5 || !slices.Equal(r.Sums, decodeSums(nil, appendSums(nil, 5, data[5:]))) {
		t.Errorf("%d bytes, %x, %v", n, r.Sums, err)
	}
	if _, err := c.client.Read(t.Context(), r, make([]byte, 3*proto.BlockSize)); proto.KindOf(err) != proto.Invalid {
		t.Errorf("no room for four checksums: %v", err)
	}
}
