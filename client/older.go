package client

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/distrifs/distrifs/proto/pb"
)

// fsync is of the file, not of what was written through one open: bytes that were
// written and closed before, here or by another client, may be on no stable storage
// yet. So the first sync after an open that did not make the file goes to all its
// chunks, and the later ones to those that were written since. A replica that has
// nothing to sync answers at once.

// syncLookup is how many chunks of a file are located at once, holes included.
const syncLookup = 1024

// syncOlder puts on stable storage what the master had of the file when it was
// opened. The committing token is held. Failures of chains stick to the files.
func (i *inode) syncOlder(ctx context.Context) error {
	i.mu.Lock()
	done, attr := i.durable, i.attr
	i.mu.Unlock()
	if done {
		return nil
	}
	size := uint64(i.c.chunkSize)
	left := int64(attr.Blocks * 512) // bytes of chunks that are not found yet
	for first := uint64(0); left > 0 && first < (attr.Size+size-1)/size; first += syncLookup {
		chunks, err := i.locateMany(ctx, first)
		if err != nil {
			return err
		}
		if err := i.syncFound(ctx, chunks); err != nil {
			return err
		}
		left -= int64(len(chunks)) * i.c.chunkSize
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.durable = true // or the error sticks: said once, then not again
	return nil
}

// begins is called when a file has no bytes yet, or none any more.
func (i *inode) begins() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.durable = true
}

func (i *inode) locateMany(ctx context.Context, first uint64) ([]*pb.ChunkLocation, error) {
	reply, err := ask(ctx, i.c, i.c.cred, "locate chunks of", inodeName(i.id), func(ctx context.Context, who *pb.Caller) (*pb.ChunkLocations, error) {
		return i.c.master.GetChunkLocation(ctx, &pb.GetChunkLocationRequest{Caller: who, Inode: uint64(i.id), First: first, Count: syncLookup})
	})
	return reply.GetChunks(), err
}

func (i *inode) syncFound(ctx context.Context, chunks []*pb.ChunkLocation) error {
	var group errgroup.Group
	group.SetLimit(syncParallel)
	for _, chunk := range chunks {
		if loc := locationOf(chunk); loc.committed {
			st := &stream{ino: i, index: chunk.Index, loc: loc, ackedSeq: 1}
			group.Go(func() error { return st.sync(ctx) })
		}
	}
	return group.Wait()
}
