package chunk

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Copies by order of the master: of the same chunk from another chunkserver, or of
// another chunk, which nobody writes to any more and of which this chunkserver may
// have a replica itself. Either way every block is verified when it is read, so a
// corrupt source is found and another one tried (G5).

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
		from := s.sourceOf(source, id, order)
		if from == nil {
			continue
		}
		err := s.copyFrom(ctx, id, version, &paced{from, newPace(order.Rate)}, order.Afresh)
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

// copyFrom fetches what differs from what is here, or everything afresh.
func (s *session) copyFrom(ctx context.Context, id proto.ChunkID, version proto.Version, from Source, afresh bool) error {
	if afresh {
		return s.store.Copy(ctx, id, version, from.Read)
	}
	return s.store.Resync(ctx, id, version, from)
}

// sourceOf is what is to be copied from; nil: it cannot be a source.
func (s *session) sourceOf(source *pb.Replica, id proto.ChunkID, order *pb.CopyChunk) Source {
	m := s.store.membership.Load()
	chunk, version := m.cluster.ChunkUUID(id), proto.Version(order.Version)
	if order.OfChunk != 0 {
		chunk, version = m.cluster.ChunkUUID(proto.ChunkID(order.OfChunk)), proto.Version(order.OfVersion)
	}
	switch {
	case own(source, m.node) == 1 && order.OfChunk != 0 && order.OfChunk != uint64(id):
		return &local{s.store, chunk, version}
	case own(source, m.node) == 1 || source.Address == "":
		return nil
	}
	return &remote{s.peers, chunk, version, pipeline.Hop{Node: proto.NodeID(source.Node), Address: source.Address}}
}

// local is a replica of another chunk here, as a Source.
type local struct {
	store   *Store
	chunk   uuid.UUID
	version proto.Version
}

func (l *local) Sums(context.Context) (length uint64, sums []uint32, err error) {
	return l.store.Sums(l.chunk, l.version, 0, uint64(l.store.layout()), nil)
}

func (l *local) Read(_ context.Context, off uint64, dst []byte, sums []uint32) (int, error) {
	return l.store.Read(l.chunk, l.version, off, dst, sums)
}

// peers is what other chunkservers are read with.
type peers interface {
	Read(ctx context.Context, r pipeline.ReadRequest, dst []byte) (int, error)
	Sums(ctx context.Context, chunk uuid.UUID, version proto.Version, from pipeline.Hop) (uint64, []uint32, error)
}

// remote is a replica on another chunkserver, as a Source.
type remote struct {
	peers
	chunk   uuid.UUID
	version proto.Version
	from    pipeline.Hop
}

func (r *remote) Sums(ctx context.Context) (length uint64, sums []uint32, err error) {
	return r.peers.Sums(ctx, r.chunk, r.version, r.from)
}

func (r *remote) Read(ctx context.Context, off uint64, dst []byte, sums []uint32) (int, error) {
	return r.peers.Read(ctx, pipeline.ReadRequest{Chunk: r.chunk, Version: r.version, Offset: off, From: r.from, Sums: sums}, dst)
}

// paced is a Source that is read at a rate.
type paced struct {
	Source
	pace *pace
}

func (p *paced) Read(ctx context.Context, off uint64, dst []byte, sums []uint32) (int, error) {
	if !p.pace.wait(ctx, len(dst)) {
		return 0, proto.E(proto.Unavailable, "copy", "", "the chunkserver stops")
	}
	return p.Source.Read(ctx, off, dst, sums)
}
