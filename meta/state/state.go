package state

import (
	"math/bits"

	"github.com/distrifs/distrifs/proto"
)

// State is the master's metadata. See the package for who may call what when.
type State struct {
	tables
	scratch []byte // for encoding answers
}

// New gives a state that is empty until Init is applied.
func New() *State { return &State{tables: newTables()} }

// Apply carries a command out. index is its log index; one that was applied already
// changes nothing and answers Repeated (G8). Index 0 is a command that is in no log.
func (s *State) Apply(index uint64, c Command) Result {
	if index != 0 {
		if index <= s.applied {
			return Result{Repeated: true}
		}
		s.applied = index
	}
	var origin Origin
	if fromClient, ok := c.(interface{ origin() Origin }); ok {
		origin = fromClient.origin()
	}
	switch {
	case origin.Sequence == 0:
		return s.execute(c)
	case origin.Slot == StreamSlot:
		return s.executeInOrder(origin, c)
	}
	if r, done := s.recall(origin); done {
		return r
	}
	r := s.execute(c)
	s.scratch = encodeResult(s.scratch[:0], &r)
	s.setSlot(s.session(origin.Session), origin.Slot, origin.Sequence, s.scratch)
	return r
}

func (h *Header) origin() Origin { return h.Origin }

// execute carries out what no slot answers.
func (s *State) execute(c Command) Result {
	if init, ok := c.(*Init); ok {
		return s.init(init)
	}
	if s.config.ChunkSize == 0 {
		return Result{Kind: proto.Invalid}
	}
	switch c := c.(type) {
	case *BeginEpoch:
		return s.beginEpoch(c)
	case *EndSession:
		return s.endSession(c)
	case *Unlink:
		return s.unlink(c)
	case *SetAttr:
		return s.setAttr(c)
	case *RemoveXattr:
		return s.removeXattr(c)
	case *Commit:
		return s.commit(c)
	case *SetChain:
		return s.applySetChain(c)
	case *Reap:
		return s.reap(c)
	case *DropAssigned:
		return s.dropAssigned(c)
	case *Fallocate:
		return s.fallocate(c)
	case *TakeClone:
		return s.takeClone(c)
	case *Operate:
		return s.operate(c)
	case *MakeReserved: // there was room when it was reserved
		return s.makeReserved(c)
	case *Rename:
		if c.Slot == StreamSlot { // it has been answered
			return s.rename(c)
		}
	}
	return s.executeGrowing(c)
}

// executeGrowing carries out the commands that make something, if there is room.
func (s *State) executeGrowing(c Command) Result {
	if !s.room() {
		return Result{Kind: proto.NoSpace}
	}
	switch c := c.(type) {
	case *OpenSession:
		return s.openSession(c)
	case *RegisterNode:
		return s.registerNode(c)
	case *Make:
		return s.make(c)
	case *MakeUnnamed:
		return s.makeUnnamed(c)
	case *Link:
		return s.link(c)
	case *Rename:
		return s.rename(c)
	case *SetXattr:
		return s.setXattr(c)
	case *AssignChunks:
		return s.assignChunks(c)
	case *Access:
		return s.access(c)
	case *Reserve:
		return s.reserve(c)
	case *CopyChunks:
		return s.copyChunks(c)
	}
	return Result{Kind: proto.NotSupported}
}

func (s *State) init(c *Init) Result {
	if s.config.ChunkSize != 0 {
		return Result{Kind: proto.Exists}
	}
	config := Config{
		Cluster: c.Cluster, ChunkSize: c.ChunkSize,
		Replicas: c.Replicas, MinReplicas: c.MinReplicas, Seed: c.Seed,
	}
	if !config.valid() {
		return Result{Kind: proto.Invalid}
	}
	s.config = config
	root := s.newInode(typeDir|0o755, 0, 0, c.Now)
	s.inodes.mut(root).content = s.newDirectory(root)
	return Result{Inode: s.inodeID(root), Attr: s.attr(root)}
}

func (c *Config) valid() bool {
	return c.Cluster != proto.ClusterID{} &&
		c.ChunkSize >= proto.MinChunkSize && c.ChunkSize <= proto.MaxChunkSize && bits.OnesCount64(c.ChunkSize) == 1 &&
		c.MinReplicas >= 1 && c.MinReplicas <= c.Replicas && c.Replicas <= MaxChain
}

func (s *State) beginEpoch(c *BeginEpoch) Result {
	if c.Epoch <= s.config.Epoch {
		return Result{Kind: proto.OldEpoch}
	}
	s.config.Epoch = c.Epoch
	return Result{}
}

// Applied is the highest log index applied.
func (s *State) Applied() uint64 { return s.applied }

// Config is what Init and BeginEpoch said.
func (s *State) Config() Config { return s.config }

// Stats counts what there is. It takes no time to speak of.
func (s *State) Stats() Stats {
	return Stats{
		Files: s.counts.files, Directories: s.counts.dirs, Others: s.counts.others, Orphans: s.counts.orphans,
		Bytes: s.counts.bytes, Chunks: uint64(s.chunks.live) - s.counts.references, Assigned: s.counts.assigned,
		References: s.counts.references,
		Sessions:   uint64(s.sessions.live), Nodes: uint64(s.nodes.live),
		Memory: Memory{
			Inodes:      s.inodes.memory() + s.colds.memory() + s.owners.memory(),
			Directories: s.dirs.memory(),
			Chunks:      s.chunks.memory(),
			FileMaps:    s.maps.memory(),
			Sessions:    s.sessions.memory() + s.slots.memory(),
			Nodes:       s.nodes.memory(),
			Arena:       s.arena.memory(),
		},
	}
}
