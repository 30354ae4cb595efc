package chunk

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
)

// Config of a chunkserver.
type Config struct {
	Dirs      []string // data folders, at least one; made if absent
	Master    string   // host:port
	Advertise string   // host:port of the data plane as others reach it; empty: the listener's address
	Version   string   // of the software

	Boot   string                                                      // see StoreOptions; empty: ThisBoot, if FS is disk.OS
	FS     disk.FS                                                     // nil: disk.OS
	Dial   func(ctx context.Context, address string) (net.Conn, error) // nil: TCP
	Logger *slog.Logger                                                // nil: none

	OpenChunks int   // chunk files kept open; 0: 4096
	TableBytes int64 // memory for checksums of open chunks; 0: 256 MiB

	ScrubPeriod time.Duration // in which every replica is verified once; 0: 14 days; negative: never
}

const (
	settleAfter  = 5 * time.Second  // a replica not written to for so long is synced
	settleEvery  = time.Second      // how often that is looked for
	refreshEvery = time.Second      // how often the disks are asked for free space
	drainTimeout = 10 * time.Second // for requests under way at Close
)

// Server is a chunkserver.
type Server struct {
	config Config
	store  *Store
	lease  *lease
	client *pipeline.Client
	plane  *pipeline.Server

	stop  context.CancelFunc
	ctx   context.Context // ends at Close
	group errgroup.Group  // everything Serve runs

	mu     sync.Mutex // protects closed, and that nothing is added to group behind it
	closed bool
}

// Open takes the data folders; Serve begins the service. It refuses folders that
// are in use, damaged, of a newer format or that do not belong together.
func Open(c Config) (*Server, error) {
	if c.FS == nil {
		c.FS = disk.OS
	}
	if c.Boot == "" && c.FS == disk.OS {
		c.Boot = ThisBoot()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	store, err := OpenStore(StoreOptions{Dirs: c.Dirs, FS: c.FS, Logger: c.Logger, Boot: c.Boot, OpenChunks: c.OpenChunks, TableBytes: c.TableBytes})
	if err != nil {
		return nil, err
	}
	s := &Server{config: c, store: store, lease: newLease()}
	s.client = pipeline.NewClient(pipeline.ClientOptions{Dial: c.Dial, Logger: c.Logger})
	s.plane = pipeline.NewServer(&leased{store, s.lease}, s.client, pipeline.ServerOptions{Logger: c.Logger, Broken: store.noteBroken})
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

// Serve serves the data plane on the listener and obeys the master until Close,
// when it returns nil. A master that is away is waited for; the data plane serves as
// long as the lease lasts (lease.go). It fails when the first master that answers is another cluster's, or
// when the listener does.
func (s *Server) Serve(listener net.Listener) error {
	address, err := s.advertised(listener)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	a := newAgent(s.store, agentOptions{
		lease:  s.lease,
		master: s.config.Master, address: address, version: s.config.Version, dial: s.config.Dial,
		peers: s.client, forget: s.plane.Forget, log: s.config.Logger,
	})
	if !s.start(append(append(s.scrubs(), s.probes()...),
		func() { failed <- s.plane.Serve(listener) },
		func() { failed <- a.run(s.ctx) },
		s.lender(address, listener),
		func() { s.every(settleEvery, func() { s.settle() }) },
		func() {
			s.every(refreshEvery, func() { s.store.refresh(); s.store.lookForFolders() })
		},
		func() { s.every(refreshEvery, s.store.tellConditions) }, // by itself: to look at a disk that hangs takes long
	)...) {
		return errors.Join(proto.E(proto.Unavailable, "serve", "", "the chunkserver is closed"), listener.Close())
	}
	s.config.Logger.Info("chunkserver serves", "address", address, "master", s.config.Master, "chunks", s.store.count())
	select {
	case err := <-failed:
		return err
	case <-s.ctx.Done():
		return nil
	}
}

// scrubs are the scrubs of the folders.
func (s *Server) scrubs() (run []func()) {
	period := s.config.ScrubPeriod
	if period < 0 {
		return nil
	}
	if period == 0 {
		period = defaultScrubPeriod
	}
	for _, f := range s.store.folders {
		run = append(run, func() { newScrubber(s.store, f, period).run(s.ctx) })
	}
	return run
}

// probes are the probes of the folders.
func (s *Server) probes() (run []func()) {
	for _, f := range s.store.folders {
		run = append(run, func() { s.store.probe(s.ctx, f) })
	}
	return run
}

// advertised is the address that others reach the listener by.
func (s *Server) advertised(listener net.Listener) (string, error) {
	if s.config.Advertise != "" {
		return s.config.Advertise, nil
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return "", proto.E(proto.Invalid, "serve on", tcp.String(), "others cannot reach this address: name one with --advertise")
	}
	return listener.Addr().String(), nil
}

// start runs functions until they return; false after Close.
func (s *Server) start(run ...func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	for _, f := range run {
		s.group.Go(func() error { f(); return nil })
	}
	return true
}

func (s *Server) every(interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			do()
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *Server) settle() {
	if err := s.store.settle(settleAfter, idleSyncers); err != nil {
		s.config.Logger.Warn("sync chunks that were written", "error", err)
	}
}

// Close finishes the requests under way, makes everything durable and lets go of
// the folders. Only the first call does something.
func (s *Server) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if !first {
		return nil
	}
	s.stop()
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	drainErr := s.plane.Shutdown(ctx)
	s.client.Close()
	groupErr := s.group.Wait()
	return errors.Join(drainErr, groupErr, s.store.Close())
}
