package disk

import (
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Mem is a filesystem in memory. It begins with an empty root directory; names
// are taken as below it whether or not they begin with a slash.
type Mem struct {
	mu       sync.Mutex // protects all below, and every node
	root     *node
	pending  []*nameOp // changes of names that are not durable, oldest first
	capacity uint64    // bytes; 0: no limit
	faults   []*Fault
	hook     func(Op, string) error
	calls    map[Op]int
}

// node is a file or a directory.
type node struct {
	mode     fs.FileMode // with fs.ModeDir for a directory
	modified time.Time

	// Of a directory.
	entries map[string]*node // now
	durable map[string]*node // after a crash, less or plus what is pending

	// Of a file.
	live     sparse   // now
	synced   sparse   // at the last Sync
	unsynced unsynced // where they differ
	failures int      // of Sync; each open file is told once
	locked   bool
}

var _ FS = (*Mem)(nil)

// NewMem makes an empty filesystem.
func NewMem() *Mem {
	return &Mem{root: newDir(0o755), calls: map[Op]int{}}
}

func newDir(perm fs.FileMode) *node {
	return &node{mode: perm.Perm() | fs.ModeDir, modified: time.Now(), entries: map[string]*node{}, durable: map[string]*node{}}
}

// SetCapacity limits the space of all files to so many bytes, counted in pages
// of 4 KiB that were written; calls that would exceed it fail with ENOSPC. Zero
// lifts the limit.
func (m *Mem) SetCapacity(bytes uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

func (m *Mem) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if err := m.enter(OpOpen, name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	n := dir.entries[base]
	switch {
	case flag&(os.O_APPEND|os.O_WRONLY) != 0:
		err = syscall.EINVAL
	case n == nil && flag&os.O_CREATE == 0:
		err = syscall.ENOENT
	case n != nil && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		err = syscall.EEXIST
	case n != nil && n.mode.IsDir():
		err = syscall.EISDIR
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	if n == nil {
		n = &node{mode: perm.Perm(), modified: time.Now(), unsynced: unsynced{}}
		m.apply(&nameOp{dir: dir, name: base, node: n})
	}
	if flag&os.O_TRUNC != 0 {
		n.truncate(0)
	}
	return &memFile{mem: m, node: n, name: name, writable: flag&os.O_RDWR != 0, failures: n.failures}, nil
}

func (m *Mem) Mkdir(name string, perm fs.FileMode) error {
	if err := m.enter(OpMkdir, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mkdir(name, perm)
}

// mkdir needs mu.
func (m *Mem) mkdir(name string, perm fs.FileMode) error {
	dir, base, err := m.parent(name)
	if err == nil && dir.entries[base] != nil {
		err = syscall.EEXIST
	}
	if err != nil {
		return pathError("mkdir", name, err)
	}
	m.apply(&nameOp{dir: dir, name: base, node: newDir(perm)})
	return nil
}

func (m *Mem) MkdirAll(name string, perm fs.FileMode) error {
	if err := m.enter(OpMkdir, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	name = clean(name)
	for end := range len(name) {
		if end+1 < len(name) && (end == 0 || name[end+1] != '/') {
			continue
		}
		path := name[:end+1]
		if n, err := m.find(path); err == nil && n.mode.IsDir() {
			continue
		}
		if err := m.mkdir(path, perm); err != nil {
			return err
		}
	}
	return nil
}

func (m *Mem) Remove(name string) error {
	if err := m.enter(OpRemove, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err == nil {
		switch n := dir.entries[base]; {
		case n == nil:
			err = syscall.ENOENT
		case len(n.entries) > 0:
			err = syscall.ENOTEMPTY
		}
	}
	if err != nil {
		return pathError("remove", name, err)
	}
	m.apply(&nameOp{dir: dir, name: base})
	return nil
}

func (m *Mem) Rename(from, to string) error {
	if err := m.enter(OpRename, to); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.rename(from, to); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// rename needs mu.
func (m *Mem) rename(from, to string) error {
	fromDir, fromBase, err := m.parent(from)
	if err != nil {
		return err
	}
	toDir, toBase, err := m.parent(to)
	if err != nil {
		return err
	}
	moved, replaced := fromDir.entries[fromBase], toDir.entries[toBase]
	switch {
	case moved == nil:
		return syscall.ENOENT
	case moved == replaced:
		return nil
	case moved.mode.IsDir() && strings.HasPrefix(clean(to), clean(from)+"/"):
		return syscall.EINVAL
	case replaced != nil && replaced.mode.IsDir():
		return syscall.EEXIST
	case replaced != nil && moved.mode.IsDir():
		return syscall.ENOTDIR
	}
	m.apply(&nameOp{dir: toDir, name: toBase, node: moved, fromDir: fromDir, fromName: fromBase})
	return nil
}

func (m *Mem) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := m.enter(OpReadDir, name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err == nil && !n.mode.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	var list []fs.DirEntry
	for _, base := range slices.Sorted(maps.Keys(n.entries)) {
		list = append(list, fs.FileInfoToDirEntry(n.entries[base].info(base)))
	}
	return list, nil
}

func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	if err := m.enter(OpStat, name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return n.info(filepath.Base(clean(name))), nil
}

func (m *Mem) SyncDir(name string) error {
	if err := m.enter(OpSyncDir, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, err := m.find(name)
	if err == nil && !dir.mode.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return pathError("sync", name, err)
	}
	m.syncDir(dir)
	return nil
}

func (m *Mem) Lock(name string) (io.Closer, error) {
	if err := m.enter(OpLock, name); err != nil {
		return nil, err
	}
	f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := f.(*memFile).node
	if n.locked {
		return nil, inUse(name, strconv.Itoa(os.Getpid()))
	}
	n.locked = true
	return &memLock{mem: m, node: n}, nil
}

type memLock struct {
	mem  *Mem
	node *node
}

func (l *memLock) Close() error {
	l.mem.mu.Lock()
	defer l.mem.mu.Unlock()
	if !l.node.locked {
		return fs.ErrClosed
	}
	l.node.locked = false
	return nil
}

// unlimited is the size that Usage gives when no capacity was set.
const unlimited = 1 << 40

func (m *Mem) Usage(dir string) (total, free uint64, err error) {
	if err := m.enter(OpUsage, dir); err != nil {
		return 0, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.find(dir); err != nil {
		return 0, 0, pathError("statfs", dir, err)
	}
	total = m.capacity
	if total == 0 {
		total = unlimited
	}
	return total, total - min(total, m.root.used()), nil
}

// room needs mu. It says whether a page could still be added for each of n bytes
// at off that have none.
func (m *Mem) room(f *node, off, n int64) bool {
	if m.capacity == 0 {
		return true
	}
	var more uint64
	eachPage(off, n, func(index, _, _, _ int64) {
		if f.live.pages[index] == nil {
			more += pageSize
		}
	})
	return m.root.used()+more <= m.capacity
}

func (n *node) used() uint64 {
	used := uint64(len(n.live.pages)) * pageSize
	if len(n.entries) == 0 {
		return used
	}
	for _, child := range n.entries {
		used += child.used()
	}
	return used
}

// find needs mu.
func (m *Mem) find(name string) (*node, error) {
	n := m.root
	for part := range strings.SplitSeq(clean(name)[1:], "/") {
		if part == "" { // the root
			return n, nil
		}
		if !n.mode.IsDir() {
			return nil, syscall.ENOTDIR
		}
		if n = n.entries[part]; n == nil {
			return nil, syscall.ENOENT
		}
	}
	return n, nil
}

// parent needs mu. It finds the directory that a name is in.
func (m *Mem) parent(name string) (dir *node, base string, err error) {
	name = clean(name)
	if name == "/" {
		return nil, "", syscall.EINVAL
	}
	dir, err = m.find(filepath.Dir(name))
	if err == nil && !dir.mode.IsDir() {
		err = syscall.ENOTDIR
	}
	return dir, filepath.Base(name), err
}

func clean(name string) string {
	if strings.HasPrefix(name, "/") {
		return filepath.Clean(name)
	}
	return filepath.Clean("/" + name)
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func (n *node) info(base string) fs.FileInfo {
	return memInfo{name: base, size: n.live.size, mode: n.mode, modified: n.modified}
}

type memInfo struct {
	name     string
	size     int64
	mode     fs.FileMode
	modified time.Time
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return i.modified }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }
