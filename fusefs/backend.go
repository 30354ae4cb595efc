package fusefs

import (
	"context"
	"time"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
)

// backend is what is needed of a client. Contexts are valid until the call
// returns, and no longer.
type backend interface {
	Root() proto.InodeID
	CacheTTL() time.Duration
	AttrTTL(attr *client.Attr) time.Duration
	EntryTTL(dir proto.InodeID, name string, ino proto.InodeID) time.Duration // ino 0: there is no such name
	KeepsPages(ino proto.InodeID) bool
	SetCaches(caches client.Caches)

	Lookup(ctx context.Context, cred client.Cred, parent proto.InodeID, name string) (client.Attr, error)
	Find(ctx context.Context, cred client.Cred, parent proto.InodeID, name string) (client.Attr, error)
	GetAttr(ctx context.Context, ino proto.InodeID) (client.Attr, error)
	SetAttr(ctx context.Context, cred client.Cred, ino proto.InodeID, set client.SetAttr) (client.Attr, error)
	ReadDir(ctx context.Context, cred client.Cred, ino proto.InodeID, cookie uint64, attrs bool) (client.DirPage, error)
	ReadLink(ctx context.Context, ino proto.InodeID) (string, error)
	Mkdir(ctx context.Context, cred client.Cred, parent proto.InodeID, name string, mode uint32) (client.Attr, error)
	Mknod(ctx context.Context, cred client.Cred, parent proto.InodeID, name string, mode, rdev uint32) (client.Attr, error)
	Symlink(ctx context.Context, cred client.Cred, parent proto.InodeID, name, target string) (client.Attr, error)
	Link(ctx context.Context, cred client.Cred, ino, parent proto.InodeID, name string) (client.Attr, error)
	Unlink(ctx context.Context, cred client.Cred, parent proto.InodeID, name string) error
	Rmdir(ctx context.Context, cred client.Cred, parent proto.InodeID, name string) error
	Rename(ctx context.Context, cred client.Cred, parent proto.InodeID, name string, newParent proto.InodeID, newName string, flags uint32) error
	GetXattr(ctx context.Context, cred client.Cred, ino proto.InodeID, name string) ([]byte, error)
	ListXattr(ctx context.Context, cred client.Cred, ino proto.InodeID) ([]string, error)
	SetXattr(ctx context.Context, cred client.Cred, ino proto.InodeID, name string, value []byte, flags uint32) error
	RemoveXattr(ctx context.Context, cred client.Cred, ino proto.InodeID, name string) error
	Sync(ctx context.Context) error // what is unwritten in all files
	SyncDir(ctx context.Context, dir proto.InodeID) error
	SetAtime(mode client.Atime)
	StatFS(ctx context.Context) (client.FSStat, error)

	OpenInode(ctx context.Context, cred client.Cred, ino proto.InodeID, flags uint32) (file, error)
	CreateInode(ctx context.Context, cred client.Cred, parent proto.InodeID, name string, mode, flags uint32) (file, error)
	CreateUnnamed(ctx context.Context, cred client.Cred, parent proto.InodeID, mode, flags uint32) (file, error)
	CopyRange(ctx context.Context, from, to file, off, toOff, n int64) (int64, error) // both are of this backend
}

// file is what is needed of a client.File.
type file interface {
	Attr() client.Attr
	KeepCache() bool
	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
	AppendContext(ctx context.Context, p []byte) (int, error)
	PlaceAt(ctx context.Context, p []byte, off int64) (int, error)
	WriteMappedAt(ctx context.Context, p []byte, off int64) (int, error)
	Allocate(ctx context.Context, off, n int64, keepSize bool) error
	ZeroRange(ctx context.Context, off, n int64, keepSize bool) error
	SeekData(ctx context.Context, off int64) (int64, error)
	SeekHole(ctx context.Context, off int64) (int64, error)
	Flush(ctx context.Context) error
	Sync(ctx context.Context) error
	SetLock(ctx context.Context, l client.Lock, wait bool) (client.Seen, error)
	TestLock(ctx context.Context, l client.Lock) (other client.Lock, ok bool, err error)
	Unlock(ctx context.Context, owner uint64, flock bool) error
	Close() error
}

// clientBackend is a *client.Client as a backend.
type clientBackend struct{ *client.Client }

func (b clientBackend) OpenInode(ctx context.Context, cred client.Cred, ino proto.InodeID, flags uint32) (file, error) {
	f, err := b.Client.OpenInode(ctx, cred, ino, flags)
	if err != nil {
		return nil, err // not f: a nil *client.File is no nil file
	}
	return f, nil
}

func (b clientBackend) CreateInode(ctx context.Context, cred client.Cred, parent proto.InodeID, name string, mode, flags uint32) (file, error) {
	f, err := b.Client.CreateInode(ctx, cred, parent, name, mode, flags)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (b clientBackend) CreateUnnamed(ctx context.Context, cred client.Cred, parent proto.InodeID, mode, flags uint32) (file, error) {
	f, err := b.Client.CreateUnnamed(ctx, cred, parent, mode, flags)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (clientBackend) CopyRange(ctx context.Context, from, to file, off, toOff, n int64) (int64, error) {
	return from.(*client.File).CopyRange(ctx, to.(*client.File), off, toOff, n)
}
