package disk

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// nameOp is one change of names: a name is given to a node, or taken away, and
// for a rename another is taken away in the same instant.
type nameOp struct {
	dir  *node
	name string
	node *node // nil: the name goes away

	fromDir  *node // of a rename, else nil
	fromName string
}

// slot is a place for one entry.
type slot struct {
	dir  *node
	name string
}

func (op *nameOp) slots() []slot {
	if op.fromDir == nil {
		return []slot{{op.dir, op.name}}
	}
	return []slot{{op.dir, op.name}, {op.fromDir, op.fromName}}
}

// change carries the operation out on one of the two views of directories.
func (op *nameOp) change(view func(*node) map[string]*node) {
	if op.fromDir != nil {
		delete(view(op.fromDir), op.fromName)
	}
	if op.node == nil {
		delete(view(op.dir), op.name)
	} else {
		view(op.dir)[op.name] = op.node
	}
}

// apply needs mu. It changes what is seen now; SyncDir makes it durable.
func (m *Mem) apply(op *nameOp) {
	op.change(func(dir *node) map[string]*node { return dir.entries })
	for _, s := range op.slots() {
		s.dir.modified = time.Now()
	}
	m.pending = append(m.pending, op)
}

// syncDir needs mu.
func (m *Mem) syncDir(dir *node) {
	kept := m.closed(func(op *nameOp) bool { return op.dir == dir || op.fromDir == dir })
	m.pending = slices.DeleteFunc(m.pending, func(op *nameOp) bool {
		if kept[op] {
			op.change(func(dir *node) map[string]*node { return dir.durable })
		}
		return kept[op]
	})
}

// closed needs mu. It is the chosen operations and all that they build upon:
// a filesystem may write names in any order, yet never the later of two changes
// of one name without the earlier.
func (m *Mem) closed(chosen func(*nameOp) bool) map[*nameOp]bool {
	kept, needed := map[*nameOp]bool{}, map[slot]bool{}
	for _, op := range slices.Backward(m.pending) {
		if !chosen(op) && !slices.ContainsFunc(op.slots(), func(s slot) bool { return needed[s] }) {
			continue
		}
		kept[op] = true
		for _, s := range op.slots() {
			needed[s] = true
		}
	}
	return kept
}

// CrashClone is the filesystem as a power cut at this moment could leave it: all
// that is durable, and of the rest a part that depends on the seed alone. It has
// no faults, no hook and no locks; m goes on unharmed.
func (m *Mem) CrashClone(seed uint64) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &crash{
		random: rand.New(rand.NewPCG(seed, 0)),
		names:  map[*node]map[string]*node{},
		clones: map[*node]*node{},
	}
	// One crash loses everything unsynced, one nothing, most something.
	c.keep = []float64{0, 1, 0.5, c.random.Float64()}[c.random.IntN(4)]
	kept := m.closed(func(*nameOp) bool { return c.coin() })
	for _, op := range m.pending {
		if kept[op] {
			op.change(c.view)
		}
	}
	clone := NewMem()
	clone.capacity = m.capacity
	clone.root = c.clone(m.root)
	return clone
}

type crash struct {
	random *rand.Rand
	keep   float64                    // the chance of something unsynced to survive
	names  map[*node]map[string]*node // what is in each directory afterwards
	clones map[*node]*node
}

func (c *crash) coin() bool { return c.random.Float64() < c.keep }

func (c *crash) view(dir *node) map[string]*node {
	names := c.names[dir]
	if names == nil {
		names = maps.Clone(dir.durable)
		c.names[dir] = names
	}
	return names
}

func (c *crash) clone(n *node) *node {
	if same := c.clones[n]; same != nil {
		return same
	}
	clone := &node{mode: n.mode, modified: n.modified}
	c.clones[n] = clone
	if !n.mode.IsDir() {
		clone.live = c.content(n)
		clone.synced = clone.live.clone()
		clone.unsynced = unsynced{}
		return clone
	}
	clone.entries = map[string]*node{}
	names := c.view(n)
	for _, name := range slices.Sorted(maps.Keys(names)) { // the order decides what chance does to whom
		clone.entries[name] = c.clone(names[name])
	}
	clone.durable = maps.Clone(clone.entries)
	return clone
}

func (c *crash) content(n *node) sparse {
	content := n.synced.clone()
	content.resize(max(n.synced.size, n.live.size))
	for _, index := range slices.Sorted(maps.Keys(n.unsynced)) {
		n.unsynced[index].changed.each(index, func(sector int64) {
			if c.coin() {
				content.copySector(&n.live, sector)
			}
		})
	}
	content.resize(c.size(n.synced.size, n.live.size))
	return content
}

// size is one of the two, or one in between: a file may have grown by a part of
// what was written to it.
func (c *crash) size(synced, live int64) int64 {
	if !c.coin() {
		return synced
	}
	if live > synced && c.random.Float64() > c.keep {
		return synced + c.random.Int64N(live-synced)
	}
	return live
}
