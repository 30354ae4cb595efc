package loan

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

const (
	maxBorrowers = 256 // connections at once
	answerTime   = 5 * time.Second
)

// File is an open chunk file with a descriptor.
type File interface {
	io.Closer
	syscall.Conn
}

// Lend opens the file of a chunk for reading, if a read of that version would be served.
type Lend func(chunk uuid.UUID, version proto.Version) (File, Geometry, error)

// Server hands out chunk files.
type Server struct {
	listener *net.UnixListener
	lend     Lend
	log      *slog.Logger

	mu     sync.Mutex
	conns  map[*net.UnixConn]struct{}
	closed bool
	group  sync.WaitGroup
}

// Listen makes the server of the chunkserver whose data plane has that address.
func Listen(address string, lend Lend, log *slog.Logger) (*Server, error) {
	listener, err := net.ListenUnix("unix", socketName(address))
	if err != nil {
		return nil, err
	}
	return &Server{listener: listener, lend: lend, log: log, conns: map[*net.UnixConn]struct{}{}}, nil
}

// Serve answers until ctx ends.
func (s *Server) Serve(ctx context.Context) {
	defer s.group.Wait()
	defer context.AfterFunc(ctx, s.close)()
	for {
		conn, err := s.listener.AcceptUnix()
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("short-circuit reads have ended", "error", err)
			}
			s.close()
			return
		}
		if !s.add(conn) {
			conn.Close()
		}
	}
}

func (s *Server) add(conn *net.UnixConn) bool {
	if err := trusted(conn); err != nil {
		s.log.Debug("refused to lend chunk files", "error", err)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= maxBorrowers {
		return false
	}
	s.conns[conn] = struct{}{}
	s.group.Go(func() {
		if err := s.answer(conn); err != io.EOF {
			s.log.Debug("a borrower's connection ended", "error", err)
		}
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
		conn.Close()
	})
	return true
}

func (s *Server) close() {
	s.listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.conns {
		conn.Close()
	}
}

// answer serves a connection.
func (s *Server) answer(conn *net.UnixConn) error {
	raw := make([]byte, requestSize)
	for {
		if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, raw); err != nil {
			return err
		}
		r, err := decodeRequest(raw)
		if err != nil {
			return err
		}
		if err := s.reply(conn, r); err != nil {
			return err
		}
	}
}

func (s *Server) reply(conn *net.UnixConn, r request) error {
	file, geometry, err := s.lend(r.chunk, r.version)
	if err != nil {
		_, err := conn.Write(encodeReply(proto.KindOf(err), &geometry))
		return err
	}
	defer file.Close()
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) {
		_, _, sendErr = conn.WriteMsgUnix(encodeReply(0, &geometry), unix.UnixRights(int(fd)), nil)
	})
	if err != nil {
		return err
	}
	return sendErr
}
