package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
)

const defaultParallel = 4

// TransferOptions of Upload and Download.
type TransferOptions struct {
	Progress func(done, total int64) // bytes; called from one goroutine at a time; may be nil
	Parallel int                     // chunks at once; default 4
}

// Upload copies a local regular file to a path, in place as cp does, with its
// permission bits. It returns when the copy is on every replica of its chains.
func (c *Client) Upload(ctx context.Context, local, remote string, opts TransferOptions) (err error) {
	src, info, err := openLocal(local)
	if err != nil {
		return err
	}
	defer func() { err = closeBoth("upload", local, err, src, nil) }()
	dst, err := c.OpenFile(ctx, remote, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, uint32(info.Mode().Perm()))
	if err != nil {
		return err
	}
	defer func() { err = closeBoth("upload", remote, err, nil, dst) }()
	err = c.transfer(ctx, info.Size(), opts, func(ctx context.Context, p []byte, off int64) (int, error) {
		n, err := src.ReadAt(p, off)
		if err != nil && err != io.EOF {
			return 0, localError("read", local, err)
		}
		_, err = dst.WriteAtContext(ctx, p[:n], off) // fewer bytes: the file shrank meanwhile
		return n, err
	})
	return err
}

// Download copies a file to a local path, in place as cp does, with its
// permission bits. Blocks of zeros become holes.
func (c *Client) Download(ctx context.Context, remote, local string, opts TransferOptions) (err error) {
	src, err := c.Open(ctx, remote)
	if err != nil {
		return err
	}
	defer func() { err = closeBoth("download", remote, err, nil, src) }()
	attr := src.Attr()
	dst, err := os.OpenFile(local, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, os.FileMode(attr.Mode&0o777))
	if err != nil {
		return localError("create", local, err)
	}
	defer func() { err = closeBoth("download", local, err, dst, nil) }()
	zeros := make([]byte, pieceSize)
	err = c.transfer(ctx, int64(attr.Size), opts, func(ctx context.Context, p []byte, off int64) (int, error) {
		n, err := src.ino.read(ctx, nil, p, off)
		if err != nil && err != io.EOF {
			return 0, err
		}
		if bytes.Equal(p[:n], zeros[:n]) {
			return n, nil
		}
		_, err = dst.WriteAt(p[:n], off)
		return n, localError("write", local, err)
	})
	if err != nil {
		return err
	}
	return localError("truncate", local, dst.Truncate(int64(attr.Size)))
}

// transfer moves [0, total) piece by piece. Each worker has a chunk to itself,
// so that different chunkservers are busy at once.
func (c *Client) transfer(ctx context.Context, total int64, opts TransferOptions, move func(ctx context.Context, p []byte, off int64) (int, error)) error {
	if opts.Parallel <= 0 {
		opts.Parallel = defaultParallel
	}
	report := progress(total, opts.Progress)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(opts.Parallel)
	for start := int64(0); start < total && groupCtx.Err() == nil; start += c.chunkSize {
		end := min(start+c.chunkSize, total)
		group.Go(func() error {
			mem := pipeline.GetBuffer(int(min(pieceSize, end-start)))
			defer mem.Release()
			for off := start; off < end; {
				p := mem.Bytes[:min(int64(len(mem.Bytes)), end-off)]
				n, err := move(groupCtx, p, off)
				if err != nil {
					return err
				}
				if n == 0 {
					return nil // the source ends here by now
				}
				off += int64(n)
				report(int64(n))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return interrupted(ctx, "transfer")
	}
	return nil
}

// progress adds up what the workers did.
func progress(total int64, fn func(done, total int64)) func(n int64) {
	var mu sync.Mutex
	done := int64(0)
	return func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		done += n
		if fn != nil {
			fn(done, total)
		}
	}
}

func openLocal(local string) (*os.File, os.FileInfo, error) {
	f, err := os.Open(local)
	if err != nil {
		return nil, nil, localError("open", local, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = proto.E(proto.Invalid, "open", local, "not a regular file")
	}
	if err != nil {
		return nil, nil, errors.Join(localError("open", local, err), localError("close", local, f.Close()))
	}
	return f, info, nil
}

// closeBoth closes what is not nil and reports it unless something failed before.
func closeBoth(op, name string, err error, local *os.File, remote *File) error {
	var closeErr error
	if local != nil {
		closeErr = localError(op, name, local.Close())
	}
	if remote != nil {
		closeErr = pathError(op, name, remote.Close())
	}
	if err != nil {
		return err
	}
	return closeErr
}

// localError makes an error of the local filesystem an *proto.Error.
func localError(op, name string, err error) error {
	var e *proto.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	var path *os.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return &proto.Error{Kind: proto.KindOf(err), Op: op, Subject: name, Err: err}
}
