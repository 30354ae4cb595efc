package client

import (
	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Answers that name a file say where its first chunk is: who then opens a small file under
// the lease that came with them, and reads it, asks the master nothing more.

// learnedFile is learnedOf for an answer that says where the first chunk is, asked for
// as of asked.
func (c *Client) learnedFile(began, asked uint64, g *pb.Grants, a *pb.Attr, first location) Attr {
	attr := attrOf(a)
	c.leases.noteAttr(began, g, &attr)
	if first.chunk != 0 && len(first.chain) > 0 && attr.lease != nil {
		c.locations.found(asked, attr.Inode, attr.Change, first)
	}
	return c.merged(attr, false)
}

// found notes where the first chunk of a file is, as of a state of it, unless a later one
// was seen.
func (l *locations) found(asked uint64, ino proto.InodeID, change uint64, first location) {
	l.saw(ino, change, asked)
	l.mu.Lock()
	overtaken := l.file(ino).change != change
	l.mu.Unlock()
	if !overtaken {
		l.putAsked(asked, ino, 0, first)
	}
}

// pageOfFirsts unpacks the locations of a page of a directory. Most files are in one of a few
// chains: their hops are shared.
type pageOfFirsts struct {
	nodes  []pipeline.Hop
	chains map[string][]pipeline.Hop // by places in nodes
}

func newPageOfFirsts(nodes []*pb.Replica) *pageOfFirsts {
	p := &pageOfFirsts{chains: map[string][]pipeline.Hop{}}
	for _, n := range nodes {
		p.nodes = append(p.nodes, pipeline.Hop{Node: proto.NodeID(n.Node), Address: n.Address})
	}
	return p
}

// unpack gives a location; that of no chunk if there is none, or it makes no sense.
func (p *pageOfFirsts) unpack(first *pb.FirstChunk) location {
	if first == nil || len(first.Chain) == 0 || len(p.nodes) > 1<<8 {
		return location{}
	}
	key := make([]byte, len(first.Chain))
	for i, place := range first.Chain {
		if int64(place) >= int64(len(p.nodes)) {
			return location{}
		}
		key[i] = byte(place)
	}
	chain := p.chains[string(key)]
	if chain == nil {
		for _, place := range key {
			chain = append(chain, p.nodes[place])
		}
		p.chains[string(key)] = chain
	}
	return location{
		chunk: proto.ChunkID(first.Chunk), version: proto.Version(first.Version), committed: true, shared: first.Shared, chain: chain,
	}
}
