package chaos

import (
	"flag"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/distrifs/distrifs/test/cluster"
)

var (
	length = flag.Duration("chaos.time", 2*time.Minute, "how long faults happen")
	seed   = flag.Uint64("chaos.seed", 1, "of the plan of faults; 0: any")
	only   = flag.String("chaos.only", "", "only kinds of faults whose name this matches (a regular expression)")
)

func TestMain(m *testing.M) { cluster.Main(m) }

// Faults of all kinds happen to a cluster with programs working on it, and none of the
// programs sees an error or a wrong byte (G1 to G7).
func TestChaos(t *testing.T) {
	if *seed == 0 {
		*seed = 1 + rand.Uint64N(1e6)
	}
	s := newStage(t, *seed)
	chosen := regexp.MustCompile(*only)
	p := newPlan(*seed, slices.DeleteFunc(slices.Clone(kinds), func(k *kind) bool { return !s.has(k.needs) || !chosen.MatchString(k.name) }))
	for end := time.Now().Add(*length); time.Now().Before(end); {
		s.suffer(p.next())
	}
	s.finish()
}
