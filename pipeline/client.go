package pipeline

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// Hop is one replica of a chain: which node, and where its data plane listens.
type Hop struct {
	Node    proto.NodeID
	Address string // host:port, at most 255 bytes
}

// WriteRequest is one write down a chain. With Data it writes bytes, without it
// makes Zero bytes (which may be 0) read as zero.
type WriteRequest struct {
	Chunk   uuid.UUID
	Version proto.Version
	Offset  uint64 // in the chunk, bytes
	Data    []byte // at most MaxPayload; not to be changed until the request is done
	Zero    uint64 // bytes, if Data is empty
	Create  bool   // make the replica where it is absent
	Sync    bool   // every replica syncs before it acknowledges
	Chain   []Hop  // head first; 1 to MaxChain
}

// ReadRequest says what to read, and from which replica.
type ReadRequest struct {
	Chunk   uuid.UUID
	Version proto.Version
	Offset  uint64 // in the chunk, bytes
	From    Hop
}

// ClientOptions tune a Client; zero values mean the defaults.
type ClientOptions struct {
	Dial            func(ctx context.Context, address string) (net.Conn, error) // default: TCP
	DialTimeout     time.Duration                                               // default 2 s
	ProgressTimeout time.Duration                                               // a peer that owes answers and is silent for so long has failed; default 5 s
	RequestTimeout  time.Duration                                               // an unanswered request fails its connection after so long, a quarter more for each hop behind; default 30 s
	IdleTimeout     time.Duration                                               // an unused connection is closed; default 60 s
	Window          int64                                                       // bytes in flight on a connection; default 8 MiB
	Logger          *slog.Logger                                                // default: none
}

// Client sends requests to chunkservers over connections that it keeps and shares.
// All methods may be called concurrently.
type Client struct{}

// NewClient starts a client; Close ends it.
func NewClient(options ClientOptions) *Client { panic("being written") }

// Close fails what is in flight with Unavailable or ChainBroken, and closes all connections.
func (c *Client) Close() { panic("being written") }

// StartWrite sends w down its chain and returns; done is called exactly once, from
// another goroutine, with nil when every replica has the bytes. Requests of one
// chunk to one head go out in the order of the calls. It blocks no longer than the
// send window is full. done must not block, and must not call StartWrite.
func (c *Client) StartWrite(w *WriteRequest, done func(error)) { panic("being written") }

// Write is StartWrite and the wait for its end.
func (c *Client) Write(ctx context.Context, w *WriteRequest) error { panic("being written") }

// Read fills dst with verified bytes (G5). n < len(dst): the replica ends there.
func (c *Client) Read(ctx context.Context, r ReadRequest, dst []byte) (n int, err error) {
	panic("being written")
}

// Sync makes every replica of the chain put the chunk on stable storage.
func (c *Client) Sync(ctx context.Context, chunk uuid.UUID, version proto.Version, chain []Hop) error {
	panic("being written")
}
