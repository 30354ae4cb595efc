package fusefs

import (
	"encoding/binary"
	"errors"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// reader takes requests from the kernel and answers them, one at a time.
type reader struct {
	d      *device
	called chan struct{} // has one when it is to go on duty
	in     []byte        // for the largest request; nil: somebody else has it, or it is not needed yet

	look    func(fd uintptr) bool // try, for the poller
	waited  bool                  // look has found nothing at first
	vain    int                   // times in a row that it has looked for the next request and found none
	pass    int                   // times that it will not look before it waits
	failed  error                 // what look came to
	request message               // that it has, in `in` or `small`
	small   [smallRequest]byte
	out     []byte // for most answers
	large   []byte // for the largest; nil before the first

	// Guarded by device.mu.
	number  uint64 // of the request that is being answered; 0: none
	watched uint64 // which it was when the watchdog looked
	isAway  bool   // the handler waits for somebody: it is not on duty
}

const (
	spinFor = 40 * time.Microsecond // a program's request follows an answer within 5 to 20
	maxVain = 8

	smallRequest = 1 << 13 // bytes
	smallAnswer  = 1 << 14
	pageSize     = 1 << 12
	answerHeader = int(unsafe.Sizeof(fuse.OutHeader{}))
	answerHead   = 512 // and what stands before the bytes of an answer, generously
)

func newReader(d *device) *reader {
	r := &reader{d: d, called: make(chan struct{}, 1), out: make([]byte, smallAnswer)}
	r.look = func(fd uintptr) bool {
		r.failed = r.try(int(fd))
		r.waited = r.waited || r.failed == unix.EAGAIN
		return r.failed != unix.EAGAIN
	}
	return r
}

// aligned gives memory for a message whose bytes, behind its head, are to lie on a page of
// their own: the kernel moves them page by page.
func aligned(head, size int) []byte {
	memory := make([]byte, head+size+2*pageSize)
	skip := (-int(uintptr(unsafe.Pointer(&memory[0]))+uintptr(head)) & (pageSize - 1))
	return memory[skip : skip+head+size]
}

// run answers requests whenever the reader is on duty.
func (r *reader) run() {
	for r.serve() == standBy {
		select {
		case <-r.called:
		case <-r.d.ended:
			return
		}
	}
}

// serve answers requests as long as the reader is on duty.
func (r *reader) serve() next {
	for inRow := 0; ; {
		waited, err := r.next()
		switch {
		case errors.Is(err, unix.EAGAIN):
			if then := r.d.idle(r); then != goOn {
				return then
			}
			continue
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINTR): // the request was called back
			continue
		case err != nil:
			if !errors.Is(err, unix.ENODEV) {
				r.d.log.Error("no more requests can be read: the mount ends", "error", err)
			}
			r.d.end()
			return goHome
		}
		inRow++
		if waited {
			inRow = 0
		}
		r.d.watchdog.see()
		r.d.lookOut(r, inRow)
		r.answer()
		if then := r.d.answered(r); then != goOn {
			return then
		}
	}
}

// next reads a request. Who finds none waits, unless another reader does: then EAGAIN.
func (r *reader) next() (waited bool, err error) {
	r.d.mu.Lock()
	if r.d.waiter == nil {
		r.d.waiter = r
	}
	wait := r.d.waiter == r
	r.d.mu.Unlock()
	if wait {
		return r.wait()
	}
	return false, r.try(r.d.fd)
}

// wait is next for the waiter.
func (r *reader) wait() (waited bool, err error) {
	if r.spin() {
		return true, nil
	}
	if r.waited = false; r.d.conn.Read(r.look) != nil {
		return false, unix.ENODEV
	}
	return r.waited, r.failed
}

// spin looks for the next request for a moment before the reader goes to sleep: a program that has
// its answer often asks again at once, and to be woken costs more than to look. Who looks in vain does it
// half as often from then on.
func (r *reader) spin() (found bool) {
	switch {
	case r.d.procs == 1: // nobody else would get on
		return false
	case r.pass > 0:
		r.pass--
		return false
	}
	for begin := time.Now(); !found && time.Since(begin) < spinFor; {
		found = r.try(r.d.fd) == nil
	}
	if found {
		r.vain = 0
	} else {
		r.vain = min(r.vain+1, maxVain)
		r.pass = 1<<r.vain - 1
	}
	return found
}

// try reads a request if there is one.
func (r *reader) try(fd int) error {
	if r.in == nil {
		r.in = aligned(headerEnd+writeHead, maxWrite)
	}
	n, err := unix.Read(fd, r.in)
	if err != nil {
		return err
	}
	if n < headerEnd {
		return unix.EIO
	}
	if r.request = r.in[:n]; n <= len(r.small) {
		r.request = r.small[:copy(r.small[:], r.in[:n])]
	}
	return nil
}

// answer has a request carried out, and sends what came of it.
func (r *reader) answer() {
	out := r.room(r.request.wants())
	n, status := r.d.protocol.HandleRequest([][]byte{r.request}, [][]byte{out})
	if !status.Ok() { // go-fuse could make nothing of it
		n = answerHeader
		order := binary.NativeEndian
		order.PutUint32(out, uint32(n))
		order.PutUint32(out[4:], uint32(-int32(status)))
		order.PutUint64(out[8:], r.request.number())
	}
	if n == 0 {
		return
	}
	switch _, err := unix.Write(r.d.fd, out[:n]); err {
	case nil, unix.ENOENT, unix.ENODEV: // the caller has been killed, or the mount is gone
	default:
		r.d.log.Error("a request could not be answered", "request", r.request.op(), "error", err)
	}
}

// room gives memory for an answer with so many bytes beside its head.
func (r *reader) room(size int) []byte {
	if answerHead+size <= len(r.out) {
		return r.out
	}
	if len(r.large) < answerHeader+size {
		r.large = aligned(answerHeader, max(size+answerHead, maxWrite))
	}
	return r.large
}
