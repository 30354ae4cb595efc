package fusefs

import (
	"context"
	"io"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"golang.org/x/sys/unix"
)

// memory is a backend that holds a filesystem in memory: what the translation
// is tested against. It checks no permissions. The name "hang" is not answered
// until release is closed or the caller gives up.
type memory struct {
	mu      sync.Mutex
	root    proto.InodeID
	next    uint32
	cookies uint64
	inodes  map[proto.InodeID]*memInode
	ttl     time.Duration
	page    int // entries of a directory page
	hanging func()
	release chan struct{}

	pages    int         // pages that were asked for
	xattrs   int         // extended attributes that were asked for
	lastCred client.Cred // of the last call that had one
	flushes  int
	syncs    int
	allSyncs int           // of Sync
	writeErr error         // of the next Flush or Sync
	readErr  error         // of each read that got half of its bytes
	held     *client.Lock  // the last lock
	unlocks  []client.Lock // the locks that were taken off, with owner and space
	leased   bool          // set it with ttl 0
	changed  bool          // the file has changed when a lock is given
	alone    bool          // locks are given under a lease
}

type memInode struct {
	attr    client.Attr
	data    []byte
	target  string
	parent  proto.InodeID
	entries []client.DirEntry // of a directory, in cookie order
	xattrs  map[string][]byte
}

func (n *memInode) stat() client.Attr {
	attr := n.attr
	attr.Plain = len(n.xattrs) == 0
	return attr
}

func newMemory() *memory {
	m := &memory{root: proto.RootInode, next: 1, cookies: 2, inodes: map[proto.InodeID]*memInode{}, ttl: time.Second, page: 100}
	m.inodes[m.root] = &memInode{parent: m.root, attr: client.Attr{Inode: m.root, Mode: unix.S_IFDIR | 0o777, Nlink: 2, Btime: time.Unix(1000, 5)}}
	return m
}

func (m *memory) Root() proto.InodeID     { return m.root }
func (m *memory) CacheTTL() time.Duration { return m.ttl }

// AttrTTL and EntryTTL are those of a client with leases on all, if leased is set.
func (m *memory) AttrTTL(*client.Attr) time.Duration {
	if m.leased {
		return time.Second / 2
	}
	return m.ttl
}

func (m *memory) EntryTTL(proto.InodeID, string, proto.InodeID) time.Duration { return m.AttrTTL(nil) }

func (m *memory) KeepsPages(proto.InodeID) bool { return true }

func (m *memory) SetCaches(client.Caches) {}

func (m *memory) SyncDir(context.Context, proto.InodeID) error { return nil }

func (m *memory) SetAtime(client.Atime) {}

func (m *memory) Sync(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.allSyncs++
	return nil
}

// lock finds an inode; the caller unlocks when ok.
func (m *memory) lock(ino proto.InodeID) (*memInode, error) {
	m.mu.Lock()
	n, ok := m.inodes[ino]
	if !ok {
		m.mu.Unlock()
		return nil, proto.Stale
	}
	return n, nil
}

func (n *memInode) find(name string) int {
	return slices.IndexFunc(n.entries, func(e client.DirEntry) bool { return e.Name == name })
}

func (m *memory) touch(n *memInode) {
	n.attr.Change++
	n.attr.Mtime = time.Now()
	n.attr.Ctime = n.attr.Mtime
}

func (m *memory) Find(ctx context.Context, cred client.Cred, parent proto.InodeID, name string) (client.Attr, error) {
	return m.Lookup(ctx, cred, parent, name)
}

func (m *memory) Lookup(ctx context.Context, cred client.Cred, parent proto.InodeID, name string) (client.Attr, error) {
	if name == "hang" {
		m.hanging()
		select {
		case <-ctx.Done():
			return client.Attr{}, proto.Interrupted
		case <-m.release:
		}
	}
	dir, err := m.lock(parent)
	if err != nil {
		return client.Attr{}, err
	}
	defer m.mu.Unlock()
	m.lastCred = cred
	if name == ".." {
		return m.inodes[dir.parent].attr, nil
	}
	i := dir.find(name)
	if i < 0 {
		return client.Attr{}, proto.NotFound
	}
	return m.inodes[dir.entries[i].Inode].stat(), nil
}

func (m *memory) GetAttr(ctx context.Context, ino proto.InodeID) (client.Attr, error) {
	n, err := m.lock(ino)
	if err != nil {
		return client.Attr{}, err
	}
	defer m.mu.Unlock()
	return n.stat(), nil
}

func (m *memory) SetAttr(ctx context.Context, cred client.Cred, ino proto.InodeID, set client.SetAttr) (client.Attr, error) {
	n, err := m.lock(ino)
	if err != nil {
		return client.Attr{}, err
	}
	defer m.mu.Unlock()
	m.lastCred = cred
	m.touch(n)
	if set.Mode != nil {
		n.attr.Mode = n.attr.Mode&unix.S_IFMT | *set.Mode
	}
	if set.UID != nil {
		n.attr.UID = *set.UID
	}
	if set.GID != nil {
		n.attr.GID = *set.GID
	}
	if set.Size != nil {
		n.resize(*set.Size)
	}
	if set.DropSetIDs {
		n.attr.Mode &^= unix.S_ISUID
		if n.attr.Mode&unix.S_IXGRP != 0 {
			n.attr.Mode &^= unix.S_ISGID
		}
	}
	if set.DropCapability {
		delete(n.xattrs, capabilityXattr)
	}
	setTime(&n.attr.Atime, set.Atime)
	setTime(&n.attr.Mtime, set.Mtime)
	return n.stat(), nil
}

func setTime(t *time.Time, set *client.TimeSet) {
	switch {
	case set == nil:
	case set.Now:
		*t = time.Now()
	default:
		*t = set.Time
	}
}

func (n *memInode) resize(size uint64) {
	if grow := int(size) - len(n.data); grow > 0 {
		n.data = append(n.data, make([]byte, grow)...)
	}
	n.data = n.data[:size]
	delete(n.xattrs, capabilityXattr)
	n.attr.Size = size
	n.attr.Blocks = (size + 511) / 512
}

func (m *memory) ReadDir(ctx context.Context, cred client.Cred, ino proto.InodeID, cookie uint64, attrs bool) (client.DirPage, error) {
	dir, err := m.lock(ino)
	if err != nil {
		return client.DirPage{}, err
	}
	defer m.mu.Unlock()
	m.lastCred = cred
	m.pages++
	from := sort.Search(len(dir.entries), func(i int) bool { return dir.entries[i].Cookie > cookie })
	to := min(from+m.page, len(dir.entries))
	page := client.DirPage{Parent: dir.parent, End: to == len(dir.entries)}
	for _, e := range dir.entries[from:to] {
		if attrs {
			attr := m.inodes[e.Inode].stat()
			e.Attr = &attr
		}
		page.Entries = append(page.Entries, e)
	}
	return page, nil
}

func (m *memory) ReadLink(ctx context.Context, ino proto.InodeID) (string, error) {
	n, err := m.lock(ino)
	if err != nil {
		return "", err
	}
	defer m.mu.Unlock()
	return n.target, nil
}

func (m *memory) make(cred client.Cred, parent proto.InodeID, name string, mode uint32) (*memInode, error) {
	dir, ok := m.inodes[parent]
	switch {
	case len(name) > proto.MaxName:
		return nil, proto.NameTooLong
	case !ok:
		return nil, proto.Stale
	case dir.find(name) >= 0:
		return nil, proto.Exists
	}
	m.lastCred = cred
	m.next++
	now := time.Now()
	ino := proto.InodeID(proto.MakeID(m.next, m.next%3))
	n := &memInode{parent: parent, xattrs: map[string][]byte{}, attr: client.Attr{
		Inode: ino, Mode: mode&^(cred.Umask&0o777) | mode&unix.S_IFMT, Nlink: 1, UID: cred.UID, GID: cred.GID,
		Atime: now, Mtime: now, Ctime: now, Btime: now, Change: 1,
	}}
	if mode&unix.S_IFMT == unix.S_IFDIR {
		n.attr.Nlink = 2
	}
	m.inodes[ino] = n
	m.enter(dir, name, n)
	return n, nil
}

func (m *memory) enter(dir *memInode, name string, n *memInode) {
	m.cookies++
	dir.entries = append(dir.entries, client.DirEntry{Name: name, Inode: n.attr.Inode, Type: n.attr.Mode & unix.S_IFMT, Cookie: m.cookies})
	m.touch(dir)
}

func (m *memory) makeLocked(cred client.Cred, parent proto.InodeID, name string, mode uint32, fill func(*memInode)) (client.Attr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.make(cred, parent, name, mode)
	if err != nil {
		return client.Attr{}, err
	}
	fill(n)
	return n.stat(), nil
}

func (m *memory) Mkdir(ctx context.Context, cred client.Cred, parent proto.InodeID, name string, mode uint32) (client.Attr, error) {
	return m.makeLocked(cred, parent, name, unix.S_IFDIR|mode, func(*memInode) {})
}

func (m *memory) Mknod(ctx context.Context, cred client.Cred, parent proto.InodeID, name string, mode, rdev uint32) (client.Attr, error) {
	return m.makeLocked(cred, parent, name, mode, func(n *memInode) { n.attr.Rdev = rdev })
}

func (m *memory) Symlink(ctx context.Context, cred client.Cred, parent proto.InodeID, name, target string) (client.Attr, error) {
	return m.makeLocked(cred, parent, name, unix.S_IFLNK|0o777, func(n *memInode) { n.target, n.attr.Size = target, uint64(len(target)) })
}

func (m *memory) Link(ctx context.Context, cred client.Cred, ino, parent proto.InodeID, name string) (client.Attr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, n := m.inodes[parent], m.inodes[ino]
	if dir.find(name) >= 0 {
		return client.Attr{}, proto.Exists
	}
	n.attr.Nlink++
	m.enter(dir, name, n)
	return n.stat(), nil
}

func (m *memory) remove(parent proto.InodeID, name string, isDir bool) error {
	dir, err := m.lock(parent)
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	i := dir.find(name)
	if i < 0 {
		return proto.NotFound
	}
	n := m.inodes[dir.entries[i].Inode]
	switch {
	case isDir && dir.entries[i].Type != unix.S_IFDIR:
		return proto.NotDir
	case isDir && len(n.entries) > 0:
		return proto.NotEmpty
	case !isDir && dir.entries[i].Type == unix.S_IFDIR:
		return proto.IsDir
	}
	n.attr.Nlink--
	dir.entries = slices.Delete(dir.entries, i, i+1)
	m.touch(dir)
	return nil
}

func (m *memory) Unlink(ctx context.Context, cred client.Cred, parent proto.InodeID, name string) error {
	return m.remove(parent, name, false)
}

func (m *memory) Rmdir(ctx context.Context, cred client.Cred, parent proto.InodeID, name string) error {
	return m.remove(parent, name, true)
}

func (m *memory) Rename(ctx context.Context, cred client.Cred, parent proto.InodeID, name string, newParent proto.InodeID, newName string, flags uint32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, to := m.inodes[parent], m.inodes[newParent]
	i, j := from.find(name), to.find(newName)
	switch {
	case i < 0 || flags == unix.RENAME_EXCHANGE && j < 0:
		return proto.NotFound
	case flags == unix.RENAME_NOREPLACE && j >= 0:
		return proto.Exists
	case flags == unix.RENAME_EXCHANGE:
		a, b := &from.entries[i], &to.entries[j]
		a.Inode, b.Inode, a.Type, b.Type = b.Inode, a.Inode, b.Type, a.Type
		return nil
	}
	n := m.inodes[from.entries[i].Inode]
	from.entries = slices.Delete(from.entries, i, i+1)
	if j = to.find(newName); j >= 0 {
		to.entries = slices.Delete(to.entries, j, j+1)
	}
	n.parent = newParent
	m.enter(to, newName, n)
	return nil
}

func (m *memory) GetXattr(ctx context.Context, cred client.Cred, ino proto.InodeID, name string) ([]byte, error) {
	n, err := m.lock(ino)
	if err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	m.xattrs++
	value, ok := n.xattrs[name]
	if !ok {
		return nil, proto.NoAttr
	}
	return value, nil
}

func (m *memory) ListXattr(ctx context.Context, cred client.Cred, ino proto.InodeID) (names []string, err error) {
	n, err := m.lock(ino)
	if err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	for name := range n.xattrs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func (m *memory) SetXattr(ctx context.Context, cred client.Cred, ino proto.InodeID, name string, value []byte, flags uint32) error {
	n, err := m.lock(ino)
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	_, ok := n.xattrs[name]
	switch {
	case ok && flags&unix.XATTR_CREATE != 0:
		return proto.Exists
	case !ok && flags&unix.XATTR_REPLACE != 0:
		return proto.NoAttr
	}
	n.xattrs[name] = slices.Clone(value)
	return nil
}

func (m *memory) RemoveXattr(ctx context.Context, cred client.Cred, ino proto.InodeID, name string) error {
	n, err := m.lock(ino)
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	if _, ok := n.xattrs[name]; !ok {
		return proto.NoAttr
	}
	delete(n.xattrs, name)
	return nil
}

func (m *memory) StatFS(ctx context.Context) (client.FSStat, error) {
	return client.FSStat{TotalBytes: 1 << 40, FreeBytes: 1 << 39, Inodes: 10, FreeInodes: 90}, nil
}

func (m *memory) OpenInode(ctx context.Context, cred client.Cred, ino proto.InodeID, flags uint32) (file, error) {
	n, err := m.lock(ino)
	if err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	m.lastCred = cred
	if flags&unix.O_TRUNC != 0 {
		n.resize(0)
		m.touch(n)
	}
	return &memFile{m: m, n: n, flags: flags}, nil
}

func (m *memory) CreateInode(ctx context.Context, cred client.Cred, parent proto.InodeID, name string, mode, flags uint32) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.make(cred, parent, name, unix.S_IFREG|mode)
	if err != nil {
		return nil, err
	}
	return &memFile{m: m, n: n, flags: flags}, nil
}

type memFile struct {
	m     *memory
	n     *memInode
	flags uint32
}

func (f *memFile) Attr() client.Attr {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.n.stat()
}

func (f *memFile) KeepCache() bool { return f.flags&unix.O_TRUNC == 0 }

func (f *memFile) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if f.m.readErr != nil {
		return n / 2, f.m.readErr
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) AppendContext(ctx context.Context, p []byte) (int, error) {
	return f.WriteMappedAt(ctx, p, int64(f.Attr().Size))
}

func (f *memFile) PlaceAt(ctx context.Context, p []byte, off int64) (int, error) {
	return f.WriteMappedAt(ctx, p, off)
}

func (f *memFile) WriteMappedAt(ctx context.Context, p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if end := off + int64(len(p)); end > int64(len(f.n.data)) {
		f.n.resize(uint64(end))
	}
	f.m.touch(f.n)
	return copy(f.n.data[off:], p), nil
}

func (f *memFile) Flush(ctx context.Context) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.m.flushes++
	err := f.m.writeErr
	f.m.writeErr = nil
	return err
}

func (f *memFile) Sync(ctx context.Context) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.m.syncs++
	err := f.m.writeErr
	f.m.writeErr = nil
	return err
}

// SetLock knows the last lock, which conflicts with those of other owners.
func (f *memFile) SetLock(ctx context.Context, l client.Lock, wait bool) (seen client.Seen, err error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	switch {
	case l.Mode == client.LockNone:
		f.m.held = nil
	case f.m.held == nil || f.m.held.Owner == l.Owner || f.m.held.Flock != l.Flock:
		f.m.held = &l
	case wait:
		<-ctx.Done()
		return client.SeenChanged, proto.Interrupted
	default:
		return client.SeenChanged, proto.Conflict
	}
	switch {
	case f.m.alone:
		return client.SeenLeased, nil
	case f.m.changed:
		return client.SeenChanged, nil
	}
	return client.SeenSame, nil
}

func (f *memFile) TestLock(ctx context.Context, l client.Lock) (other client.Lock, ok bool, err error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.held == nil || f.m.held.Owner == l.Owner {
		return client.Lock{}, false, nil
	}
	return *f.m.held, true, nil
}

func (f *memFile) Unlock(ctx context.Context, owner uint64, flock bool) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.m.unlocks = append(f.m.unlocks, client.Lock{Owner: owner, Flock: flock})
	return nil
}

func (f *memFile) Close() error { return f.Flush(context.Background()) }
