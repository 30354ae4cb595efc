package pipeline

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/google/uuid"
)

// ServerOptions tune a Server; zero values mean the defaults.
type ServerOptions struct {
	Budget          int64         // bytes of requests in flight, for each class (hops behind; reads); default 64 MiB
	ProgressTimeout time.Duration // a peer that stops in mid-frame, or takes no replies, is dropped; default 5 s
	DirtyWait       time.Duration // how long a read waits for a write that is on its way down; default 5 s
	MaxConnections  int           // default 4096
	Logger          *slog.Logger  // default: none
}

// Server serves the data plane of one chunkserver.
type Server struct{}

// NewServer makes a server that keeps chunks in store and forwards through client.
func NewServer(store Store, client *Client, options ServerOptions) *Server { panic("being written") }

// Serve accepts connections until Shutdown; it then returns nil.
func (s *Server) Serve(listener net.Listener) error { panic("being written") }

// Shutdown stops accepting, lets the requests in flight finish until ctx ends, and
// closes every connection. It does not close store or client.
func (s *Server) Shutdown(ctx context.Context) error { panic("being written") }

// Forget drops what the server remembers of failed writes of a chunk: to be called
// when its replica was removed or replaced.
func (s *Server) Forget(chunk uuid.UUID) { panic("being written") }
