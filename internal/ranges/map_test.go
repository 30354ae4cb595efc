package ranges

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// show writes a map as "0-3:a 7-7:b".
func show(m Map[string]) string {
	var parts []string
	for _, e := range m.Over(Range{0, math.MaxUint64}) {
		parts = append(parts, fmt.Sprintf("%d-%d:%s", e.Start, e.End, e.Value))
	}
	return strings.Join(parts, " ")
}

func TestSplitAndMerge(t *testing.T) {
	m := Map[string]{}.With(Range{10, 19}, "a")
	for _, c := range []struct {
		got  Map[string]
		want string
	}{
		{m, "10-19:a"},
		{m.With(Range{20, 29}, "a"), "10-29:a"},
		{m.With(Range{0, 9}, "a"), "0-19:a"},
		{m.With(Range{21, 29}, "a"), "10-19:a 21-29:a"},
		{m.With(Range{12, 14}, "a"), "10-19:a"},
		{m.With(Range{12, 14}, "b"), "10-11:a 12-14:b 15-19:a"},
		{m.With(Range{12, 14}, "b").With(Range{12, 14}, "a"), "10-19:a"},
		{m.With(Range{0, 30}, "b"), "0-30:b"},
		{m.With(Range{15, 30}, "b"), "10-14:a 15-30:b"},
		{m.Without(Range{10, 19}), ""},
		{m.Without(Range{12, 14}), "10-11:a 15-19:a"},
		{m.Without(Range{0, 10}), "11-19:a"},
		{m.Without(Range{19, math.MaxInt64}), "10-18:a"},
		{m.Without(Range{20, 30}), "10-19:a"},
		{Map[string]{}.With(All, "a").Without(Range{5, math.MaxInt64}), "0-4:a"},
	} {
		if got := show(c.got); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	if got := show(m); got != "10-19:a" {
		t.Errorf("the map itself was changed: %q", got)
	}
}

func TestCovers(t *testing.T) {
	m := Map[string]{}.With(Range{10, 19}, "a").With(Range{20, 29}, "b")
	for _, c := range []struct {
		r    Range
		ok   string
		want bool
	}{
		{Range{10, 29}, "ab", true},
		{Range{10, 29}, "a", false},
		{Range{12, 18}, "a", true},
		{Range{9, 12}, "ab", false},
		{Range{25, 30}, "ab", false},
		{Range{40, 50}, "ab", false},
	} {
		if got := m.Covers(c.r, func(v string) bool { return strings.Contains(c.ok, v) }); got != c.want {
			t.Errorf("Covers(%v, %q) = %v", c.r, c.ok, got)
		}
	}
}

// A map agrees with an array of bytes after any sequence of changes, and has as few
// entries as the array has runs.
func TestAgainstAnArray(t *testing.T) {
	const size = 40
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		var m Map[byte]
		var naive [size]byte
		for range 200 {
			a, b := random.Uint64N(size), random.Uint64N(size)
			r := Range{min(a, b), max(a, b)}
			v := byte(random.IntN(3))
			for i := r.Start; i <= r.End; i++ {
				naive[i] = v
			}
			if m = m.With(r, v); v == 0 {
				m = m.Without(r)
			}
			var got [size]byte
			runs := 0
			for _, e := range m.Over(All) {
				for i := e.Start; i <= e.End; i++ {
					got[i] = e.Value
				}
			}
			for i, v := range naive {
				if v != 0 && (i == 0 || naive[i-1] != v) {
					runs++
				}
			}
			if got != naive || m.Len() != runs {
				t.Fatalf("seed %d: %v in %d entries, want %v in %d", seed, got, m.Len(), naive, runs)
			}
		}
	}
}
