package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// fault is a kind of what may happen.
type fault string

const (
	breaks fault = "break" // connections break, with what is on its way
	slows  fault = "slow"  // messages are late
	parts  fault = "part"  // hosts cannot reach each other, in one direction or both
	kills  fault = "kill"  // processes die
	powers fault = "power" // machines lose their power
	flips  fault = "flip"  // bits of replicas flip
	sick   fault = "sick"  // disks fail calls, until the disk is cured and its chunkserver restarted

	// blackouts are power losses of more machines than the cluster survives without losing
	// what was not synced: one at most, at the end of a run.
	blackouts fault = "blackout"
)

// takesAway tells whether a fault takes away what was written.
func (f fault) takesAway() bool { return f == powers || f == flips || f == sick }

var allFaults = []fault{breaks, slows, parts, kills, powers, flips, sick, blackouts}

// parseFaults reads a list of faults; "all" is all of them, "none" none.
func parseFaults(list string) (faults []fault, err error) {
	switch list {
	case "all":
		return allFaults, nil
	case "none":
		return nil, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		if !slices.Contains(allFaults, fault(name)) {
			return nil, fmt.Errorf("no fault %q: there are %v, all and none", name, allFaults)
		}
		faults = append(faults, fault(name))
	}
	return faults, nil
}

// round is some time in which faults happen, to some chunkservers, and to the master. A later round
// begins when the cluster has healed from it: what it promises to survive are r-1
// chunkservers at a time, not all of them one after the other before it had time.
type round struct {
	*cluster
	random  *rand.Rand
	faults  []fault
	victims []*machine // chunkservers
	master  bool       // is one, too
	ends    sync.WaitGroup
}

// clientSilence is how long a client does not reach the master at most: one that is silent for the
// lease time loses its session, and then applications see errors, as they are promised.
const clientSilence = 2 * time.Second

// newRound picks what will happen. What takes away bytes that were written and not
// synced happens to fewer chunkservers than there are replicas. Of a flipped bit nobody knows
// before somebody reads it, so where there are any nothing is ever taken away from others.
func (c *cluster) newRound(of []fault) *round {
	r := &round{cluster: c, random: rand.New(rand.NewPCG(c.random.Uint64(), 0)), master: c.random.IntN(3) == 0}
	for _, f := range of {
		if c.random.IntN(2) == 0 {
			r.faults = append(r.faults, f)
		}
	}
	if len(r.faults) == 0 {
		r.faults = []fault{of[c.random.IntN(len(of))]}
	}
	victims := slices.Clone(c.chunks)
	most := len(victims)
	if slices.ContainsFunc(r.faults, fault.takesAway) {
		most = replicas - 1
		if slices.Contains(of, flips) {
			victims = victims[:most]
		}
	}
	c.random.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	r.victims = victims[:1+c.random.IntN(most)]
	return r
}

// run has faults happen, and undoes them.
func (r *round) run() {
	r.history.note("a round of %v begins, to %s", r.faults, r.names())
	for range 1 + r.random.IntN(4) {
		r.happen(r.faults[r.random.IntN(len(r.faults))])
		time.Sleep(time.Duration(r.random.Int64N(int64(time.Second))))
	}
	r.ends.Wait()
	r.network.healAll()
	r.history.note("the round ends")
}

func (r *round) names() string {
	var names []string
	for _, m := range r.machines() {
		names = append(names, m.name)
	}
	return strings.Join(names, ", ")
}

// machines that something may happen to.
func (r *round) machines() []*machine {
	if r.master {
		return append(slices.Clone(r.victims), r.cluster.master)
	}
	return r.victims
}

// happen has a fault happen, and end after a while.
func (r *round) happen(f fault) {
	m := r.machines()[r.random.IntN(len(r.machines()))]
	lasts := time.Duration(r.random.Int64N(int64(time.Second)))
	if r.random.IntN(3) == 0 {
		lasts = time.Duration(r.random.Int64N(int64(15 * time.Second)))
	}
	switch f {
	case kills:
		r.history.note("%s is killed, for %v", m.name, lasts)
		m.kill()
		r.after(lasts, func() { r.history.note("%s starts", m.name); m.start() })
	case powers:
		r.history.note("%s loses its power, for %v", m.name, lasts)
		m.lose(r.random.Uint64())
		random := rand.New(rand.NewPCG(r.random.Uint64(), 0))
		r.after(lasts, func() { r.history.note("%s has power", m.name); m.power(random) })
	case flips:
		m = r.victims[r.random.IntN(len(r.victims))]
		r.history.note("a bit flips on %s, in %q", m.name, m.flipBit(r.random))
	case sick:
		m = r.victims[r.random.IntN(len(r.victims))]
		f, cure := m.sicken(r.random)
		r.history.note("on %s each %s fails: %v, for %v", m.name, f.Op, f.Err, lasts)
		r.after(lasts, func() {
			cure()
			r.history.note("the disk of %s is cured", m.name)
			m.kill()
			m.start()
		})
	default:
		l := r.link(m)
		if m == r.cluster.master {
			lasts = min(lasts, clientSilence)
		}
		r.onLink(f, l, lasts)
	}
}

// link is one that has a victim at one end. At the other is anybody whom nothing is
// promised without.
func (r *round) link(m *machine) link {
	peers := []string{"master"}
	for _, other := range r.chunks {
		peers = append(peers, other.name)
	}
	for _, other := range r.mounts {
		peers = append(peers, other.process.host)
	}
	peer := peers[r.random.IntN(len(peers))]
	if peer == m.name || m == r.cluster.master && slices.ContainsFunc(r.chunks, func(c *machine) bool { return c.name == peer }) {
		peer = r.mounts[0].process.host
	}
	if r.random.IntN(2) == 0 {
		return link{m.name, peer}
	}
	return link{peer, m.name}
}

// onLink has a fault of the network happen.
func (r *round) onLink(f fault, l link, lasts time.Duration) {
	back := link{l.to, l.from}
	switch f {
	case breaks:
		r.history.note("connections of %s and %s break", l.from, l.to)
		r.network.breakSome(r.random, l)
		r.network.breakSome(r.random, back)
	case slows:
		by := time.Duration(r.random.Int64N(int64(time.Second)))
		r.history.note("%s to %s is slow by %v, for %v", l.from, l.to, by, lasts)
		r.network.slowDown(l, by)
		r.after(lasts, func() { r.network.heal(l) })
	case parts:
		both := r.random.IntN(2) == 0
		r.history.note("%s cannot reach %s, for %v (the other way too: %v)", l.from, l.to, lasts, both)
		r.network.part(l)
		if both {
			r.network.part(back)
		}
		r.after(lasts, func() {
			r.history.note("%s can reach %s", l.from, l.to)
			r.network.heal(l)
			r.network.heal(back)
		})
	}
}

func (r *round) after(d time.Duration, end func()) {
	r.ends.Go(func() {
		time.Sleep(d)
		end()
	})
}

const healTime = 3 * time.Minute // from the last fault until nothing lacks

// healed waits until all chunkservers have told what they have now, and all chunks have all
// their replicas, and tells if they do not get them: of what its chunkservers have lost a
// master cannot know before. With losses there may be chunks that no replica is left of.
func (c *cluster) healed(operator *mount, losses bool) error {
	var was string
	for began := time.Now(); time.Since(began) < healTime; time.Sleep(time.Second) {
		status, err := operator.client.Status(context.Background())
		if err != nil {
			return fmt.Errorf("ask for status: %w", err)
		}
		s := status.Chunks
		alive := 0
		for _, n := range status.Nodes {
			if n.Alive && !n.Reporting && time.Duration(n.LastHeardMs)*time.Millisecond < time.Since(began) {
				alive++
			}
		}
		corrupt := s.CorruptReplicas
		if s.Assigned > 0 {
			corrupt = 0 // chunks that were not committed are not repaired: their writers replace them
		}
		if losses && s.Missing > 0 {
			s.Missing, corrupt = 0, 0
		}
		if alive == chunkServers && !status.SafeMode && s.UnderReplicated+s.Missing+corrupt == 0 {
			return nil
		}
		was = fmt.Sprintf("%d of %d chunkservers, safe mode %v, %v", alive, chunkServers, status.SafeMode, s)
	}
	return fmt.Errorf("the cluster does not heal: %s", was)
}
