package sim

import (
	"context"
	"io"
	"io/fs"
	"net"
	"sync"
	"sync/atomic"

	"github.com/distrifs/distrifs/internal/disk"
)

// process is what is killed: its connections, and its way to the disk.
type process struct {
	host    string
	network *network
	dead    atomic.Bool

	mu    sync.Mutex // protects below
	conns []*conn
	locks []io.Closer
}

func (p *process) dial(ctx context.Context, address string) (net.Conn, error) {
	return p.network.dial(ctx, p, address)
}

func (p *process) own(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, c)
}

// kill ends it: from now on nothing that its goroutines do is seen by anybody. Given
// back are the connections that it had; the other ends do not know yet.
func (p *process) kill() []*conn {
	p.dead.Store(true)
	p.mu.Lock()
	conns, locks := p.conns, p.locks
	p.conns, p.locks = nil, nil
	p.mu.Unlock()
	for _, c := range conns {
		c.cut()
	}
	for _, l := range locks {
		l.Close()
	}
	return conns
}

// processFS is a disk as a process sees it, until it is killed.
type processFS struct {
	process *process
	disk    *disk.Mem
}

func (p *process) alive() error {
	if p.dead.Load() {
		return fs.ErrClosed
	}
	return nil
}

func (f *processFS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	if err := f.process.alive(); err != nil {
		return nil, err
	}
	file, err := f.disk.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &processFile{file, f.process}, nil
}

// run makes a call of a living process.
func (p *process) run(call func() error) error {
	if err := p.alive(); err != nil {
		return err
	}
	return call()
}

func (f *processFS) Mkdir(name string, perm fs.FileMode) error {
	return f.process.run(func() error { return f.disk.Mkdir(name, perm) })
}

func (f *processFS) MkdirAll(name string, perm fs.FileMode) error {
	return f.process.run(func() error { return f.disk.MkdirAll(name, perm) })
}

func (f *processFS) Remove(name string) error {
	return f.process.run(func() error { return f.disk.Remove(name) })
}

func (f *processFS) Rename(from, to string) error {
	return f.process.run(func() error { return f.disk.Rename(from, to) })
}

func (f *processFS) SyncDir(dir string) error {
	return f.process.run(func() error { return f.disk.SyncDir(dir) })
}

func (f *processFS) ReadDir(name string) (list []fs.DirEntry, err error) {
	err = f.process.run(func() error { list, err = f.disk.ReadDir(name); return err })
	return list, err
}

func (f *processFS) Stat(name string) (info fs.FileInfo, err error) {
	err = f.process.run(func() error { info, err = f.disk.Stat(name); return err })
	return info, err
}

func (f *processFS) Usage(dir string) (total, free uint64, err error) {
	err = f.process.run(func() error { total, free, err = f.disk.Usage(dir); return err })
	return total, free, err
}

func (f *processFS) Lock(name string) (lock io.Closer, err error) {
	err = f.process.run(func() error { lock, err = f.disk.Lock(name); return err })
	if err != nil {
		return nil, err
	}
	f.process.mu.Lock()
	defer f.process.mu.Unlock()
	f.process.locks = append(f.process.locks, lock)
	return lock, nil
}

// processFile is an open file of a process.
type processFile struct {
	disk.File
	process *process
}

func (f *processFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.process.run(func() error { n, err = f.File.ReadAt(p, off); return err })
	return n, err
}

func (f *processFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.process.run(func() error { n, err = f.File.WriteAt(p, off); return err })
	return n, err
}

func (f *processFile) Size() (n int64, err error) {
	err = f.process.run(func() error { n, err = f.File.Size(); return err })
	return n, err
}

func (f *processFile) Sync() error { return f.process.run(f.File.Sync) }

func (f *processFile) WriteSynced(p []byte, off int64) error {
	return f.process.run(func() error { return f.File.WriteSynced(p, off) })
}

func (f *processFile) Truncate(size int64) error {
	return f.process.run(func() error { return f.File.Truncate(size) })
}

func (f *processFile) Allocate(off, n int64) error {
	return f.process.run(func() error { return f.File.Allocate(off, n) })
}

func (f *processFile) PunchHole(off, n int64) error {
	return f.process.run(func() error { return f.File.PunchHole(off, n) })
}
