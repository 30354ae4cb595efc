package fusefs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// device is the conversation with the kernel: readers take its requests, which go-fuse decodes and
// has the filesystem answer. go-fuse's own loop is not used. Its threads sleep in read(2), of which Go
// knows only after a while that they do not compute; and each request has it wake one thread more, in
// case the handler should wait: together more than half of the cost of a small request.
//
// Here one reader waits in Go's poller, and answers what it reads itself. As long as it does, nobody
// else needs to look for requests, unless
//
//   - the handler is about to wait for somebody: it says so (call.waits);
//   - there is more to read at once, or many bytes are to be moved;
//   - it takes longer than it should, for it waits for something else (watchdog).
//
// Then another one is called in.
type device struct {
	fd       int
	file     *os.File // owns fd, which is in Go's poller
	conn     syscall.RawConn
	protocol *fuse.ProtocolServer
	came     func(number uint64)
	log      *slog.Logger
	procs    int // handlers that can run at once

	readers sync.WaitGroup
	ended   chan struct{} // closed when the kernel has

	mu     sync.Mutex // protects below; a leaf
	duty   []*reader  // who will look for a request when it has answered the one it has
	waiter *reader    // of these: who waits in the poller; nil: nobody
	away   []*reader  // whose handlers wait for somebody
	spare  []*reader
	inputs [][]byte // memory for requests that nobody uses
	over   bool     // the kernel has ended the conversation

	watchdog watchdog
}

const (
	maxOnDuty = 16      // readers
	maxSpare  = 16      // readers that are kept, and pieces of memory for requests
	manyBytes = 1 << 16 // to be moved by a request: somebody else takes what comes meanwhile
	backlog   = 3       // requests in a row that were there already: one more reader pays
)

// newDevice takes over a mount's descriptor. came is called when a request was answered.
func newDevice(fd int, fs fuse.RawFileSystem, opts *fuse.MountOptions, came func(number uint64), log *slog.Logger) (*device, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	d := &device{
		fd: fd, file: os.NewFile(uintptr(fd), fuseDevice), protocol: fuse.NewProtocolServer(fs, opts), came: came, log: log, procs: runtime.GOMAXPROCS(0),
		ended: make(chan struct{}), watchdog: watchdog{wake: make(chan struct{}, 1)},
	}
	var err error
	if d.conn, err = d.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, d.file.Close())
	}
	return d, nil
}

// greet answers the kernel's first request. It gives the version of the protocol that it speaks.
func (d *device) greet() (major, minor uint32, err error) {
	r := newReader(d)
	d.waiter = r
	if _, err = r.wait(); err != nil {
		return 0, 0, err
	}
	d.waiter = nil
	m := r.request
	if m.op() != opInit || len(m) < initEnd {
		return 0, 0, fmt.Errorf("the kernel began with request %d of %d bytes", m.op(), len(m))
	}
	order := binary.NativeEndian
	major, minor = order.Uint32(m[initMajor:]), order.Uint32(m[initMinor:])
	r.answer()
	return major, minor, nil
}

// serve answers requests until the mount is gone, and all its handlers have ended.
func (d *device) serve() {
	d.mu.Lock()
	d.callIn()
	d.mu.Unlock()
	go d.watchdog.run(d)
	d.readers.Wait()
	<-d.ended
	if err := d.file.Close(); err != nil {
		d.log.Error("close "+fuseDevice, "error", err)
	}
}

// callIn puts one more reader on duty; mu is held.
func (d *device) callIn() {
	if d.over || len(d.duty) >= maxOnDuty {
		return
	}
	var r *reader
	if last := len(d.spare) - 1; last >= 0 {
		r, d.spare = d.spare[last], d.spare[:last]
		r.called <- struct{}{}
	} else {
		r = newReader(d)
		d.readers.Go(r.run)
	}
	r.pass = max(r.pass, 1) // somebody waits: no request is about to follow an answer
	if last := len(d.inputs) - 1; r.in == nil && last >= 0 {
		r.in, d.inputs = d.inputs[last], d.inputs[:last]
	}
	d.duty = append(d.duty, r)
}

// lookOut decides whether a reader may begin with the request it has read while nobody else
// looks for the next one. inRow: how many it has found without waiting, this one included.
func (d *device) lookOut(r *reader, inRow int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiter == r {
		d.waiter = nil
	}
	r.number = r.request.number()
	switch moves := r.request.moves(); {
	case d.waiter != nil:
	case moves >= manyBytes, moves > 0 && inRow > 0, inRow >= backlog && len(d.duty) < d.procs:
		d.callIn()
	}
}

// waits notes that the handler of a request is about to wait for somebody.
func (d *device) waits(number uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.duty, func(r *reader) bool { return r.number == number })
	if i < 0 {
		return // it has said so before
	}
	d.leave(d.duty[i])
}

// leave takes a reader off duty whose handler waits; mu is held.
func (d *device) leave(r *reader) {
	d.duty = slices.DeleteFunc(d.duty, func(other *reader) bool { return other == r })
	d.away = append(d.away, r)
	r.isAway = true
	if d.over {
		go d.interrupt(r.number)
	}
	if len(r.request) <= len(r.small) { // it does not lie there
		d.inputs, r.in = append(d.inputs, r.in), nil
	}
	if len(d.duty) == 0 {
		d.callIn()
	}
}

// What a reader does next.
type next int

const (
	goOn    next = iota // it is on duty
	standBy             // it waits until it is called in
	goHome              // it ends
)

// idle decides what a reader does that has found nothing to read.
func (d *device) idle(r *reader) next {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.duty) == 1 && !d.over {
		return goOn // nobody else looks out
	}
	d.duty = slices.DeleteFunc(d.duty, func(other *reader) bool { return other == r })
	return d.dismiss(r)
}

// answered decides what a reader does that has answered a request.
func (d *device) answered(r *reader) next {
	d.came(r.number)
	d.mu.Lock()
	defer d.mu.Unlock()
	r.number = 0
	if !r.isAway {
		return goOn
	}
	d.away = slices.DeleteFunc(d.away, func(other *reader) bool { return other == r })
	r.isAway = false
	return d.dismiss(r)
}

// dismiss needs mu.
func (d *device) dismiss(r *reader) next {
	d.inputs = d.inputs[:min(len(d.inputs), maxSpare)]
	if d.over || len(d.spare) >= maxSpare {
		return goHome
	}
	d.spare = append(d.spare, r)
	return standBy
}

// end is called by each reader that hears of the end. Handlers under way are interrupted: nobody
// waits for their answers.
func (d *device) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return
	}
	d.over = true
	close(d.ended)
	d.spare = nil // they hear it
	for _, r := range slices.Concat(d.duty, d.away) {
		if r.number != 0 {
			go d.interrupt(r.number)
		}
	}
}

// interrupt has go-fuse close the channel that a handler was given, as a request of the kernel's does
// (fuse.h: fuse_in_header, fuse_interrupt_in).
func (d *device) interrupt(number uint64) {
	m := make([]byte, headerEnd+8)
	order := binary.NativeEndian
	order.PutUint32(m, uint32(len(m)))
	order.PutUint32(m[headerOp:], opInterrupt)
	order.PutUint64(m[headerNumber:], number|1)
	order.PutUint64(m[headerEnd:], number)
	d.protocol.HandleRequest([][]byte{m}, [][]byte{make([]byte, smallAnswer)})
}

// InodeNotify has the kernel forget a range of a node's pages, and its attributes; off < 0: those alone;
// length 0: up to the end. It may wait for requests that read or write the pages.
//
//	 0  uint32  length of all (fuse.h: fuse_out_header, fuse_notify_inval_inode_out)
//	 4  uint32  2: FUSE_NOTIFY_INVAL_INODE
//	 8  uint64  0
//	16  uint64  node
//	24  int64   off
//	32  int64   length
func (d *device) InodeNotify(node uint64, off, length int64) fuse.Status {
	m := make([]byte, 40)
	order := binary.NativeEndian
	order.PutUint32(m[0:], uint32(len(m)))
	order.PutUint32(m[4:], notifyInvalInode)
	order.PutUint64(m[16:], node)
	order.PutUint64(m[24:], uint64(off))
	order.PutUint64(m[32:], uint64(length))
	return d.send(m)
}

// ExpireEntry has the time of a name end. The kernel takes the lock on the directory.
//
//	 0  uint32  length of all (fuse.h: fuse_out_header, fuse_notify_inval_entry_out)
//	 4  uint32  3: FUSE_NOTIFY_INVAL_ENTRY
//	 8  uint64  0
//	16  uint64  node of the directory
//	24  uint32  length of the name
//	28  uint32  1: FUSE_EXPIRE_ONLY, what is mounted beneath stays
//	32  the name, and a zero
func (d *device) ExpireEntry(node uint64, name string) {
	m := make([]byte, 32, 32+len(name)+1)
	order := binary.NativeEndian
	order.PutUint32(m[0:], uint32(cap(m)))
	order.PutUint32(m[4:], notifyInvalEntry)
	order.PutUint64(m[16:], node)
	order.PutUint32(m[24:], uint32(len(name)))
	order.PutUint32(m[28:], expireOnly)
	d.send(append(append(m, name...), 0))
}

const (
	notifyInvalInode = 2
	notifyInvalEntry = 3
	expireOnly       = 1
)

// send writes a message. ENOENT: what it is about is not known; any other error comes with the unmount.
func (d *device) send(m []byte) fuse.Status {
	var err error
	// Not Write: it lets one write go on at a time, and the kernel may have this one wait.
	if closed := d.conn.Control(func(fd uintptr) { _, err = unix.Write(int(fd), m) }); closed != nil {
		return fuse.ENODEV
	}
	return fuse.ToStatus(err)
}
