package client

import (
	"context"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Options of Dial. The zero value of each field means its default.
type Options struct {
	Name        string        // who this client is, for people; default host and pid
	Subfolder   string        // the path layer and Root start here; default "/"
	Cred        Cred          // on whose behalf the path layer acts; default this process
	DialTimeout time.Duration // for the first answer of the master; default 10 s
	IOTimeout   time.Duration // how long a call retries while servers are away; default 60 s
	ReadAhead   int64         // bytes read ahead per open file, at most; default 8 MiB; negative: none
	ReadBuffer  int64         // bytes read ahead of all files together, at most; default 128 MiB
	WriteBuffer int64         // bytes not yet acknowledged of all files together, at most; default 64 MiB
	Logger      *slog.Logger  // default: discards

	Dial        func(ctx context.Context, address string) (net.Conn, error) // data plane; default TCP
	DialOptions []grpc.DialOption                                           // control plane; added to the defaults
}

// Client is one session with a cluster. It is safe for concurrent use.
type Client struct{}

// Dial connects to the master at host:port and opens a session. It gives up
// with Unavailable after Options.DialTimeout.
func Dial(ctx context.Context, master string, opts Options) (*Client, error) {
	return nil, proto.NotSupported
}

// Close flushes what is open, ends the session and gives everything back. It
// reports the first error of a file that had unwritten data.
func (c *Client) Close() error { return proto.NotSupported }

// Root is the inode of "/", or of Options.Subfolder.
func (c *Client) Root() proto.InodeID { return proto.RootInode }

// Cluster names the cluster.
func (c *Client) Cluster() proto.ClusterID { return proto.ClusterID{} }

// ChunkSize of the cluster in bytes.
func (c *Client) ChunkSize() int64 { return proto.DefaultChunkSize }

// CacheTTL is how long attributes and names may be cached by the caller (the
// kernel): at most 1 s.
func (c *Client) CacheTTL() time.Duration { return time.Second }

// Status asks the master how the cluster is.
func (c *Client) Status(ctx context.Context) (*pb.StatusReply, error) { return nil, proto.NotSupported }
