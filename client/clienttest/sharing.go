package clienttest

import (
	"context"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// free takes a chunk from a file. One that is shared is kept for ever.
func (c *Cluster) free(i *inode, index uint64) {
	if ch := i.chunks[index]; ch != nil && !ch.shared {
		delete(c.chunks, ch.id)
	}
	delete(i.chunks, index)
}

func (c *Cluster) isOpenOnlyBy(s *session, ino uint64) bool {
	opens := uint32(0)
	for _, other := range c.sessions {
		opens += other.opens[ino]
	}
	return opens == s.opens[ino]
}

// CopyRange implements pb.MasterServer.
func (c *Cluster) CopyRange(ctx context.Context, r *pb.CopyRangeRequest) (*pb.CopyRangeReply, error) {
	from, err := c.inode(r.From)
	if err != nil {
		return nil, err
	}
	to, err := c.inode(r.To)
	if err != nil {
		return nil, err
	}
	size := c.opts.ChunkSize
	partial := from.attr.Size < (r.FromIndex+uint64(r.Count))*size
	end := r.ToIndex*size + from.attr.Size - min(from.attr.Size, r.FromIndex*size)
	switch {
	case from == to && r.FromIndex < r.ToIndex+uint64(r.Count) && r.ToIndex < r.FromIndex+uint64(r.Count):
		return nil, proto.Invalid
	case from.attr.Change != r.FromChange, !c.isOpenOnlyBy(sessionOf(ctx), r.From), partial && max(r.Size, to.attr.Size) > end:
		return nil, proto.Busy
	}
	for k := range uint64(r.Count) {
		ch := from.chunks[r.FromIndex+k]
		c.free(to, r.ToIndex+k)
		if ch == nil || !ch.committed {
			continue
		}
		ch.shared = true
		copied := *ch
		copied.inode, copied.index = r.To, r.ToIndex+k
		to.chunks[copied.index] = &copied
	}
	from.attr.Change++
	to.touch()
	to.modified()
	to.attr.Size = max(to.attr.Size, r.Size)
	return &pb.CopyRangeReply{From: from.copyAttr(), To: to.copyAttr()}, nil
}

// unshare puts a clone into the place of a shared chunk.
func (c *Cluster) unshare(i *inode, index uint64) {
	old := i.chunks[index]
	if old == nil || !old.shared {
		return
	}
	c.nextID++
	clone := *old
	clone.id, clone.version, clone.shared = c.nextID, 1, false
	i.chunks[index], c.chunks[clone.id] = &clone, &clone
	name := c.id.ChunkUUID(proto.ChunkID(clone.id))
	for _, n := range clone.chain {
		content, _, _ := n.Content(c.id.ChunkUUID(proto.ChunkID(old.id)))
		n.setVersion(name, 1)
		n.setContent(name, content)
	}
}

// Shared tells whether the chunk of a file is shared.
func (c *Cluster) Shared(ino proto.InodeID, index uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.inodes[uint64(ino)]
	return i != nil && i.chunks[index] != nil && i.chunks[index].shared
}
