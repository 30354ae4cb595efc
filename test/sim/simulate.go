package sim

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

const mountCount = 3

// simulate is one run on a new cluster: workers, one at each client, make so many calls, while
// faults happen; then one of them looks at everything, or
// all that was promised to be durable is looked at after a blackout.
func simulate(c *cluster, calls int, faults []fault) error {
	operator, err := c.mount()
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	var load *workload
	var workers []*worker
	for i := range mountCount {
		m, err := c.mount()
		if err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		if load == nil {
			if load, err = newWorkload(c, m); err != nil {
				return fmt.Errorf("make files: %w", err)
			}
		}
		if err := load.open(m); err != nil {
			return fmt.Errorf("open files: %w", err)
		}
		workers = append(workers, load.worker(i, m))
	}
	if err := c.healed(operator, false); err != nil { // all are there
		return err
	}
	faults = c.apart(faults)
	blackout := slices.Contains(faults, blackouts) && !c.namesBehind && c.random.IntN(2) == 0
	faults = slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return f == blackouts })
	var ended atomic.Bool
	trouble := make(chan error, 1)
	go func() { trouble <- c.trouble(operator, faults, &ended) }()
	together(workers, calls)
	ended.Store(true)
	if err := <-trouble; err != nil {
		return err
	}
	if blackout {
		return c.blackout(load, len(workers))
	}
	workers[c.random.IntN(mountCount)].lookAtAll()
	return nil
}

// trouble has faults happen, round after round, until the workers have ended.
func (c *cluster) trouble(operator *mount, faults []fault, ended *atomic.Bool) error {
	for len(faults) > 0 && !ended.Load() {
		time.Sleep(time.Duration(c.random.Int64N(int64(time.Second))))
		c.newRound(faults).run()
		if err := c.healed(operator, false); err != nil {
			return err
		}
	}
	return nil
}

// apart keeps power losses and flipped bits apart: of a replica that was being written when its
// machine lost its power nothing tells a flipped bit from a write that was torn, and if all
// replicas lost their power, the first one's bytes stand.
func (c *cluster) apart(faults []fault) []fault {
	if !slices.Contains(faults, flips) {
		return faults
	}
	noFlips := c.random.IntN(2) == 0
	return slices.DeleteFunc(slices.Clone(faults), func(f fault) bool {
		if noFlips {
			return f == flips
		}
		return f == powers || f == blackouts
	})
}
