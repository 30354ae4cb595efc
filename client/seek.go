package client

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// SeekData finds the first byte at or behind off that may be something else than
// zero, as lseek(2) does with SEEK_DATA: NoData if there is none before the end of
// the file, or off is there. What this client wrote counts. Holes are whole blocks.
func (f *File) SeekData(ctx context.Context, off int64) (int64, error) {
	return f.seekFor(ctx, off, true)
}

// SeekHole finds the first byte at or behind off that lies in a hole, or else the
// end of the file: NoData if off is there or behind it.
func (f *File) SeekHole(ctx context.Context, off int64) (int64, error) {
	return f.seekFor(ctx, off, false)
}

func (f *File) seekFor(ctx context.Context, off int64, data bool) (int64, error) {
	if f.closed.Load() {
		return 0, f.check("seek", unix.O_RDONLY)
	}
	i := f.ino
	if err := i.flush(ctx, false); err != nil { // the replicas then know all
		return 0, err
	}
	if err := i.refresh(ctx); err != nil {
		return 0, err
	}
	i.mu.Lock()
	size, lost := i.size(), i.lost
	i.mu.Unlock()
	switch {
	case lost != nil:
		return 0, lost
	case off < 0 || off >= size:
		return 0, proto.NoData
	}
	s := &seeker{i: i, size: size}
	at, err := s.find(ctx, off, data)
	if err == nil && at >= size {
		if at = size; data {
			err = proto.NoData
		}
	}
	return at, err
}

// seeker looks for data and holes in a file of that size.
type seeker struct {
	i      *inode
	size   int64
	chunks []indexedLocation // committed, in order, that the master named last
}

type indexedLocation struct {
	index uint64
	location
}

// find gives an offset, which is the size or more if nothing is found.
func (s *seeker) find(ctx context.Context, off int64, data bool) (int64, error) {
	for off < s.size {
		chunk, found, err := s.chunkFrom(ctx, uint64(off/s.i.c.chunkSize))
		if err != nil {
			return 0, err
		}
		if !found {
			break
		}
		base := int64(chunk.index) * s.i.c.chunkSize
		if base > off && !data {
			return off, nil
		}
		off = max(off, base)
		n := min(s.i.c.chunkSize, s.size-base)
		start, end, err := s.extent(ctx, chunk.location, off-base, n)
		if err != nil {
			return 0, err
		}
		switch {
		case data && start < n:
			return base + start, nil
		case !data && start > off-base:
			return off, nil
		case !data && end < n:
			return base + end, nil
		}
		off = base + n
	}
	if data {
		return s.size, nil
	}
	return off, nil
}

// chunkFrom finds the first committed chunk at or behind an index.
func (s *seeker) chunkFrom(ctx context.Context, index uint64) (indexedLocation, bool, error) {
	if loc, ok := s.i.c.locations.get(s.i.id, index); ok && loc.committed {
		return indexedLocation{index, loc}, true, nil
	}
	for from := index; ; {
		for len(s.chunks) > 0 {
			if first := s.chunks[0]; first.index >= index {
				return first, true, nil
			}
			s.chunks = s.chunks[1:]
		}
		named, err := s.i.c.locateOverHoles(ctx, s.i.id, from)
		if err != nil || len(named) == 0 {
			return indexedLocation{}, false, err
		}
		for _, chunk := range named {
			if loc := locationOf(chunk); loc.committed {
				s.chunks = append(s.chunks, indexedLocation{chunk.Index, loc})
			}
		}
		from = named[len(named)-1].Index + 1
	}
}

// locateOverHoles asks where the next chunks from an index on are, however far off.
func (c *Client) locateOverHoles(ctx context.Context, ino proto.InodeID, index uint64) ([]*pb.ChunkLocation, error) {
	asked := c.locations.asking()
	reply, err := ask(ctx, c, c.cred, "locate chunks of", inodeName(ino), func(ctx context.Context, who *pb.Caller) (*pb.ChunkLocations, error) {
		return c.master.GetChunkLocation(ctx, &pb.GetChunkLocationRequest{Caller: who, Inode: uint64(ino), First: index, Count: lookupCount, OverHoles: true})
	})
	if err != nil {
		return nil, err
	}
	for _, chunk := range reply.Chunks {
		c.locations.putAsked(asked, ino, chunk.Index, locationOf(chunk))
	}
	return reply.Chunks, nil
}

// extent finds the first extent of data from at on before n, both in the chunk. When
// no replica answers, everything is taken for data.
func (s *seeker) extent(ctx context.Context, loc location, at, n int64) (start, end int64, err error) {
	c := s.i.c
	block := at / proto.BlockSize * proto.BlockSize
	for _, hop := range c.health.order(loc.chain) {
		attempt, cancel := context.WithTimeout(ctx, replicaTimeout)
		from, to, err := c.data.Extent(attempt, pipeline.ExtentRequest{
			Chunk: c.cluster.ChunkUUID(loc.chunk), Version: loc.version,
			Offset: uint64(block), Length: uint64(n - block), From: hop,
		})
		cancel()
		if err == nil {
			return max(int64(from), at), max(int64(to), at), nil
		}
		if ctx.Err() != nil {
			return 0, 0, interrupted(ctx, "seek")
		}
		c.opts.Logger.Warn("replica failed; trying another", "chunk", loc.chunk.String(), "node", uint32(hop.Node), "address", hop.Address, "error", err)
	}
	return at, n, nil
}
