package client

import (
	"context"
	"io"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
)

// Copies within the cluster. Whole chunks at the same place within their chunks are
// shared (share.go); the rest is read and written, not much in one call, so that it
// can be interrupted.

const copyMost = 16 << 20 // bytes that one call reads and writes

// CopyRange copies up to n bytes at off of a file to dstOff of dst, as
// copy_file_range(2) does: perhaps fewer than asked for, and 0 only at the end of f. What
// this client wrote to f before is copied, too; what others wrote, as a read sees it.
//
// BadHandle: f is not open for reading, or dst not for writing.
// Invalid: the ranges overlap. CrossDevice: dst is another client's.
func (f *File) CopyRange(ctx context.Context, dst *File, off, dstOff, n int64) (int64, error) {
	if err := f.checkCopy(dst, off, dstOff, n); err != nil {
		return 0, err
	}
	i := f.ino
	if err := i.refresh(ctx); err != nil {
		return 0, err
	}
	i.mu.Lock()
	size, lost := i.size(), i.lost
	i.mu.Unlock()
	if n = min(n, size-off); n <= 0 || lost != nil {
		return 0, lost
	}
	switch {
	case dstOff > math.MaxInt64-n:
		return 0, proto.E(proto.FileTooBig, "copy to", inodeName(dst.ino.id), "beyond 2^63-1 bytes")
	case dst.ino == i && off < dstOff+n && dstOff < off+n:
		return 0, proto.E(proto.Invalid, "copy within", inodeName(i.id), "the ranges overlap")
	}
	copied, err := i.share(ctx, dst, off, dstOff, n)
	if copied == 0 && err == nil {
		copied, err = f.copyBytes(ctx, dst, off, dstOff, min(n, i.c.untilShared(off, dstOff, n), copyMost))
	}
	if copied == 0 {
		return 0, err
	}
	if f.flags&unix.O_NOATIME == 0 {
		i.accessed()
	}
	if dst.flags&(unix.O_SYNC|unix.O_DSYNC) != 0 {
		return copied, dst.Sync(ctx)
	}
	return copied, nil
}

func (f *File) checkCopy(dst *File, off, dstOff, n int64) error {
	if err := f.check("copy from", unix.O_WRONLY); err != nil {
		return err
	}
	if err := dst.check("copy to", unix.O_RDONLY); err != nil {
		return err
	}
	switch {
	case f.ino.c != dst.ino.c:
		return proto.E(proto.CrossDevice, "copy to", inodeName(dst.ino.id), "the file is another client's")
	case off < 0 || dstOff < 0 || n < 0:
		return proto.E(proto.Invalid, "copy from", inodeName(f.ino.id), "negative offset or length")
	}
	return nil
}

// untilShared is how many bytes to copy before the rest may be shared: all where it
// cannot be.
func (c *Client) untilShared(off, dstOff, n int64) int64 {
	at := off % c.chunkSize
	if at != dstOff%c.chunkSize || at == 0 {
		return n
	}
	return c.chunkSize - at
}

// copyBytes reads and writes. An error after some bytes waits for the next call.
func (f *File) copyBytes(ctx context.Context, dst *File, off, dstOff, n int64) (copied int64, err error) {
	buffer := make([]byte, min(n, pieceSize))
	for copied < n {
		k, err := f.ino.read(ctx, f.ahead, buffer[:min(n-copied, pieceSize)], off+copied)
		if err != nil && err != io.EOF {
			return copied, err
		}
		if k == 0 {
			break
		}
		wrote, err := dst.ino.write(ctx, dst, buffer[:k], dstOff+copied, atOffset)
		if copied += int64(wrote); err != nil {
			return copied, err
		}
	}
	return copied, nil
}

// retryShare is how long nothing is shared of a file after it could not be: that another
// session has it open does not change from one piece of a copy to the next.
const retryShare = time.Second
