package ranges

import (
	"math"
	"sort"
)

// Range is the bytes Start to End, both included; Start <= End.
type Range struct{ Start, End uint64 }

// All is every byte a file may have: offsets up to 2^63 - 1.
var All = Range{0, math.MaxInt64}

// Overlaps tells whether two ranges share a byte.
func (r Range) Overlaps(other Range) bool { return r.Start <= other.End && other.Start <= r.End }

// Entry is a range and its value.
type Entry[V comparable] struct {
	Range
	Value V
}

// Map holds values of ranges; the zero value is empty.
type Map[V comparable] struct{ entries []Entry[V] }

// Len is the number of entries.
func (m Map[V]) Len() int { return len(m.entries) }

// Over lists the entries that share a byte with r, in order. The caller must not
// change them.
func (m Map[V]) Over(r Range) []Entry[V] {
	first := sort.Search(len(m.entries), func(i int) bool { return m.entries[i].End >= r.Start })
	behind := sort.Search(len(m.entries), func(i int) bool { return m.entries[i].Start > r.End })
	return m.entries[first:behind]
}

// Covers tells whether every byte of r has a value that ok accepts.
func (m Map[V]) Covers(r Range, ok func(V) bool) bool {
	next := r.Start
	for _, e := range m.Over(r) {
		if e.Start > next || !ok(e.Value) {
			return false
		}
		if e.End >= r.End {
			return true
		}
		next = e.End + 1
	}
	return false
}

// With gives the map in which the bytes of r have the value v.
func (m Map[V]) With(r Range, v V) Map[V] { return m.replace(r, Entry[V]{r, v}) }

// Without gives the map in which the bytes of r have no value.
func (m Map[V]) Without(r Range) Map[V] { return m.replace(r) }

// replace puts entries in the place of whatever is in r.
func (m Map[V]) replace(r Range, in ...Entry[V]) Map[V] {
	over := m.Over(r)
	next := make([]Entry[V], 0, len(m.entries)+2)
	add := func(entries ...Entry[V]) {
		for _, e := range entries {
			if last := len(next) - 1; last >= 0 && next[last].Value == e.Value && next[last].End+1 == e.Start {
				next[last].End = e.End
			} else {
				next = append(next, e)
			}
		}
	}
	first := sort.Search(len(m.entries), func(i int) bool { return m.entries[i].End >= r.Start })
	add(m.entries[:first]...)
	if len(over) > 0 && over[0].Start < r.Start {
		add(Entry[V]{Range{over[0].Start, r.Start - 1}, over[0].Value})
	}
	add(in...)
	if len(over) > 0 && over[len(over)-1].End > r.End {
		last := over[len(over)-1]
		add(Entry[V]{Range{r.End + 1, last.End}, last.Value})
	}
	add(m.entries[first+len(over):]...)
	return Map[V]{next}
}
