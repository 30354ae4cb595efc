package sim

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/distrifs/distrifs/internal/disk"
)

// server is what runs on a machine: a master or a chunkserver.
type server interface {
	Serve(net.Listener) error
	Close() error
}

// machine is a host with a disk, and a process that is started again when it ends, as
// supervisors do.
type machine struct {
	name    string
	network *network
	open    func(m *machine, p *process) (server, error)
	note    func(format string, args ...any)
	ghosts  sync.WaitGroup // what of killed processes has not ended

	mu      sync.Mutex // protects below
	disk    *disk.Mem
	boot    int
	process *process // nil: none runs
	server  server   // nil: it could not open yet
	downs   int      // reasons not to run
	refused []*conn  // of the last process, to be told of when there is power again
}

const restartAfter = time.Second

// start runs a process, again and again until stop, kill or lose; after these, when it
// has been called for each.
func (m *machine) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.downs--
	m.startLocked()
}

// startLocked needs mu.

func (m *machine) startLocked() {
	if m.downs > 0 || m.process != nil {
		return
	}
	p := &process{host: m.name, network: m.network}
	m.process = p
	m.ghosts.Go(func() { m.run(p) })
}

// run is the life of one process.
func (m *machine) run(p *process) {
	s, err := m.open(m, p)
	if err == nil {
		m.mu.Lock()
		m.server = s
		m.mu.Unlock()
		if p.dead.Load() {
			s.Close()
			return
		}
		err = s.Serve(m.network.listen(p))
	}
	if p.dead.Load() || err == nil {
		return
	}
	m.note("%s ends: %v", m.name, err)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != p {
		return
	}
	m.end()
	m.mu.Unlock()
	time.Sleep(restartAfter)
	m.mu.Lock()
	m.startLocked()
}

// end kills the process, of which the kernel tells its peers. It needs mu.
func (m *machine) end() {
	conns := m.endProcess()
	for _, c := range conns {
		c.refuse()
	}
}

// endProcess needs mu.
func (m *machine) endProcess() (conns []*conn) {
	if m.process != nil {
		conns = m.process.kill()
	}
	if s := m.server; s != nil {
		m.ghosts.Go(func() { s.Close() })
	}
	m.process, m.server = nil, nil
	return conns
}

// kill is kill -9: what was written is in the kernel's page cache.
func (m *machine) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.downs++
	m.end()
}

// lose is a power loss: silence, and of the disk is left what was synced and a part
// of the rest that seed decides.
func (m *machine) lose(seed uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.downs++
	m.refused = append(m.refused, m.endProcess()...)
	m.disk = m.disk.CrashClone(seed)
	m.boot++
	m.network.change(func() { m.network.dark[m.name]++ })
}

// power ends a power loss: peers learn that the machine does not know them, one after the
// other, as they send something.
func (m *machine) power(random *rand.Rand) {
	m.network.change(func() { m.network.dark[m.name]-- })
	m.mu.Lock()
	refused := m.refused
	m.refused = nil
	m.mu.Unlock()
	for _, c := range refused {
		time.AfterFunc(time.Duration(random.Int64N(int64(2*time.Second))), c.refuse)
	}
	m.start()
}

// stop ends the process in order.
func (m *machine) stop() error {
	m.mu.Lock()
	m.downs++
	p, s := m.process, m.server
	m.mu.Unlock()
	var err error
	if s != nil {
		err = s.Close()
	}
	if p != nil {
		p.kill()
	}
	m.ghosts.Wait()
	return err
}

// bootName names the boot of the machine.
func (m *machine) bootName() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprintf("%s boot %d", m.name, m.boot)
}

// view is the disk for a process.
func (m *machine) view(p *process) *processFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &processFS{p, m.disk}
}
