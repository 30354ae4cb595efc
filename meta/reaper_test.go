package meta

import (
	"testing"
	"time"

	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/proto"
)

// What a round has no room for any more keeps the grace that it has had.
func TestMoreChunksThanARoundDrops(t *testing.T) {
	const grace = time.Minute
	chunks := make([]state.Chunk, dropRound+10)
	for i := range chunks {
		chunks[i].ID = proto.ChunkID(i + 1)
	}
	begin := time.Unix(1e9, 0)
	due, unused := graceOver(chunks, nil, begin, grace)
	if len(due) != 0 || len(unused) != len(chunks) {
		t.Fatalf("at first sight %d are due, and %d are not", len(due), len(unused))
	}
	due, unused = graceOver(chunks, unused, begin.Add(grace), grace)
	if len(due) != dropRound || len(unused) != 10 {
		t.Fatalf("after the grace %d are due, and %d are not", len(due), len(unused))
	}
	due, unused = graceOver(chunks[dropRound:], unused, begin.Add(grace+1), grace)
	if len(due) != 10 || len(unused) != 0 {
		t.Errorf("the round after, %d are due, and %d are not", len(due), len(unused))
	}
}
