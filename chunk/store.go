package chunk

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/proto"
)

// Store keeps replicas in data folders. It implements pipeline.Store. Every method
// may be called from any goroutine; different replicas do not wait for each other.
type Store struct {
	log     *slog.Logger
	folders []*folder
	load    atomic.Int64 // requests under way

	instance    uuid.UUID
	incarnation uint64
	membership  atomic.Pointer[membership] // nil: joined no cluster yet
	joining     sync.Mutex                 // serializes join and obey

	cache   cache
	dirty   dirtySet
	changes changes

	mu    sync.RWMutex // protects index
	index map[proto.ChunkID]*replica
}

// membership is the place of the chunkserver in its cluster.
type membership struct {
	cluster proto.ClusterID
	node    proto.NodeID
	layout  layout
	epoch   proto.Epoch
}

func (s *Store) layout() layout { return s.membership.Load().layout }

// identify gives the id of a chunk of this cluster.
func (s *Store) identify(op string, chunk uuid.UUID) (proto.ChunkID, error) {
	m := s.membership.Load()
	if m == nil {
		return 0, proto.E(proto.Unavailable, op, chunk.String(), "this chunkserver has not joined a cluster yet")
	}
	id, ok := m.cluster.ChunkOf(chunk)
	if !ok {
		return 0, proto.E(proto.WrongCluster, op, chunk.String(), "this chunkserver belongs to cluster "+m.cluster.String())
	}
	return id, nil
}

func (s *Store) find(id proto.ChunkID) *replica {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index[id]
}

// newReplica is one without a file.
func (s *Store) newReplica(id proto.ChunkID, v proto.Version) *replica {
	return &replica{store: s, id: id, name: s.membership.Load().cluster.ChunkUUID(id), version: v}
}

// lockForWrite finds the replica and locks it for writing; with create it makes
// one without a file, in state absent, which the caller turns into a whole one or
// drops before it unlocks.
func (s *Store) lockForWrite(op string, id proto.ChunkID, v proto.Version, create bool) (*replica, error) {
	if create && v == 0 {
		return nil, proto.E(proto.Invalid, op, fmt.Sprintf("chunk %v", id), "version 0")
	}
	for {
		r := s.find(id)
		if r == nil && !create {
			return nil, proto.E(proto.NoReplica, op, fmt.Sprintf("chunk %v", id), "")
		}
		if r == nil {
			r = s.newReplica(id, v)
			r.mu.Lock()
			if s.insert(r) {
				return r, nil
			}
			continue
		}
		r.mu.Lock()
		if r.state != gone {
			return r, nil
		}
		r.mu.Unlock() // it was dropped between find and lock, and is out of the index
	}
}

// insert puts r into the index unless there is one already.
func (s *Store) insert(r *replica) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index[r.id] != nil {
		return false
	}
	s.index[r.id] = r
	return true
}

// drop takes r out of the index for good. Needs r.mu for writing.
func (s *Store) drop(r *replica) {
	r.state = gone
	s.dirty.remove(r)
	if r.pins.Load() == 0 { // else who holds the pin closes it
		r.close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index[r.id] == r {
		delete(s.index, r.id)
	}
}

// replace gives r's place in the index to successor. Needs mu of both for writing.
func (s *Store) replace(r, successor *replica) {
	s.mu.Lock()
	s.index[r.id] = successor
	s.mu.Unlock()
	s.drop(r)
}

// choose picks the folder for a new replica: the one with the most room, and a slow one
// only if there is no other.
func (s *Store) choose() (*folder, error) {
	for _, acceptable := range []condition{healthy, slow} {
		var best *folder
		var most uint64
		for _, f := range s.folders {
			if room := f.room(); f.is(acceptable) && room > most {
				best, most = f, room
			}
		}
		if best != nil {
			return best, nil
		}
	}
	return nil, proto.E(proto.NoSpace, "place", "a new replica", "every data folder is full or out of service")
}

// create gives an absent replica its file: made in tmp/, filled by write, and
// named when it is whole. A folder that has no room is followed by the next.
// When it fails, r is dropped. Needs r.mu for writing.
func (s *Store) create(r *replica, write func() error) (err error) {
	for range s.folders {
		if r.folder, err = s.choose(); err != nil {
			break
		}
		if err = s.createIn(r, write); err == nil {
			s.dirty.add(r)
			s.changes.note(r.id, false)
			return nil
		}
		if kind := proto.KindOf(err); kind != proto.NoSpace && kind != proto.IO {
			break
		}
	}
	s.drop(r)
	return err
}

func (s *Store) createIn(r *replica, write func() error) error {
	if err := s.draft(r); err != nil {
		return err
	}
	err := write()
	if err == nil && r.length == 0 { // nothing made write set the footer
		err = r.writeFooter(r.flags)
	}
	if err == nil {
		err = r.adopt()
	}
	if err != nil {
		s.discard(r)
		return err
	}
	r.fresh = true
	s.cache.add(r)
	return nil
}

// draft opens an empty file in tmp/ for r. Needs r.mu for writing.
func (s *Store) draft(r *replica) error {
	r.draft = r.folder.tmpPath(r.name)
	file, err := r.folder.fs.OpenFile(r.draft, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return r.folder.failed("create", r.subject(), err)
	}
	r.file, r.table, r.length, r.flags, r.stale = file, nil, 0, flagWriting|r.ownFlags(), false
	r.lost.Store(nil) // of an attempt in another folder
	r.corrupt.Store(false)
	if err := file.Truncate(s.layout().fileSize()); err != nil {
		s.discard(r)
		return r.folder.failed("create", r.subject(), err)
	}
	r.folder.place(int64(s.layout()))
	return nil
}

// adopt renames a draft to its name. Needs r.mu for writing.
func (r *replica) adopt() error {
	if err := r.folder.fs.Rename(r.draft, r.folder.chunkPath(r.id, r.name)); err != nil {
		return r.folder.failed("name", r.subject(), err)
	}
	r.draft, r.state = "", whole
	return nil
}

// discard removes a draft's file. Needs r.mu for writing.
func (s *Store) discard(r *replica) {
	r.close()
	if err := r.folder.fs.Remove(r.draft); err != nil {
		s.log.Warn("remove unfinished replica: the next start will", "file", r.draft, "error", err)
	}
}
