package sim

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/distrifs/distrifs/chunk"
	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/meta"
)

const (
	chunkSize    = 1 << 20
	replicas     = 3
	minReplicas  = 2
	chunkServers = 5
	leaseTime    = 10 * time.Second
)

// cluster is all machines, and what happened to them.
type cluster struct {
	seed    uint64
	random  *rand.Rand // of faults
	network *network
	history *history
	log     *slog.Logger

	namesBehind bool // clients answer changes of names before they are durable: no blackouts then

	master *machine
	chunks []*machine
	mounts []*mount
	ghosts sync.WaitGroup // clients that lost their power
}

func newCluster(seed uint64, log *slog.Logger) *cluster {
	c := &cluster{seed: seed, random: rand.New(rand.NewPCG(seed, 1)), network: newNetwork(seed), history: newHistory(), log: log}
	c.master = c.machine("master", c.openMaster)
	c.master.start()
	for i := range chunkServers {
		m := c.machine(fmt.Sprintf("chunk%d", i+1), c.openChunkServer)
		c.chunks = append(c.chunks, m)
		m.start()
	}
	return c
}

func (c *cluster) machine(name string, open func(*machine, *process) (server, error)) *machine {
	return &machine{name: name, network: c.network, open: open, note: c.history.note, disk: disk.NewMem(), downs: 1}
}

func (c *cluster) openMaster(m *machine, p *process) (server, error) {
	return meta.Open(meta.Config{
		Dir: "/master", FS: m.view(p), Dial: p.dial, Logger: c.log.With("on", m.name), LeaseTime: leaseTime,
		ChunkSize: chunkSize, Replicas: replicas, MinReplicas: minReplicas,
	})
}

func (c *cluster) openChunkServer(m *machine, p *process) (server, error) {
	return chunk.Open(chunk.Config{
		Dirs: []string{"/disk"}, Master: address("master"), FS: m.view(p), Dial: p.dial, Boot: m.bootName(),
		Logger: c.log.With("on", m.name),
	})
}

// stop ends everything in order.
func (c *cluster) stop() (errs []error) {
	for _, m := range c.mounts {
		if m.lost {
			continue
		}
		if err := m.close(); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", m.process.host, err))
		}
	}
	for _, m := range append(c.chunks, c.master) {
		if err := m.stop(); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", m.name, err))
		}
	}
	c.ghosts.Wait()
	return errs
}

// mount is a client on a host of its own.
type mount struct {
	process *process
	client  *client.Client
	files   map[string]*client.File
	lost    bool // its power
}

// mount adds a client.
func (c *cluster) mount() (*mount, error) {
	p := &process{host: fmt.Sprintf("client%d", len(c.mounts)+1), network: c.network}
	connection, err := client.Dial(context.Background(), address("master"), client.Options{
		Name: p.host, Cred: client.Cred{Groups: []uint32{}}, Logger: c.log.With("on", p.host), PermissionsChecked: true, NamesBehind: c.namesBehind, Dial: p.dial,
		DialTimeout: time.Minute, DialOptions: []grpc.DialOption{grpc.WithContextDialer(p.dial)},
	})
	if err != nil {
		return nil, err
	}
	m := &mount{process: p, client: connection, files: map[string]*client.File{}}
	c.mounts = append(c.mounts, m)
	return m, nil
}

func (m *mount) close() error {
	err := m.client.Close()
	m.process.kill()
	return err
}
