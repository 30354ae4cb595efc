package clienttest

import (
	"context"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

type chunk struct {
	id        uint64
	inode     uint64
	index     uint64
	version   proto.Version
	committed bool
	shared    bool   // with other places, each of which has a chunk of the same id
	size      uint64 // bytes, at most
	chain     []*Node
}

func (c *Cluster) location(ch *chunk) *pb.ChunkLocation {
	l := &pb.ChunkLocation{Index: ch.index, Chunk: ch.id, Version: uint64(ch.version), Committed: ch.committed, Shared: ch.shared}
	for _, n := range ch.chain {
		replica := &pb.Replica{Node: uint32(n.ID), Address: n.Address}
		if c.silent[n] {
			replica.Address = ""
		}
		l.Chain = append(l.Chain, replica)
	}
	return l
}

func (c *Cluster) span(i *inode, first, count uint64) []*pb.ChunkLocation {
	var locations []*pb.ChunkLocation
	for index := first; index < first+count; index++ {
		if ch := i.chunks[index]; ch != nil {
			locations = append(locations, c.location(ch))
		}
	}
	return locations
}

// blocks is st_blocks: what of the file lies in committed chunks.
func (i *inode) blocks() (blocks uint64) {
	for index, ch := range i.chunks {
		if base := index * ch.size; ch.committed && base < i.attr.Size {
			blocks += (min(ch.size, i.attr.Size-base) + proto.BlockSize - 1) / proto.BlockSize * (proto.BlockSize / 512)
		}
	}
	return blocks
}

// assign gives the chunk of an index, a new one if there is none.
func (c *Cluster) assign(i *inode, index uint64) (*chunk, error) {
	if ch := i.chunks[index]; ch != nil {
		return ch, nil
	}
	var chain []*Node
	for k := range c.Nodes {
		if n := c.Nodes[(c.assigned+k)%len(c.Nodes)]; n.alive() && len(chain) < c.opts.Replicas {
			chain = append(chain, n)
		}
	}
	if len(chain) < c.opts.MinReplicas {
		return nil, proto.TooFewReplicas
	}
	c.assigned++
	c.nextID++
	ch := &chunk{id: c.nextID, inode: i.attr.Inode, index: index, version: 1, chain: chain, size: c.opts.ChunkSize}
	i.chunks[index], c.chunks[ch.id] = ch, ch
	return ch, nil
}

func (c *Cluster) Create(ctx context.Context, r *pb.CreateRequest) (*pb.CreateReply, error) {
	reply := &pb.CreateReply{Created: true}
	i, err := c.make(r.Parent, r.Name, unix.S_IFREG|r.Mode, r.Caller)
	if err == proto.Exists && !r.Exclusive {
		reply.Created = false
		i, err = c.entry(r.Parent, r.Name)
		if err == nil && r.Truncate {
			i.touch()
			c.truncate(i, 0)
		}
	}
	if err != nil {
		return nil, err
	}
	if reply.Created && r.Assign {
		if ch, err := c.assign(i, 0); err == nil {
			reply.Chunk = c.location(ch)
		}
	}
	sessionOf(ctx).opens[i.attr.Inode]++
	reply.Attr = i.copyAttr()
	return reply, nil
}

// CreateUnnamed implements pb.MasterServer.
func (c *Cluster) CreateUnnamed(ctx context.Context, r *pb.CreateUnnamedRequest) (*pb.CreateReply, error) {
	if _, err := c.dir(r.Parent); err != nil {
		return nil, err
	}
	c.nextID++
	i := newInode(c.nextID, unix.S_IFREG|r.Mode&^r.Caller.Umask)
	i.attr.Nlink = 0
	c.inodes[c.nextID] = i
	sessionOf(ctx).opens[c.nextID]++
	ch, err := c.assign(i, 0)
	if err != nil {
		return nil, err
	}
	return &pb.CreateReply{Attr: i.copyAttr(), Created: true, Chunk: c.location(ch)}, nil
}

func (c *Cluster) Open(ctx context.Context, r *pb.OpenRequest) (*pb.OpenReply, error) {
	i, err := c.inode(r.Inode)
	if err != nil {
		return nil, err
	}
	if r.Flags&unix.O_TRUNC != 0 {
		i.touch()
		c.truncate(i, 0)
	}
	sessionOf(ctx).opens[r.Inode]++
	return &pb.OpenReply{Attr: i.copyAttr(), Chunks: c.span(i, 0, uint64(r.Locations))}, nil
}

func (c *Cluster) Release(ctx context.Context, r *pb.ReleaseRequest) (*pb.ReleaseReply, error) {
	s := sessionOf(ctx)
	for _, o := range r.Closed {
		s.opens[o.Inode] -= min(o.Count, s.opens[o.Inode])
		if i := c.inodes[o.Inode]; i != nil {
			c.reap(i)
		}
	}
	for _, a := range r.Accessed {
		if i := c.inodes[a.Inode]; i != nil {
			i.attr.AtimeSec, i.attr.AtimeNsec = a.Sec, a.Nsec
		}
	}
	return &pb.ReleaseReply{}, nil
}

func (c *Cluster) GetChunkLocation(_ context.Context, r *pb.GetChunkLocationRequest) (*pb.ChunkLocations, error) {
	i, err := c.inode(r.Inode)
	if err != nil {
		return nil, err
	}
	if r.OverHoles {
		return &pb.ChunkLocations{Chunks: c.overHoles(i, r.First, int(r.Count))}, nil
	}
	return &pb.ChunkLocations{Chunks: c.span(i, r.First, uint64(r.Count))}, nil
}

func (c *Cluster) overHoles(i *inode, first uint64, count int) (locations []*pb.ChunkLocation) {
	for _, index := range slices.Sorted(maps.Keys(i.chunks)) {
		if index >= first && len(locations) < count {
			locations = append(locations, c.location(i.chunks[index]))
		}
	}
	return locations
}

// Fallocate frees the committed chunks within a hole, and the one that the file
// ends in when nobody else has it open.
func (c *Cluster) Fallocate(ctx context.Context, r *pb.FallocateRequest) (*pb.AttrReply, error) {
	i, err := c.inode(r.Inode)
	if err != nil {
		return nil, err
	}
	if !r.Hole && r.Length > c.opts.Free {
		return nil, proto.NoSpace
	}
	alone := c.isOpenOnlyBy(sessionOf(ctx), r.Inode)
	for index, ch := range i.chunks {
		end := (index + 1) * c.opts.ChunkSize
		if alone {
			end = min(end, i.attr.Size)
		}
		if r.Hole && ch.committed && r.Offset <= index*c.opts.ChunkSize && end <= r.Offset+r.Length {
			c.free(i, index)
		}
	}
	i.touch()
	i.attr.Size = max(i.attr.Size, r.Size)
	i.modified()
	return i.reply(), nil
}

func (c *Cluster) AssignChunk(_ context.Context, r *pb.AssignChunkRequest) (*pb.ChunkLocations, error) {
	i, err := c.inode(r.Inode)
	if err != nil {
		return nil, err
	}
	c.unshare(i, r.First)
	count := uint64(0)
	for ; count < uint64(r.Count); count++ {
		ch, err := c.assign(i, r.First+count)
		if err != nil {
			return nil, err
		}
		if ch.shared {
			break
		}
	}
	return &pb.ChunkLocations{Chunks: c.span(i, r.First, count)}, nil
}

func (c *Cluster) Commit(_ context.Context, r *pb.CommitRequest) (*pb.AttrReply, error) {
	i, err := c.inode(r.Inode)
	if err != nil {
		return nil, err
	}
	for _, id := range r.Chunks {
		if ch := c.chunks[id]; ch == nil || ch.inode != r.Inode || ch.shared {
			return nil, proto.NotFound
		}
	}
	for _, id := range r.Chunks {
		c.chunks[id].committed = true
	}
	i.touch()
	i.attr.Size = max(i.attr.Size, r.Size)
	if i.modified(); r.Mtime != nil {
		i.setMtime(r.Mtime)
	}
	return i.reply(), nil
}

// ReportChainFailure puts the survivors, and a fresh node if they are too few,
// into a chain of a higher version, after making them equal. Suspects that are needed
// and there stay, unless they are full: such never get a chunk again.
func (c *Cluster) ReportChainFailure(_ context.Context, r *pb.ReportChainFailureRequest) (*pb.ChunkLocation, error) {
	ch := c.chunks[r.Chunk]
	if ch == nil {
		return nil, proto.NotFound
	}
	if ch.version != proto.Version(r.Version) {
		return c.location(ch), nil
	}
	for _, id := range r.Failed {
		c.full[id] = c.full[id] || r.Full
	}
	there := func(n *Node) bool { return n.alive() && !c.silent[n] }
	failed := func(n *Node) bool { return !there(n) || slices.Contains(r.Failed, uint32(n.ID)) }
	survivors := slices.DeleteFunc(slices.Clone(ch.chain), failed)
	for _, n := range c.Nodes {
		if len(survivors) > 0 && len(survivors) < c.opts.MinReplicas && !failed(n) && !c.full[uint32(n.ID)] && !slices.Contains(ch.chain, n) {
			survivors = append(survivors, n)
		}
	}
	if len(survivors) < c.opts.MinReplicas && r.Full {
		return nil, proto.NoSpace
	}
	if len(survivors) < c.opts.MinReplicas {
		survivors = slices.DeleteFunc(slices.Clone(ch.chain), func(n *Node) bool { return !there(n) })
	}
	if len(survivors) < c.opts.MinReplicas {
		return nil, proto.TooFewReplicas
	}
	ch.version++
	ch.chain = survivors
	name := c.id.ChunkUUID(proto.ChunkID(ch.id))
	for _, n := range survivors {
		n.setVersion(name, ch.version)
	}
	content, _, _ := survivors[0].Content(name)
	for _, n := range survivors[1:] {
		n.setContent(name, content)
	}
	return c.location(ch), nil
}

func (c *Cluster) ReportCorrupt(_ context.Context, r *pb.ReportCorruptRequest) (*pb.ReportCorruptReply, error) {
	c.corrupt = append(c.corrupt, r)
	return &pb.ReportCorruptReply{}, nil
}

// Chain is the chain of a file's chunk, as the master has it; nil: a hole.
func (c *Cluster) Chain(ino proto.InodeID, index uint64) []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.inodes[uint64(ino)]; i != nil && i.chunks[index] != nil {
		return slices.Clone(i.chunks[index].chain)
	}
	return nil
}

// Replica is what a node holds of a file's chunk.
func (c *Cluster) Replica(n *Node, ino proto.InodeID, index uint64) (data []byte, synced, ok bool) {
	c.mu.Lock()
	i := c.inodes[uint64(ino)]
	if i == nil || i.chunks[index] == nil {
		c.mu.Unlock()
		return nil, false, false
	}
	name := c.id.ChunkUUID(proto.ChunkID(i.chunks[index].id))
	c.mu.Unlock()
	return n.Content(name)
}

// Bump raises the version of every chunk of a file on all its replicas, as a
// repair would: what clients remember is out of date then.
func (c *Cluster) Bump(ino proto.InodeID) { c.raise(ino, proto.Version.Next) }

// Age is Bump after a loss of power to all replicas: what was not synced may be gone.
func (c *Cluster) Age(ino proto.InodeID) { c.raise(ino, proto.Version.NextAge) }

func (c *Cluster) raise(ino proto.InodeID, next func(proto.Version) proto.Version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range c.inodes[uint64(ino)].chunks {
		ch.version = next(ch.version)
		name := c.id.ChunkUUID(proto.ChunkID(ch.id))
		for _, n := range ch.chain {
			n.setVersion(name, ch.version)
		}
	}
}
