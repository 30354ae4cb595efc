package chunk

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Copies by order of the master: of the same chunk from another chunkserver, or of
// another chunk, which nobody writes to any more and of which this chunkserver may
// have a replica itself. Either way every block is verified when it is read, so a
// corrupt source is found and another one tried (G5).

// reader gives bytes of the chunk that is copied, as pipeline.Client.Read does.
type reader func(ctx context.Context, off uint64, dst []byte) (int, error)

// copy tries the sources in order, the own replica first.
func (s *session) copy(ctx context.Context, id proto.ChunkID, order *pb.CopyChunk) error {
	m := s.store.membership.Load()
	version := proto.Version(order.Version)
	sources := slices.Clone(order.Sources)
	slices.SortStableFunc(sources, func(a, b *pb.Replica) int {
		return own(b, m.node) - own(a, m.node)
	})
	var errs []error
	for _, source := range sources {
		read := s.readerOf(source, id, order)
		if read == nil {
			continue
		}
		pace := newPace(order.Rate)
		err := s.store.Copy(ctx, id, version, func(ctx context.Context, off uint64, dst []byte) (int, error) {
			if !pace.wait(ctx, len(dst)) {
				return 0, proto.E(proto.Unavailable, "copy", fmt.Sprintf("chunk %v", id), "the chunkserver stops")
			}
			return read(ctx, off, dst)
		})
		if err == nil {
			s.copied.Add(1)
			s.log.Debug("replica copied by order of the master", "chunk", id, "version", version, "of", proto.ChunkID(order.OfChunk), "from", source.Address)
			s.forgetChunk(id)
			return nil
		}
		errs = append(errs, err)
		if kind := proto.KindOf(err); kind == proto.NoSpace || ctx.Err() != nil {
			break // no other source helps
		}
	}
	if len(errs) == 0 {
		return proto.E(proto.Invalid, "copy", fmt.Sprintf("chunk %v", id), "the order names no source that can be reached")
	}
	return &proto.Error{Kind: proto.KindOf(errs[len(errs)-1]), Op: "copy", Subject: fmt.Sprintf("chunk %v version %d", id, version), Err: errors.Join(errs...)}
}

func own(source *pb.Replica, node proto.NodeID) int {
	if proto.NodeID(source.Node) == node {
		return 1
	}
	return 0
}

// readerOf reads what is to be copied from a source; nil: it cannot be one.
func (s *session) readerOf(source *pb.Replica, id proto.ChunkID, order *pb.CopyChunk) reader {
	m := s.store.membership.Load()
	chunk, version := m.cluster.ChunkUUID(id), proto.Version(order.Version)
	if order.OfChunk != 0 {
		chunk, version = m.cluster.ChunkUUID(proto.ChunkID(order.OfChunk)), proto.Version(order.OfVersion)
	}
	switch {
	case own(source, m.node) == 1 && order.OfChunk != 0 && order.OfChunk != uint64(id):
		return func(_ context.Context, off uint64, dst []byte) (int, error) {
			return s.store.Read(chunk, version, off, dst, make([]uint32, pieces(off, len(dst))))
		}
	case own(source, m.node) == 1 || source.Address == "":
		return nil
	}
	from := pipeline.Hop{Node: proto.NodeID(source.Node), Address: source.Address}
	return func(ctx context.Context, off uint64, dst []byte) (int, error) {
		return s.read(ctx, pipeline.ReadRequest{Chunk: chunk, Version: version, Offset: off, From: from}, dst)
	}
}
