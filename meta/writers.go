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
	of map[proto.ChunkID]assignment
}

// assignment is to whom a chunk was assigned.
type assignment struct {
	to    []proto.SessionID
	since uint64 // chunkservers had arrived then (registry.Arrivals); 0: before the master's start
}

// assigned adds a writer of a chunk. arrivals counts if it is the first that is known.
func (w *writers) assigned(chunk proto.ChunkID, session proto.SessionID, arrivals uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = map[proto.ChunkID]assignment{}
	}
	a, known := w.of[chunk]
	if !known {
		a.since = arrivals
	}
	if !slices.Contains(a.to, session) {
		a.to = append(a.to, session)
	}
	w.of[chunk] = a
}

// forget is called when a chunk was committed or freed. It tells how many chunkservers had
// arrived when the chunk was assigned.
func (w *writers) forget(chunk proto.ChunkID) (since uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	since = w.of[chunk].since
	delete(w.of, chunk)
	return since
}

// abandoned tells whether all writers of a chunk are known and none of them lives.
func (w *writers) abandoned(chunk proto.ChunkID, lives func(proto.SessionID) bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	to := w.of[chunk].to
	return len(to) > 0 && !slices.ContainsFunc(to, lives)
}
