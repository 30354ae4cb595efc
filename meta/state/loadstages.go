package state

import (
	"fmt"
	"sync/atomic"

	"github.com/distrifs/distrifs/proto"
)

// batch is the records of a block, and the block, which they may refer to.
type batch[R any] struct {
	records []R
	block   []byte
	end     int64 // of the block, in the stream
}

// each goes through a section of few records, or of which the next one needs the one before.
func (l *loader) each(section uint8, load func()) {
	l.last = 0
	for l.more(section) {
		if len(l.rest) == 0 {
			l.nextBlock()
			continue
		}
		load()
		l.check(!l.bad, "a record is cut short or out of range")
	}
}

// more tells whether there may be something left of a section.
func (l *loader) more(section uint8) bool { return l.err == nil && l.section == section }

// inStages goes through a section of many records on two processors: a goroutine reads,
// verifies and decodes a block while put has the state take in the records of the one before.
// decode fills in every field of a record, which may have been used before, and check, if not
// nil, looks at those of a block. Both have the loader to themselves, but of the state they look
// at nothing that put changes. put says what is wrong with a record, or nothing.
func inStages[R any](l *loader, section uint8, decode func(*R), check func([]R), put func(*R) string) {
	const batches = 4
	l.last, l.counted = 0, 0
	empty, full := make(chan *batch[R], batches), make(chan *batch[R], batches)
	for range batches {
		empty <- new(batch[R])
	}
	var refused atomic.Bool
	go func() {
		defer close(full)
		for l.more(section) && !refused.Load() {
			if len(l.rest) == 0 {
				l.nextBlock()
				continue
			}
			b := <-empty
			decodeBlock(l, b, decode)
			if l.err == nil && check != nil {
				check(b.records)
			}
			if l.err == nil {
				full <- b
			}
		}
	}()
	var wrong error
	for b := range full {
		for i := 0; i < len(b.records) && wrong == nil; i++ {
			if why := put(&b.records[i]); why != "" {
				wrong = wrongBlock(b.end, why)
				refused.Store(true)
			}
		}
		empty <- b
	}
	if wrong != nil { // it comes before whatever was found ahead of it
		l.err = wrong
	}
}

// decodeBlock decodes what is left of the present block, and leaves the block to the batch.
func decodeBlock[R any](l *loader, b *batch[R], decode func(*R)) {
	b.records, b.end = b.records[:0], l.offset
	for l.err == nil && len(l.rest) > 0 {
		n := len(b.records)
		if n == cap(b.records) {
			var none R
			b.records = append(b.records, none)
		}
		b.records = b.records[:n+1]
		decode(&b.records[n])
		l.check(!l.bad, "a record is cut short or out of range")
	}
	b.block, l.buffer = l.buffer, b.block
}

// wrongBlock is the error of a stream that is not what was written.
func wrongBlock(end int64, why string) error {
	return proto.E(proto.Damaged, "load", "checkpoint", fmt.Sprintf("in the block that ends at byte %d: %s", end, why))
}
