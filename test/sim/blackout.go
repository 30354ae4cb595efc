package sim

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// blackout is a power loss of all clients, and of all other machines or some: more than the cluster
// can survive without losing what was not synced. It may fail again while they heal. What was synced, and
// every name, has to be there when the power is back: it is looked at through a new client.
func (c *cluster) blackout(load *workload, id int) error {
	all := c.random.IntN(2) == 0
	var victims []*machine
	for _, m := range append([]*machine{c.master}, c.chunks...) {
		if all || c.random.IntN(2) == 0 {
			victims = append(victims, m)
		}
	}
	c.history.note("blackout of all clients and %d servers", len(victims))
	for _, m := range c.mounts {
		m.lose(c)
	}
	c.losePower(victims, 2*time.Second)
	for c.random.IntN(2) == 0 {
		time.Sleep(time.Duration(c.random.Int64N(int64(3 * time.Second))))
		c.history.note("the power fails again")
		c.losePower(victims, 100*time.Millisecond)
	}
	operator, err := c.mount()
	if err != nil {
		return fmt.Errorf("mount after the blackout: %w", err)
	}
	if err := c.healed(operator, true); err != nil {
		return fmt.Errorf("after the blackout: %w", err)
	}
	if err := load.open(operator); err != nil {
		return fmt.Errorf("open files after the blackout: %w", err)
	}
	load.worker(id, operator).lookAfterwards()
	return nil
}

// losePower is a power loss of machines, which have it back one after the other within so long each.
func (c *cluster) losePower(victims []*machine, within time.Duration) {
	for _, m := range victims {
		m.lose(c.random.Uint64())
	}
	for _, m := range victims {
		time.Sleep(time.Duration(c.random.Int64N(int64(within))))
		c.history.note("%s has power", m.name)
		m.power(rand.New(rand.NewPCG(c.random.Uint64(), 0)))
	}
}

// lose is a power loss of the client's machine.
func (m *mount) lose(c *cluster) {
	m.process.kill()
	c.ghosts.Go(func() { m.client.Close() })
	m.lost = true
}

// after is the object that a file is when it is looked at after a blackout.
func after(name string) string { return name + " after the blackout" }

// lookAfterwards reads everything.
func (w *worker) lookAfterwards() {
	for _, name := range dataFiles {
		c := fileCall{what: "read", n: 3 * chunkSize}
		noted := w.cluster.history.begin(w.id, after(name), c)
		w.cluster.history.end(noted, w.mount.readChunks(name), nil)
	}
	w.lookAtNames()
}

// unreadable is the number of bytes that cannot be read: of a chunk that no replica is left of.
const unreadable = garbage - 1

// readChunks reads a file, chunk by chunk.
func (m *mount) readChunks(name string) (all content) {
	for index := range int64(3) {
		output, err := m.file(name, fileCall{what: "read", off: index * chunkSize, n: chunkSize})
		if err != nil {
			all = all.add(chunkSize, unreadable)
			continue
		}
		part := output.(content)
		for _, r := range part {
			all = all.add(r.n, r.number)
		}
		all = all.add(chunkSize-part.size(), 0)
	}
	return all
}
