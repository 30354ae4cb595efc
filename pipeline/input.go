package pipeline

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
)

// inputSize holds fifteen frames of 4 KiB, and any header with its meta. A connection that
// never receives as much at once does with less.
const (
	inputSize  = 64 << 10
	inputBegin = 4 << 10
)

// input is the receiving half of a connection. One goroutine at a time uses it;
// the atomic fields are for those who watch over its progress.
type input struct {
	conn        net.Conn
	before      func()       // called before a read that may block
	interrupted func() error // called when the read deadline struck: nil to go on
	inFrame     bool         // the bytes to come belong to a frame that has begun

	buf  []byte
	r, w int // buf[r:w] was received and not consumed

	received atomic.Int64 // bytes
	owed     atomic.Bool  // waiting for the rest of a frame
}

func newInput(conn net.Conn, before func(), interrupted func() error) *input {
	return &input{conn: conn, before: before, interrupted: interrupted, buf: make([]byte, inputBegin)}
}

// buffered is the number of bytes that can be had without blocking.
func (in *input) buffered() int { return in.w - in.r }

// next consumes n bytes, n <= inputSize. The result is valid until the next call.
func (in *input) next(n int) ([]byte, error) {
	for in.buffered() < n {
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
	b := in.buf[in.r : in.r+n]
	in.r += n
	return b, nil
}

// fill receives at least one byte into buf.
func (in *input) fill() error {
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	n, err := in.receive(in.buf[in.w:])
	if in.w += n; in.w == len(in.buf) && in.w < inputSize {
		in.buf = append(in.buf, make([]byte, inputSize-in.w)...)
	}
	return err
}

// readFull fills dst; bulk goes there without a copy. n counts what was written
// to dst, also with an error.
func (in *input) readFull(dst []byte) (n int, err error) {
	for {
		m := copy(dst[n:], in.buf[in.r:in.w])
		in.r += m
		n += m
		switch {
		case n == len(dst):
			return n, nil
		case len(dst)-n < inputSize/2:
			err = in.fill()
		default:
			m, err = in.receive(dst[n:])
			n += m
		}
		if err != nil {
			return n, err
		}
	}
}

// discard consumes n bytes, however many.
func (in *input) discard(n int) error {
	for n > 0 {
		if in.buffered() == 0 {
			if err := in.fill(); err != nil {
				return err
			}
		}
		m := min(n, in.buffered())
		in.r += m
		n -= m
	}
	return nil
}

// receive is one read from the connection.
func (in *input) receive(p []byte) (int, error) {
	in.before()
	in.owed.Store(in.inFrame || in.w > in.r)
	defer in.owed.Store(false)
	for {
		n, err := in.conn.Read(p)
		if n > 0 {
			in.received.Add(int64(n))
			return n, nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = in.interrupted()
		}
		if err != nil {
			return 0, err
		}
	}
}
