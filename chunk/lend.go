package chunk

import (
	"fmt"
	"net"
	"os"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/pipeline/loan"
	"github.com/distrifs/distrifs/proto"
)

// Short-circuit reads: a reader on this host gets the file of a chunk, for reading only,
// if it would be served a read of that version (pipeline/loan tells what it may do with it).

// sealOffset is where UUID and version stand in the footer page.
const sealOffset = 16

// Lend opens the file of a chunk. Errors are those of Read; NotSupported where files have
// no descriptor.
func (s *Store) Lend(chunk uuid.UUID, v proto.Version) (loan.File, loan.Geometry, error) {
	var g loan.Geometry
	id, err := s.identify("lend", chunk)
	if err != nil {
		return nil, g, err
	}
	r := s.find(id)
	if r == nil {
		return nil, g, proto.E(proto.NoReplica, "lend", fmt.Sprintf("chunk %v", id), "")
	}
	exclusive, err := r.lockForRead("lend", v)
	if err != nil {
		return nil, g, err
	}
	defer r.unlock(exclusive)
	if r.stale || r.corrupt.Load() || r.broken == r.version {
		return nil, g, r.fail(proto.Unavailable, "lend", "what is on disk is not what it should be", nil)
	}
	r.used.Store(true)
	file, err := r.folder.fs.OpenFile(r.path(), os.O_RDONLY, 0)
	if err != nil {
		return nil, g, r.folder.failed("lend", r.subject(), err)
	}
	lent, ok := file.(loan.File)
	if !ok {
		return nil, g, s.cannotLend(file.Close())
	}
	l := r.layout()
	g = loan.Geometry{Capacity: int64(l), TableAt: l.tableAt(), SealAt: l.footerAt() + sealOffset}
	page := (&footer{flags: r.flags, chunk: r.name, version: r.version, length: r.length, capacity: int64(l)}).encode(make([]byte, footerUsed))
	copy(g.Seal[:], page[sealOffset:])
	return lent, g, nil
}

func (s *Store) cannotLend(cause error) error {
	return &proto.Error{Kind: proto.NotSupported, Op: "lend", Subject: "a chunk file", Detail: "files here have no descriptor", Err: cause}
}

// lend is Lend while the chunkserver may serve.
func (s *Server) lend(chunk uuid.UUID, v proto.Version) (loan.File, loan.Geometry, error) {
	file, g, err := s.store.Lend(chunk, v)
	if err != nil {
		return nil, g, err
	}
	if err := s.lease.check("lend", chunk); err != nil {
		file.Close()
		return nil, g, err
	}
	return file, g, nil
}

// lender serves readers on this host until Close. Without it they read as all others do.
func (s *Server) lender(address string, listener net.Listener) func() {
	if _, ok := listener.Addr().(*net.TCPAddr); !ok {
		return func() {}
	}
	server, err := loan.Listen(address, s.lend, s.config.Logger)
	if err != nil {
		s.config.Logger.Warn("no short-circuit reads", "error", err)
		return func() {}
	}
	return func() { server.Serve(s.ctx) }
}
