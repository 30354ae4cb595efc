package meta

import (
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Answers that name a file say where its first chunk is, for who is about to read it.

// first gives the location of the first chunk of a file, if it can be read.
func (m *Master) first(st *state.State, attr *state.Attr) (first *pb.ChunkLocation) {
	if attr.Mode&typeMask != regular || attr.Size == 0 {
		return nil
	}
	st.FileChunks(attr.Inode, 0, 1, func(c state.Chunk) bool {
		if c.Committed {
			first = m.locate(c)
		}
		return false
	})
	for _, replica := range first.GetChain() {
		if replica.Address == "" {
			return nil
		}
	}
	return first
}

// nodeList collects the chunkservers that a page of a directory refers to.
type nodeList struct {
	list  []*pb.Replica
	place map[proto.NodeID]uint32
}

// pack puts a location into few bytes; nil if there is none.
func (n *nodeList) pack(l *pb.ChunkLocation) *pb.FirstChunk {
	if l == nil {
		return nil
	}
	packed := &pb.FirstChunk{Chunk: l.Chunk, Version: l.Version, Shared: l.Shared, Chain: make([]uint32, len(l.Chain))}
	for i, replica := range l.Chain {
		place, known := n.place[proto.NodeID(replica.Node)]
		if !known {
			if n.place == nil {
				n.place = map[proto.NodeID]uint32{}
			}
			place = uint32(len(n.list))
			n.place[proto.NodeID(replica.Node)] = place
			n.list = append(n.list, replica)
		}
		packed.Chain[i] = place
	}
	return packed
}
