package state

import (
	"slices"

	"github.com/distrifs/distrifs/proto"
)

// share is what the oracle knows of a shared chunk, one for all its places.
type share struct {
	id     proto.ChunkID // once it was seen
	places map[place]*clone
}

type place struct {
	file  *oracle
	index uint64
}

// clone is what was assigned for a place; nil: nothing.
type clone struct{ chain []proto.NodeID }

// drop frees what stands at an index.
func (o *oracle) drop(index uint64) {
	delete(o.chunks, index)
	if s := o.shares[index]; s != nil {
		delete(s.places, place{o, index})
		delete(o.shares, index)
	}
}

func (o *oracle) refer(index uint64, s *share) {
	if o.shares == nil {
		o.shares = map[uint64]*share{}
	}
	o.shares[index] = s
	s.places[place{o, index}] = nil
}

func (o *oracle) assignClone(index uint64, chain []proto.NodeID) {
	places := o.shares[index].places
	if at := (place{o, index}); places[at] == nil {
		places[at] = &clone{chain}
	}
}

func (m *model) copyChunks() (Command, proto.Kind) {
	from, to := m.pick(), m.pick()
	for range 10 { // files mostly, with something in them
		if len(from.chunks) > 0 && to.chunks != nil {
			break
		}
		from, to = m.pick(), m.pick()
	}
	c := &CopyChunks{
		Header: m.header(), From: from.id, To: to.id, FromIndex: m.r.Uint64N(4), ToIndex: m.r.Uint64N(6),
		Count: 1 + m.r.Uint64N(4), Size: m.r.Uint64N(3) * testChunk,
	}
	for _, o := range []*oracle{from, to} {
		switch {
		case o.dead:
			return c, proto.Stale
		case o.isDir():
			return c, proto.IsDir
		case o.attr.Mode&typeMask != typeFile:
			return c, proto.Invalid
		}
	}
	if from == to && c.FromIndex < c.ToIndex+c.Count && c.ToIndex < c.FromIndex+c.Count {
		return c, proto.Invalid
	}
	if from.attr.Size < (c.FromIndex+c.Count)*testChunk {
		left := int64(from.attr.Size) - int64(c.FromIndex*testChunk)
		if max(c.Size, to.attr.Size) > c.ToIndex*testChunk+uint64(max(left, 0)) {
			return c, proto.Busy
		}
	}
	now, _ := m.f.State.Attr(from.id)
	if c.FromChange = now.Change; m.r.IntN(20) == 0 {
		c.FromChange--
		return c, proto.Busy
	}
	for i := range c.Count {
		copied := from.chunks[c.FromIndex+i]
		if old, there := to.chunks[c.ToIndex+i]; there && (old.Committed || copied.Committed) {
			to.drop(c.ToIndex + i)
		}
		if !copied.Committed {
			continue
		}
		s := from.shares[c.FromIndex+i]
		if s == nil {
			s = &share{places: map[place]*clone{}}
			from.refer(c.FromIndex+i, s)
		}
		to.refer(c.ToIndex+i, s)
		to.chunks[c.ToIndex+i] = Chunk{Index: c.ToIndex + i, Version: copied.Version, Committed: true, Chain: copied.Chain}
	}
	to.attr.Size = max(to.attr.Size, c.Size)
	m.written(to, c.Header)
	return c, proto.OK
}

// takeClone takes one of a file's clones, or something that is none.
func (m *model) takeClone() (Command, proto.Kind) {
	o := m.pick()
	for range 20 {
		if len(o.shares) > 0 {
			break
		}
		o = m.pick()
	}
	c, kind := &TakeClone{Clone: 4711}, proto.NotFound
	if o.dead {
		return c, kind
	}
	if m.r.IntN(4) == 0 {
		m.f.FileChunks(o.id, 0, 10, func(chunk Chunk) bool { c.Clone = chunk.ID; return m.r.IntN(2) == 0 })
		return c, kind
	}
	m.f.EachClone(o.id, 0, 10, func(shared, cloned Chunk) {
		at := place{o, cloned.Index}
		known := o.shares[cloned.Index].places[at]
		if known == nil || !slices.Equal(known.chain, cloned.Chain) || cloned.Committed || shared.Index != cloned.Index || cloned.Inode != o.id {
			m.t.Fatalf("clone %+v of %+v, the oracle has %+v", cloned, shared, known)
		}
		if kind != proto.OK {
			c.Clone, kind = cloned.ID, proto.OK
			o.drop(cloned.Index)
			o.chunks[cloned.Index] = Chunk{Index: cloned.Index, Version: 1, Committed: true, Chain: cloned.Chain}
		}
	})
	return c, kind
}

// compareShare looks at one place of a file.
func (m *model) compareShare(o *oracle, c Chunk) {
	m.t.Helper()
	s := o.shares[c.Index]
	if s == nil {
		if c.Shared() {
			m.t.Fatalf("chunk %+v is not shared", c)
		}
		return
	}
	if s.id == 0 {
		s.id = c.ID
	}
	if s.id != c.ID || int(c.References) != len(s.places) {
		m.t.Fatalf("chunk %+v, the oracle has %v in %d places", c, s.id, len(s.places))
	}
	if byID, ok := m.f.Chunk(c.ID); !ok || byID.Inode != 0 || byID.References != c.References || !slices.Equal(byID.Chain, c.Chain) {
		m.t.Fatalf("shared chunk %+v, by its id %+v", c, byID)
	}
}

// compareTotals finds what is kept and stands nowhere.
func (m *model) compareTotals() {
	m.t.Helper()
	shares := map[*share]bool{}
	var places, chunks, assigned uint64
	for _, o := range m.all {
		for index, c := range o.chunks {
			if s := o.shares[index]; s == nil {
				chunks++
			} else {
				places++
				if shares[s] = true; s.places[place{o, index}] != nil {
					chunks++
					assigned++
				}
			}
			if !c.Committed {
				assigned++
			}
		}
	}
	chunks += uint64(len(shares))
	if got := m.f.Stats(); got.Chunks != chunks || got.References != places || got.Assigned != assigned {
		m.t.Fatalf("%d chunks, %d references, %d assigned; the oracle has %d, %d, %d", got.Chunks, got.References, got.Assigned, chunks, places, assigned)
	}
	n := uint64(0)
	m.f.EachChunk(0, func(Chunk) bool { n++; return true })
	if n != chunks {
		m.t.Fatalf("%d chunks are listed, of %d", n, chunks)
	}
}
