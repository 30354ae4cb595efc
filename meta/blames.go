package meta

import (
	"sync"

	"github.com/distrifs/distrifs/proto"
)

// blames remembers who last blamed a successor in a chunk's chain, so that a faulty
// member which blames one healthy successor after the other is found out (L4). It is
// bounded: when full, it forgets everything and starts anew.
type blames struct {
	mu  sync.Mutex
	who map[proto.ChunkID]proto.NodeID
}

const maxBlames = 1 << 14

// last is the member that blamed a successor before; 0: none.
func (b *blames) last(id proto.ChunkID) proto.NodeID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.who[id]
}

func (b *blames) note(id proto.ChunkID, who proto.NodeID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.who == nil || len(b.who) >= maxBlames {
		b.who = map[proto.ChunkID]proto.NodeID{}
	}
	if who == 0 {
		delete(b.who, id)
	} else {
		b.who[id] = who
	}
}
