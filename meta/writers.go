package meta

import (
	"slices"
	"sync"

	"github.com/distrifs/distrifs/proto"
)

// writers remembers to which sessions the chunks that are not committed yet were
// assigned. What a writer that died left in such a chunk was never part of the file
// and must not become so: the next writer gets another chunk. It is soft state; after
// a start of the master the writers of older chunks are unknown, and those are kept.
type writers struct {
	mu sync.Mutex
	of map[proto.ChunkID][]proto.SessionID
}

// assigned adds a writer of a chunk.
func (w *writers) assigned(chunk proto.ChunkID, session proto.SessionID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = map[proto.ChunkID][]proto.SessionID{}
	}
	if !slices.Contains(w.of[chunk], session) {
		w.of[chunk] = append(w.of[chunk], session)
	}
}

// forget is called when a chunk was committed or freed.
func (w *writers) forget(chunk proto.ChunkID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.of, chunk)
}

// abandoned tells whether all writers of a chunk are known and none of them lives.
func (w *writers) abandoned(chunk proto.ChunkID, lives func(proto.SessionID) bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.of[chunk]) > 0 && !slices.ContainsFunc(w.of[chunk], lives)
}
