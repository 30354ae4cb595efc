package pipeline

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batchFrames = 256     // frames in one writev
	batchBytes  = 1 << 20 // a batch is closed when it has so many bytes
	copyBelow   = 1 << 10 // smaller frames are copied together
	scratchSize = 64 << 10
)

// outgoing is a frame on its way out. The memory of head and data belongs to the
// sender until it calls owner.sent.
type outgoing struct {
	head  []byte // header and meta
	data  []byte
	owner sentOwner
}

// sentOwner hears once of every frame that its memory is free again: the frame was
// written, or never will be. sent is called with the sender's lock held or not: it
// must not block, nor call the sender.
type sentOwner interface{ sent() }

// sender is the sending half of a connection: frames queue up, and go out with as
// few system calls as possible. Whoever has the writing role writes. A goroutine
// that flushes takes it for an attempt that cannot block, because handing a frame
// to another goroutine costs more than writing it; what is left over is for the
// sender's own goroutine, which may block.
type sender struct {
	failed func(error) // called once a write has failed, without locks

	conn    net.Conn        // set by run
	raw     syscall.RawConn // nil: not a socket of the kernel's
	written atomic.Int64    // bytes, for those who watch over progress
	wake    chan struct{}   // hands the writing role to run
	stop    chan struct{}   // ends run

	mu      sync.Mutex
	role    sync.Cond // signals that writing became false
	queue   []outgoing
	writing bool // somebody has the writing role
	closed  bool

	// The rest belongs to who has the writing role.
	batch   []outgoing
	left    [][]byte // what is not written yet of batch
	iovecs  []unix.Iovec
	scratch []byte
	block   bool // for writev
	count   int  // result of writev
	errno   syscall.Errno
	writev  func(fd uintptr) bool
}

// newSender makes a sender that keeps its frames until run is called.
func newSender(failed func(error)) *sender {
	s := &sender{failed: failed, wake: make(chan struct{}, 1), stop: make(chan struct{}), writing: true}
	s.role.L = &s.mu
	s.writev = s.writevOnce
	return s
}

// run writes to conn until close; it starts with the writing role.
func (s *sender) run(conn net.Conn) {
	s.conn = conn
	if sc, ok := conn.(syscall.Conn); ok {
		s.raw, _ = sc.SyscallConn()
	}
	for {
		s.drain()
		select {
		case <-s.wake:
		case <-s.stop:
			return
		}
	}
}

// drain writes with the writing role until the queue is empty.
func (s *sender) drain() {
	for len(s.left) > 0 || s.take() {
		if err := s.write(true); err != nil {
			s.fail(err)
			return
		}
	}
}

// enqueue queues a frame; a flush must follow.
func (s *sender) enqueue(o outgoing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		o.owner.sent()
		return
	}
	s.queue = append(s.queue, o)
}

// flush sees to it that what is queued goes out. It does not block.
func (s *sender) flush() {
	s.mu.Lock()
	if s.writing || s.closed || len(s.queue) == 0 { // where run never was, nobody would give the role back
		s.mu.Unlock()
		return
	}
	s.writing = true
	s.mu.Unlock()
	for range 4 { // then others may go on queueing at the sender's own expense
		if s.raw == nil {
			break
		}
		if !s.take() {
			return
		}
		if err := s.write(false); err != nil {
			s.fail(err)
			return
		}
		if len(s.left) > 0 {
			break
		}
	}
	s.wake <- struct{}{}
}

// take moves frames from the queue to the batch; with an empty queue it gives up
// the writing role and returns false.
func (s *sender) take() bool {
	s.mu.Lock()
	n, size := 0, 0
	for n < min(len(s.queue), batchFrames) && size < batchBytes {
		size += len(s.queue[n].head) + len(s.queue[n].data)
		n++
	}
	if n == 0 {
		s.releaseRole()
		s.mu.Unlock()
		return false
	}
	s.batch = append(s.batch[:0], s.queue[:n]...)
	rest := copy(s.queue, s.queue[n:])
	clear(s.queue[rest:])
	s.queue = s.queue[:rest]
	s.mu.Unlock()
	s.gather()
	return true
}

// gather turns the batch into a list of buffers, small neighbours made into one.
func (s *sender) gather() {
	s.left, s.scratch = s.left[:0], s.scratch[:0]
	open := false // the last buffer in left is the end of scratch
	for _, o := range s.batch {
		size := len(o.head) + len(o.data)
		if len(s.batch) == 1 || size > copyBelow || len(s.scratch)+size > scratchSize {
			s.left = append(s.left, o.head)
			if len(o.data) > 0 {
				s.left = append(s.left, o.data)
			}
			open = false
			continue
		}
		if s.scratch == nil {
			s.scratch = make([]byte, 0, scratchSize)
		}
		start := len(s.scratch)
		s.scratch = append(append(s.scratch, o.head...), o.data...)
		if open {
			last := &s.left[len(s.left)-1]
			*last = (*last)[:len(*last)+size]
		} else {
			s.left = append(s.left, s.scratch[start:])
		}
		open = true
	}
}

// write writes what is left of the batch; with block all of it, else what goes
// without blocking.
func (s *sender) write(block bool) error {
	s.block = block
	for len(s.left) > 0 {
		n, err := s.writeSome()
		if err != nil {
			return err
		}
		if n == 0 {
			return nil // without block: it would block
		}
		s.written.Add(int64(n))
		s.advance(n)
	}
	s.freeBatch()
	return nil
}

func (s *sender) writeSome() (int, error) {
	if s.raw == nil {
		return s.conn.Write(s.left[0])
	}
	if err := s.raw.Write(s.writev); err != nil {
		return 0, err
	}
	if s.errno != 0 && s.errno != unix.EAGAIN {
		return 0, s.errno
	}
	return s.count, nil
}

// writevOnce is one system call. Its result says whether to be called again when
// the socket is writable.
func (s *sender) writevOnce(fd uintptr) bool {
	s.iovecs = s.iovecs[:0]
	for _, b := range s.left {
		s.iovecs = append(s.iovecs, unix.Iovec{Base: &b[0], Len: uint64(len(b))})
	}
	for {
		n, _, errno := unix.Syscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&s.iovecs[0])), uintptr(len(s.iovecs)))
		if errno == unix.EINTR {
			continue
		}
		s.count, s.errno = int(n), errno
		if errno != 0 {
			s.count = 0
		}
		return errno != unix.EAGAIN || !s.block
	}
}

func (s *sender) advance(n int) {
	done := 0
	for done < len(s.left) && n >= len(s.left[done]) {
		n -= len(s.left[done])
		done++
	}
	s.left = s.left[:copy(s.left, s.left[done:])]
	if n > 0 {
		s.left[0] = s.left[0][n:]
	}
}

// freeBatch tells the owners of the batch.
func (s *sender) freeBatch() {
	for i := range s.batch {
		s.batch[i].owner.sent()
	}
	clear(s.batch)
	s.batch, s.left = s.batch[:0], s.left[:0]
}

// fail ends a sender whose writing role the caller has.
func (s *sender) fail(err error) {
	s.freeBatch()
	s.mu.Lock()
	s.closed = true
	s.releaseRole()
	s.mu.Unlock()
	s.failed(err)
}

// releaseRole is called with mu held.
func (s *sender) releaseRole() {
	s.writing = false
	s.role.Broadcast()
}

// close frees all frames and ends run. The connection must have been closed, so
// that a write in progress returns.
func (s *sender) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for s.writing {
		s.role.Wait()
	}
	for _, o := range s.queue {
		o.owner.sent()
	}
	s.queue = nil
	close(s.stop)
}

// busy says whether frames are queued or being written.
func (s *sender) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writing || len(s.queue) > 0
}
