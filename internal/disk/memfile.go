package disk

import (
	"io"
	"io/fs"
	"syscall"
	"time"
)

// memFile is an open file of a Mem.
type memFile struct {
	mem      *Mem
	node     *node
	name     string
	writable bool
	closed   bool // mem.mu protects it
	failures int  // of node, as far as this file was told; mem.mu protects it
}

func (f *memFile) Name() string { return f.name }

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.begin(OpRead, off < 0); err != nil {
		return 0, err
	}
	defer f.mem.mu.Unlock()
	n := f.node.live.readAt(p, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.begin(OpWrite, off < 0 || !f.writable)
	if part, ok := err.(*partialError); ok {
		f.mem.mu.Lock()
		err, p = part.err, p[:len(p)/2]
	} else if err != nil {
		return 0, err
	}
	defer f.mem.mu.Unlock()
	if !f.mem.room(f.node, off, int64(len(p))) {
		return 0, pathError("write", f.name, syscall.ENOSPC)
	}
	f.node.live.writeAt(p, off)
	f.node.touch(off, int64(len(p)))
	return len(p), err
}

// Sync makes the file durable. When it is made to fail, what it should have made
// durable stays unsynced for good: each other open file of the same content is
// told once, by the failure of its next Sync, and later ones skip it.
func (f *memFile) Sync() error {
	if err := f.beginSync(); err != nil {
		return err
	}
	defer f.mem.mu.Unlock()
	n := f.node
	n.synced.resize(n.live.size)
	for index, d := range n.unsynced {
		if d.failed == 0 {
			n.synced.share(&n.live, index)
			delete(n.unsynced, index)
			continue
		}
		(d.changed &^ d.failed).each(index, func(sector int64) { n.synced.copySector(&n.live, sector) })
		n.unsynced[index] = dirt{d.failed, d.failed}
	}
	return nil
}

// WriteSynced fails as Sync does, and is counted as one.
func (f *memFile) WriteSynced(p []byte, off int64) error {
	if _, err := f.WriteAt(p, off); err != nil {
		return err
	}
	if err := f.beginSync(); err != nil {
		return err
	}
	defer f.mem.mu.Unlock()
	n, end := f.node, off+int64(len(p))
	n.synced.size = max(n.synced.size, end)
	for sector := off / sectorSize; sector*sectorSize < end; sector++ {
		n.synced.copySector(&n.live, sector)
		n.unsynced.clear(sector)
	}
	return nil
}

// beginSync is begin of what makes something durable.
func (f *memFile) beginSync() error {
	if err := f.begin(OpSync, false); err != nil {
		f.mem.mu.Lock()
		defer f.mem.mu.Unlock()
		for index, d := range f.node.unsynced {
			f.node.unsynced[index] = dirt{d.changed, d.changed}
		}
		f.node.failures++
		f.failures = f.node.failures
		return err
	}
	if f.failures < f.node.failures {
		f.failures = f.node.failures
		f.mem.mu.Unlock()
		return pathError("sync", f.name, syscall.EIO)
	}
	return nil
}

func (f *memFile) Truncate(size int64) error {
	if err := f.begin(OpTruncate, size < 0 || !f.writable); err != nil {
		return err
	}
	defer f.mem.mu.Unlock()
	f.node.truncate(size)
	return nil
}

func (f *memFile) Size() (int64, error) {
	if err := f.begin(OpStat, false); err != nil {
		return 0, err
	}
	defer f.mem.mu.Unlock()
	return f.node.live.size, nil
}

func (f *memFile) Allocate(off, n int64) error {
	if err := f.begin(OpAllocate, off < 0 || n < 0 || !f.writable); err != nil {
		return err
	}
	defer f.mem.mu.Unlock()
	if !f.mem.room(f.node, off, n) {
		return pathError("fallocate", f.name, syscall.ENOSPC)
	}
	if off+n > f.node.live.size {
		f.node.truncate(off + n)
	}
	return nil
}

func (f *memFile) PunchHole(off, n int64) error {
	if err := f.begin(OpPunchHole, off < 0 || n < 0 || !f.writable); err != nil {
		return err
	}
	defer f.mem.mu.Unlock()
	f.node.zero(off, off+n)
	return nil
}

func (f *memFile) Close() error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if f.closed {
		return pathError("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}

// begin starts an operation: it returns an error, or leaves mem.mu locked.
func (f *memFile) begin(op Op, invalid bool) error {
	if err := f.mem.enter(op, f.name); err != nil {
		return err
	}
	f.mem.mu.Lock()
	switch {
	case f.closed:
		f.mem.mu.Unlock()
		return pathError(string(op), f.name, fs.ErrClosed)
	case invalid:
		f.mem.mu.Unlock()
		return pathError(string(op), f.name, syscall.EINVAL)
	}
	return nil
}

// touch notes that n bytes at off were written.
func (n *node) touch(off, count int64) {
	n.modified = time.Now()
	n.unsynced.change(off/sectorSize, (off+count+sectorSize-1)/sectorSize)
}

func (n *node) zero(off, end int64) {
	n.modified = time.Now()
	n.live.zero(off, end, func(sector int64) { n.unsynced.change(sector, sector+1) })
}

func (n *node) truncate(size int64) {
	n.zero(size, max(size, n.live.size))
	n.live.resize(size)
}
