package chaos

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// fault is one thing that goes wrong. All of it is drawn from the seed.
type fault struct {
	kind   *kind
	pause  time.Duration // of peace before it
	hold   time.Duration // how long it lasts
	server int           // the chunkserver that it happens to
	peer   int           // the other chunkserver that it is parted from
	way    way           // of what is cut
	files  int           // that are damaged, at most
	seed   uint64        // of where exactly
}

// way is the direction of a cut, seen from whom the fault happens to.
type way int

const (
	bothWays way = iota
	outwards
	inwards
)

// plan deals faults: every kind once, in random order, then again. It is a function of the
// seed and the kinds alone. How fast it is gone through is not: what was broken is whole
// before the next fault.
type plan struct {
	random *rand.Rand
	kinds  []*kind
	deck   []*kind
}

func newPlan(seed uint64, kinds []*kind) *plan {
	return &plan{random: rand.New(rand.NewPCG(seed, 1)), kinds: kinds}
}

func (p *plan) next() fault {
	if len(p.deck) == 0 {
		p.deck = append(p.deck, p.kinds...)
		p.random.Shuffle(len(p.deck), func(i, j int) { p.deck[i], p.deck[j] = p.deck[j], p.deck[i] })
	}
	k := p.deck[0]
	p.deck = p.deck[1:]
	server := p.random.IntN(servers)
	return fault{
		kind: k, server: server, peer: (server + 1 + p.random.IntN(servers-1)) % servers,
		pause: p.between(0, 2*time.Second), hold: p.between(k.shortest, k.longest),
		way: way(p.random.IntN(3)), files: 1 + p.random.IntN(8), seed: p.random.Uint64(),
	}
}

// between draws a time, short ones more often than long ones.
func (p *plan) between(shortest, longest time.Duration) time.Duration {
	share := p.random.Float64()
	return shortest + time.Duration(share*share*float64(longest-shortest)).Round(100*time.Millisecond)
}

// A seed is a plan.
func TestPlanIsAFunctionOfTheSeed(t *testing.T) {
	list := func(seed uint64) (text string) {
		p := newPlan(seed, kinds)
		seen := map[*kind]int{}
		for range 3 * len(kinds) {
			f := p.next()
			seen[f.kind]++
			if f.peer == f.server || f.peer < 0 || f.peer >= servers || f.hold < f.kind.shortest || f.hold > f.kind.longest {
				t.Errorf("a fault that cannot be: %+v", f)
			}
			text += fmt.Sprintf("%+v\n", f)
		}
		for _, k := range kinds {
			if seen[k] != 3 {
				t.Errorf("%s is dealt %d times in three rounds", k.name, seen[k])
			}
		}
		return text
	}
	first := list(1)
	if list(1) != first {
		t.Error("the same seed gives different plans")
	}
	if list(2) == first {
		t.Error("different seeds give the same plan")
	}
}
