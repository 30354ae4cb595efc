package client

import (
	"context"

	"github.com/distrifs/distrifs/proto"
)

// TransferOptions of Upload and Download.
type TransferOptions struct {
	Progress func(done, total int64) // bytes; called from one goroutine at a time; may be nil
	Parallel int                     // chunks at once; default 4
}

// Upload copies a local regular file to a path, in place as cp does, with its
// permission bits. It returns when the copy is on every replica of its chains.
func (c *Client) Upload(ctx context.Context, local, remote string, opts TransferOptions) error {
	return proto.NotSupported
}

// Download copies a file to a local path, in place as cp does, with its permission bits.
func (c *Client) Download(ctx context.Context, remote, local string, opts TransferOptions) error {
	return proto.NotSupported
}
