package chunk

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// StoreOptions are what a Store is made of.
type StoreOptions struct {
	Dirs   []string // data folders, at least one; made if absent
	FS     disk.FS
	Logger *slog.Logger

	// Boot names the time since the machine was started. If it is the same as at the last
	// start, what had been written then is still there, synced or not. Empty: not known.
	Boot string

	OpenChunks int   // descriptors kept open; 0: 4096
	TableBytes int64 // memory for tables of open chunks; 0: 256 MiB
}

const (
	defaultOpenChunks = 4096
	defaultTableBytes = 256 << 20
)

// OpenStore takes the data folders, refusing them with one line when they are in
// use, damaged, of a newer format or do not belong together; nothing is changed
// then. After an unclean stop it checks the replicas that were being written.
func OpenStore(o StoreOptions) (*Store, error) {
	s := &Store{
		log:     o.Logger,
		cache:   cache{maxOpen: o.OpenChunks, maxBytes: o.TableBytes},
		dirty:   dirtySet{set: map[*replica]struct{}{}},
		changes: newChanges(),
		index:   map[proto.ChunkID]*replica{},
	}
	if s.cache.maxOpen == 0 {
		s.cache.maxOpen = defaultOpenChunks
	}
	if s.cache.maxBytes == 0 {
		s.cache.maxBytes = defaultTableBytes
	}
	err := s.take(o)
	if err == nil {
		err = s.begin(o.Boot)
	}
	if err == nil {
		err = s.scan()
	}
	if err != nil {
		s.unlockFolders()
		return nil, err
	}
	s.refresh()
	return s, nil
}

// take locks all folders and reads their superblocks, then settles who this
// chunkserver is, and only then changes anything.
func (s *Store) take(o StoreOptions) error {
	if len(o.Dirs) == 0 {
		return proto.E(proto.Invalid, "open data folders", "", "none given")
	}
	var fresh, known []*folder
	for i, dir := range o.Dirs {
		dir = filepath.Clean(dir)
		if slices.ContainsFunc(o.Dirs[:i], func(other string) bool { return filepath.Clean(other) == dir }) {
			return proto.E(proto.Invalid, "open data folder", dir, "given twice")
		}
		f, err := lockFolder(o.FS, dir, o.Logger)
		if err != nil {
			return err
		}
		s.folders = append(s.folders, f)
		found, err := f.load()
		if err != nil {
			return err
		}
		if found {
			known = append(known, f)
		} else {
			fresh = append(fresh, f)
		}
	}
	if err := s.recognize(known); err != nil {
		return err
	}
	for _, f := range fresh {
		if err := f.format(s.instance); err != nil {
			return err
		}
	}
	return nil
}

// recognize finds the chunkserver whose folders these are (L15).
func (s *Store) recognize(known []*folder) error {
	var first *folder // one that has joined a cluster, if any has
	for _, f := range known {
		if first == nil || f.sb.joined() && !first.sb.joined() {
			first = f
		}
	}
	if first == nil {
		s.instance = uuid.New()
		return nil
	}
	s.instance = first.sb.Instance
	for _, f := range known {
		switch {
		case f.sb.joined() && f.sb.Cluster != first.sb.Cluster:
			return proto.E(proto.WrongCluster, "open data folder", f.path, fmt.Sprintf("it belongs to cluster %v, and %s to %v: start them separately",
				proto.ClusterID(f.sb.Cluster), first.path, proto.ClusterID(first.sb.Cluster)))
		case f.sb.joined() && (f.sb.Node != first.sb.Node || f.sb.Instance != first.sb.Instance):
			return proto.E(proto.InUse, "open data folder", f.path, fmt.Sprintf("it belongs to chunkserver %d, and %s to chunkserver %d: start them separately",
				f.sb.Node, first.path, first.sb.Node))
		case f.sb.joined() && f.sb.ChunkSize != first.sb.ChunkSize:
			return proto.E(proto.Damaged, "open data folder", f.path, fmt.Sprintf("it has chunks of %d bytes, and %s of %d", f.sb.ChunkSize, first.path, first.sb.ChunkSize))
		}
	}
	return nil
}

// begin starts a new incarnation in every folder, durably before it is used.
func (s *Store) begin(boot string) error {
	var now superblock
	for _, f := range s.folders {
		if f.sb.joined() {
			now.Cluster, now.Node, now.ChunkSize = f.sb.Cluster, f.sb.Node, f.sb.ChunkSize
		}
		now.Incarnation = max(now.Incarnation, f.sb.Incarnation)
		now.Epoch = max(now.Epoch, f.sb.Epoch)
	}
	s.incarnation = nextIncarnation(now.Incarnation)
	for _, f := range s.folders {
		if f.sb.joined() && !f.sb.Clean {
			f.log.Warn("the last stop was not clean: chunks that were being written are checked")
		}
		if err := f.makeDirs(); err != nil {
			return err
		}
		if err := f.recognizeBoot(boot); err != nil {
			return err
		}
		if err := f.updateSuperblock(func(sb *superblock) {
			sb.Cluster, sb.Node, sb.ChunkSize, sb.Instance = now.Cluster, now.Node, now.ChunkSize, s.instance
			sb.Incarnation, sb.Epoch, sb.Clean = s.incarnation, now.Epoch, false
		}); err != nil {
			return err
		}
	}
	if now.Node != 0 {
		s.membership.Store(&membership{proto.ClusterID(now.Cluster), now.Node, layout(now.ChunkSize), now.Epoch})
	}
	return nil
}

// nextIncarnation is a start behind one, different from any other.
func nextIncarnation(last uint64) uint64 {
	return uint64(proto.Incarnation(last).Next(uuid.New().ID()))
}

// join takes what the master answered to a registration: the place in its cluster
// for a chunkserver without one, else it must be the same. Durable on return.
//
// Errors: WrongCluster, OldEpoch, Invalid, IO.
func (s *Store) join(cluster proto.ClusterID, node proto.NodeID, chunkSize uint64, epoch proto.Epoch) error {
	s.joining.Lock()
	defer s.joining.Unlock()
	m := s.membership.Load()
	switch {
	case cluster == proto.ClusterID{} || node == 0 || chunkSize > proto.MaxChunkSize || !validCapacity(int64(chunkSize)):
		return proto.E(proto.Invalid, "join", "cluster "+cluster.String(), fmt.Sprintf("the master answered node %d, chunk size %d", node, chunkSize))
	case m != nil && m.cluster != cluster:
		return proto.E(proto.WrongCluster, "register", "with the master of cluster "+cluster.String(), fmt.Sprintf("the data folders belong to cluster %v: use its master, or empty folders", m.cluster))
	case m != nil && (m.node != node || m.layout != layout(chunkSize)):
		return proto.E(proto.Invalid, "register", "with cluster "+cluster.String(), fmt.Sprintf("the master answered node %d, chunk size %d, the data folders say %d, %d", node, chunkSize, m.node, m.layout))
	case m != nil && epoch < m.epoch:
		return oldEpoch(epoch, m.epoch)
	}
	return s.become(&membership{cluster, node, layout(chunkSize), epoch})
}

// obey checks the epoch of an order, and remembers it, durably.
func (s *Store) obey(epoch proto.Epoch) error {
	if m := s.membership.Load(); m != nil && m.epoch == epoch {
		return nil
	}
	s.joining.Lock()
	defer s.joining.Unlock()
	m := s.membership.Load()
	if m == nil {
		return proto.E(proto.Unavailable, "obey", "a master", "this chunkserver has not joined a cluster yet")
	}
	if epoch < m.epoch {
		return oldEpoch(epoch, m.epoch)
	}
	return s.become(&membership{m.cluster, m.node, m.layout, epoch})
}

func oldEpoch(epoch, highest proto.Epoch) error {
	return proto.E(proto.OldEpoch, "obey", fmt.Sprintf("a master of epoch %d", epoch), fmt.Sprintf("one of epoch %d has succeeded it", highest))
}

// become needs joining.
func (s *Store) become(m *membership) error {
	var errs []error
	for _, f := range s.folders {
		if err := f.writable(); err != nil { // what stands there now may be an empty mountpoint
			errs = append(errs, err)
			continue
		}
		err := f.updateSuperblock(func(sb *superblock) {
			sb.Cluster, sb.Node, sb.ChunkSize, sb.Epoch = clusterText(m.cluster), m.node, int64(m.layout), m.epoch
		})
		if err != nil {
			errs = append(errs, f.failed("write superblock", f.path, err))
		}
	}
	if len(errs) == len(s.folders) { // a folder that failed is out of service; one good one remembers
		return errors.Join(errs...)
	}
	s.membership.Store(m)
	return nil
}

// refresh looks at the free space of every folder.
func (s *Store) refresh() {
	for _, f := range s.folders {
		f.refresh()
	}
}

// Close makes everything durable, ends all periods, marks the stop as clean if
// that succeeded, and lets go of the folders. No method may be under way or follow.
func (s *Store) Close() error {
	err := s.settle(0, stopSyncers)
	clean := !slices.ContainsFunc(s.dirty.list(), (*replica).unsynced)
	s.mu.Lock()
	for _, r := range s.index {
		r.mu.Lock()
		r.close()
		r.mu.Unlock()
	}
	s.mu.Unlock()
	for _, f := range s.folders {
		if f.writable() == nil {
			err = errors.Join(err, f.updateSuperblock(func(sb *superblock) { sb.Clean = clean }))
		}
	}
	s.unlockFolders()
	return err
}

func (s *Store) unlockFolders() {
	for _, f := range s.folders {
		if err := f.lock.Close(); err != nil {
			f.log.Warn("unlock data folder", "error", err)
		}
	}
}
