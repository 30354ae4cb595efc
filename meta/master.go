package meta

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/meta/registry"
	"github.com/distrifs/distrifs/meta/state"
	"github.com/distrifs/distrifs/meta/wal"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Master is a running master. It implements pb.MasterServer and pb.DataNodesServer.
type Master struct {
	pb.UnimplementedMasterServer
	pb.UnimplementedDataNodesServer

	cfg     Config
	log     *slog.Logger
	machine *machine
	group   wal.Replicator
	cluster state.Config // never changes after Open
	started time.Time

	sessions *sessions
	locks    *locking
	leases   *leasing
	nodes    *registry.Registry
	work     chunkWork
	blames   blames
	deletes  *deletes
	repairs  *repairs
	renewals *renewals
	hot      hot
	writers  writers
	sharings sharings
	safe     safeMode
	census   census
	foreign  atomic.Uint64 // replicas seen of chunks that were never issued
	kick     chan struct{} // has one when the repair loop has reason to look at once
	address  atomic.Pointer[string]

	stopping context.Context // ends when Close begins
	stop     context.CancelFunc
	loops    sync.WaitGroup
	closing  sync.Once
	closed   error

	mu     sync.Mutex // protects below
	server *grpc.Server
}

// Open recovers the master's state from its folder and begins a new epoch. A new
// folder becomes a new cluster.
//
// Errors: InUse, Damaged, NewerFormat as the log has them; Invalid when the
// configuration makes no sense or is not the stored cluster's.
func Open(cfg Config) (*Master, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	machine := &machine{st: state.New()}
	group, err := wal.Open(wal.Options{
		FS: cfg.FS, Dir: cfg.Dir, Logger: cfg.Logger,
		CheckpointEvery: cfg.CheckpointEvery, CheckpointBytes: cfg.CheckpointBytes,
	}, machine)
	if err != nil {
		return nil, err
	}
	m := &Master{
		cfg: cfg, log: cfg.Logger, machine: machine, group: group, started: cfg.Now(),
		kick: make(chan struct{}, 1), deletes: newDeletes(), renewals: newRenewals(), repairs: newRepairs(cfg.RepairStreams),
	}
	m.stopping, m.stop = context.WithCancel(context.Background())
	if err := m.begin(); err != nil {
		m.stop()
		return nil, errors.Join(err, group.Close())
	}
	m.run(m.expireSessions)
	m.run(m.runOut)
	m.run(m.reapOrphans)
	m.run(m.watchNodes)
	m.run(m.repair)
	m.run(m.renewChunks)
	m.run(m.removeExtras)
	m.run(m.deleteReplicas)
	return m, nil
}

// begin makes the recovered state ready to serve.
func (m *Master) begin() error {
	if m.machine.config().ChunkSize == 0 {
		if err := m.found(); err != nil {
			return err
		}
	} else if err := m.agree(m.machine.config()); err != nil {
		return err
	}
	next := m.machine.config().Epoch + 1
	if _, err := m.propose(&state.BeginEpoch{Epoch: next}); err != nil {
		return fmt.Errorf("begin epoch %d: %w", next, err)
	}
	m.cluster = m.machine.config()
	m.machine.read(func(st *state.State) {
		m.sessions = newSessions(m.cfg.Now, m.cfg.SessionTimeout, st.Sessions())
		m.nodes = registry.New(registry.Options{
			Now: m.cfg.Now, DeadAfter: m.cfg.DeadAfter, Recent: m.cfg.Quiet, MinRoom: min(m.cluster.ChunkSize, minRoom),
		}, st.Nodes())
	})
	m.locks = newLocking(m.sessions)
	m.leases = newLeasing(m.sessions, m.cfg.LeaseTime)
	m.leases.abandoned = m.abandoned
	m.safe.begin(m.started)
	m.machine.mu.Lock()
	m.machine.applied = m.applied
	m.machine.mu.Unlock()
	m.log.Info("master is ready", "cluster", m.cluster.Cluster, "epoch", m.cluster.Epoch, "dir", m.cfg.Dir,
		"chunk_size", m.cluster.ChunkSize, "replicas", m.cluster.Replicas, "min_replicas", m.cluster.MinReplicas)
	return nil
}

// minRoom is what a disk needs to be given a chunk, in bytes, if chunks are larger:
// most files are smaller than a chunk.
const minRoom = 8 << 20

// found makes a new cluster.
func (m *Master) found() error {
	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return fmt.Errorf("found cluster: %w", err)
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return fmt.Errorf("found cluster: %w", err)
	}
	init := &state.Init{
		Cluster: proto.ClusterID(id), Seed: binary.LittleEndian.Uint64(seed[:]), Now: m.now(),
		ChunkSize: m.cfg.ChunkSize, Replicas: m.cfg.Replicas, MinReplicas: m.cfg.MinReplicas,
	}
	if init.ChunkSize == 0 {
		init.ChunkSize = proto.DefaultChunkSize
	}
	if init.Replicas == 0 {
		init.Replicas = max(3, init.MinReplicas)
	}
	if init.MinReplicas == 0 {
		init.MinReplicas = min(2, init.Replicas)
	}
	if _, err = m.propose(init); err != nil || m.cfg.RootUID == 0 && m.cfg.RootGID == 0 {
		return err
	}
	_, err = m.propose(&state.SetAttr{
		Header: state.Header{Now: m.now()}, Inode: proto.RootInode,
		Set: state.SetUID | state.SetGID, UID: m.cfg.RootUID, GID: m.cfg.RootGID,
	})
	return err
}

// agree compares the configuration with the stored one, which wins.
func (m *Master) agree(stored state.Config) error {
	refuse := func(flag string, given, has any) error {
		return proto.E(proto.Invalid, "start master", m.cfg.Dir,
			fmt.Sprintf("this cluster was made with --%s %v, not %v; leave the flag out, or use another folder for a new cluster", flag, has, given))
	}
	switch c := m.cfg; {
	case c.ChunkSize != 0 && c.ChunkSize != stored.ChunkSize:
		return refuse("chunk-size", c.ChunkSize, stored.ChunkSize)
	case c.Replicas != 0 && c.Replicas != stored.Replicas:
		return refuse("replicas", c.Replicas, stored.Replicas)
	case c.MinReplicas != 0 && c.MinReplicas != stored.MinReplicas:
		return refuse("min-replicas", c.MinReplicas, stored.MinReplicas)
	}
	return nil
}

// run starts a loop that ends when stopping does.
func (m *Master) run(loop func(ctx context.Context)) {
	m.loops.Go(func() { loop(m.stopping) })
}

// every calls fn at intervals until ctx ends, and at once when woken (may be nil).
func every(ctx context.Context, interval time.Duration, wake <-chan struct{}, fn func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-wake:
		}
		fn()
	}
}

// now is the time that commands carry.
func (m *Master) now() state.Time {
	t := m.cfg.Now()
	return state.Time{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
}

// Serve answers on l until Close (nil) or until the log fails for good, after which
// nothing can be promised any more: the process has to start again (L9).
func (m *Master) Serve(l net.Listener) error {
	server := newServer(m)
	m.mu.Lock()
	if m.stopping.Err() != nil || m.server != nil {
		m.mu.Unlock()
		return errors.Join(proto.E(proto.Busy, "serve", l.Addr().String(), "the master is closed or serves already"), l.Close())
	}
	m.server = server
	m.mu.Unlock()
	address := l.Addr().String()
	m.address.Store(&address)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		if m.stopping.Err() != nil {
			return nil
		}
		return err
	case <-m.group.Failed():
		server.Stop()
		return proto.E(proto.IO, "write log", m.cfg.Dir, fmt.Sprintf("%v; nothing more is accepted, look after the disk and start again", m.group.Status().Failure))
	}
}

// Close ends all streams, takes a checkpoint and unlocks the folder. It may be called
// more than once.
func (m *Master) Close() error {
	m.closing.Do(func() {
		m.stop()
		m.mu.Lock()
		server := m.server
		m.mu.Unlock()
		if server != nil {
			server.GracefulStop() // streams end by themselves when stopping does
		}
		m.loops.Wait()
		m.closed = m.group.Close()
	})
	return m.closed
}
