package fusefs

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// fileSystem answers the kernel's requests. What it does not answer, the
// embedded default answers with ENOSYS; unsupported.go says what that means.
type fileSystem struct {
	fuse.RawFileSystem

	backend backend
	log     *slog.Logger
	root    proto.InodeID // of the mount: node 1

	description string // Options.Description
	remounted   func() // called when the kernel's flags may have changed

	now   func() time.Time
	dying func(thread uint32) bool

	localLocks bool // locks are the kernel's: it is not to ask for them

	groups groupCache
	files  handleTable[*fileHandle]
	dirs   handleTable[*dirHandle]
	told   toldTable

	arrivals arrivals
	writing  writing // WRITEs under way
	plain    plainTable

	unlocks releasing

	// capabilitySets counts how often this mount set the capabilities of a file.
	capabilitySets atomic.Uint64

	// changes counts what this mount changed, each time after the change and
	// before its answer: what was read earlier may be outdated then (directories.go).
	changes atomic.Uint64

	waits    func(number uint64) // the handler of a request is about to wait for somebody
	expires  bool                // the kernel knows how to have a name looked up again
	kernel   kernel              // set by attach, before the first request but INIT
	notifier *notifier           // likewise
}

func newFileSystem(b backend, log *slog.Logger) *fileSystem {
	return &fileSystem{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		backend:       b,
		log:           log,
		root:          b.Root(),
		remounted:     func() {},
		waits:         func(uint64) {},
		now:           time.Now,
		dying:         threadDying,
		groups:        groupCache{now: time.Now, read: readThreadStatus},
	}
}

// String implements fuse.RawFileSystem.
func (s *fileSystem) String() string { return "distrifs" }

// attach begins to speak with a kernel.
func (s *fileSystem) attach(k kernel) {
	s.kernel = k
	s.notifier = newNotifier(k)
	s.backend.SetCaches(caches{s})
}

// OnUnmount implements fuse.RawFileSystem.
func (s *fileSystem) OnUnmount() { s.notifier.close() }

// inode is what a node of the kernel's stands for.
func (s *fileSystem) inode(node uint64) proto.InodeID {
	if node == fuse.FUSE_ROOT_ID {
		return s.root
	}
	return proto.InodeID(node)
}

// node is the inverse of inode. The inode 1 outside a mounted subfolder cannot
// be reached from within it.
func (s *fileSystem) node(ino proto.InodeID) uint64 {
	if ino == s.root {
		return fuse.FUSE_ROOT_ID
	}
	return uint64(ino)
}

// status is the one place where errors become errnos.
func status(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	return fuse.Status(proto.KindOf(err).Errno())
}

// entry is a name of a directory.
type entry struct {
	dir  proto.InodeID
	name string
}

// fillEntry answers a request that found or made an inode by a name; none: by something else.
func (s *fileSystem) fillEntry(out *fuse.EntryOut, at entry, attr *client.Attr) {
	attrTTL := s.backend.AttrTTL(attr)
	s.fillEntryFor(out, attr, s.entryTTL(at, attr.Inode, attrTTL), attrTTL)
}

// entryTTL is how long the kernel may go by a name. Where it may not by the attributes, looking the
// name up brings them, and costs less than asking for them.
func (s *fileSystem) entryTTL(at entry, ino proto.InodeID, attrTTL time.Duration) time.Duration {
	switch ttl := s.backend.CacheTTL(); {
	case ttl > 0: // no leases
		return ttl
	case at == entry{} || attrTTL == 0 || !s.expires:
		return 0
	}
	return s.backend.EntryTTL(at.dir, at.name, ino)
}

// fillEntryFor is fillEntry where how long the kernel may keep things is known.
func (s *fileSystem) fillEntryFor(out *fuse.EntryOut, attr *client.Attr, entryTTL, attrTTL time.Duration) {
	out.NodeId = s.node(attr.Inode)
	out.Generation = s.generation(attr.Inode)
	out.SetEntryTimeout(entryTTL)
	out.SetAttrTimeout(attrTTL)
	s.fillAttr(&out.Attr, attr)
}

func (s *fileSystem) fillAttrOut(out *fuse.AttrOut, attr *client.Attr) {
	out.SetTimeout(s.backend.AttrTTL(attr))
	s.fillAttr(&out.Attr, attr)
}

func (s *fileSystem) fillAttr(out *fuse.Attr, attr *client.Attr) {
	*out = fuse.Attr{
		Ino:     uint64(attr.Inode),
		Size:    attr.Size,
		Blocks:  attr.Blocks,
		Mode:    attr.Mode,
		Nlink:   attr.Nlink,
		Owner:   fuse.Owner{Uid: attr.UID, Gid: attr.GID},
		Rdev:    attr.Rdev,
		Blksize: preferredIO,
	}
	out.SetTimes(&attr.Atime, &attr.Mtime, &attr.Ctime)
	s.told.set(attr)
}

// newEntry finishes a handler that made an inode or a name.
func (s *fileSystem) newEntry(out *fuse.EntryOut, in *fuse.InHeader, name string, attr *client.Attr, err error) fuse.Status {
	if err != nil {
		return status(err)
	}
	s.changes.Add(1)
	s.fillEntry(out, entry{s.inode(in.NodeId), name}, attr)
	return fuse.OK
}

// changed finishes a handler that changed something and answers nothing else.
func (s *fileSystem) changed(err error) fuse.Status {
	s.changes.Add(1)
	return status(err)
}

// checkRoot makes sure, before the kernel is involved, that there is a
// directory to mount.
func (s *fileSystem) checkRoot(ctx context.Context) error {
	attr, err := s.backend.GetAttr(ctx, s.root)
	if err != nil {
		return err
	}
	if attr.Mode&fuse.S_IFDIR == 0 {
		return proto.E(proto.NotDir, "mount", "inode "+s.root.String(), "only a directory can be mounted")
	}
	return nil
}
