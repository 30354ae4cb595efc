package fusefs

import (
	"context"
	"sort"
	"sync"
	"time"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Offsets of the two names that a directory page does not hold.
const (
	cookieDot    = 1
	cookieDotDot = 2
)

// dirHandle is an open directory: a window of one page on a stream of entries.
// Offsets are cookies, which are stable, so any offset that was ever handed out
// can be gone back to (seekdir), in this handle or another (L17).
type dirHandle struct {
	ino proto.InodeID

	mu      sync.Mutex // held while a request reads the directory
	page    client.DirPage
	from    uint64    // the cookie that the page begins behind
	loaded  bool      // there is a page
	attrs   bool      // its entries have attributes
	fetched time.Time // before it was asked for
	changes uint64    // fileSystem.changes before it was asked for
}

// OpenDir implements fuse.RawFileSystem. The kernel has checked the permission, once and for all:
// who has a directory open lists it, whatever its mode becomes.
func (s *fileSystem) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.Fh = s.dirs.add(&dirHandle{ino: s.inode(in.NodeId)})
	return fuse.OK
}

// ReleaseDir implements fuse.RawFileSystem.
func (s *fileSystem) ReleaseDir(in *fuse.ReleaseIn) {
	s.dirs.remove(in.Fh)
}

// FsyncDir implements fuse.RawFileSystem: what was done to its names is durable then (G2).
// The kernel does not tell a filesystem of a umount before it is done; so the root stands
// for all: fsync of it saves what is unwritten in any file, too, and umount.distrifs asks
// for that.
func (s *fileSystem) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	if in.NodeId != fuse.FUSE_ROOT_ID {
		return status(s.backend.SyncDir(ctx, s.inode(in.NodeId)))
	}
	return status(s.backend.Sync(ctx))
}

// ReadDir implements fuse.RawFileSystem.
func (s *fileSystem) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return s.readDir(cancel, in, false, func(e fuse.DirEntry, _ *client.Attr, _, _ time.Duration) bool {
		return out.AddDirEntry(e)
	})
}

// ReadDirPlus implements fuse.RawFileSystem. An entry whose attributes are not
// given has node 0: the kernel then looks it up when it needs to.
func (s *fileSystem) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	sets := s.plain.sets.Load()
	return s.readDir(cancel, in, true, func(e fuse.DirEntry, attr *client.Attr, entryTTL, attrTTL time.Duration) bool {
		entry := out.AddDirLookupEntry(e)
		if entry != nil && attr != nil {
			s.fillEntryFor(entry, attr, entryTTL, attrTTL)
			if s.backend.CacheTTL() > 0 {
				s.plain.note(sets, attr, s.now().Add(entryTTL))
			}
		}
		return entry != nil
	})
}

// addEntry puts an entry into an answer; it is false when there is no more room.
type addEntry func(e fuse.DirEntry, attr *client.Attr, entryTTL, attrTTL time.Duration) bool

// readDir hands out entries behind the offset until the answer is full or the
// directory ends. It asks the client for more than one page only if the first
// had nothing left behind the offset.
func (s *fileSystem) readDir(cancel <-chan struct{}, in *fuse.ReadIn, plus bool, add addEntry) fuse.Status {
	h, ok := s.dirs.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	h.mu.Lock()
	defer h.mu.Unlock()
	offset := in.Offset
	for sent := 0; ; {
		before := h.fetched
		rest, err := s.behind(ctx, h, offset, plus)
		if err != nil {
			return status(err)
		}
		n, full := s.send(h, rest, offset, h.fetched != before, add)
		if sent += n; full || sent > 0 || h.page.End {
			return fuse.OK
		}
		offset = h.lastCookie()
	}
}

// behind gives the entries of the page behind an offset, and sees to it that it
// is the right page. One from an earlier request serves names; it serves
// attributes only while they are as good as new: the kernel believes that what it
// is told is no older than its request. From the start, all is read afresh.
func (s *fileSystem) behind(ctx context.Context, h *dirHandle, offset uint64, plus bool) ([]client.DirEntry, error) {
	if h.loaded && offset > 0 && offset >= h.from {
		rest := h.after(offset)
		switch {
		case len(rest) == 0 && h.page.End:
			return nil, nil
		case len(rest) > 0 && (!plus || h.attrs && s.fresh(h)):
			return rest, nil
		}
	}
	from := offset
	if from <= cookieDotDot {
		from = 0
	}
	fetched, changes := s.now(), s.changes.Load()
	page, err := s.backend.ReadDir(ctx, privileged, h.ino, from, plus)
	if err != nil {
		return nil, err
	}
	if !page.End && (len(page.Entries) == 0 || page.Entries[len(page.Entries)-1].Cookie <= from) {
		return nil, proto.E(proto.Malformed, "read directory", "inode "+h.ino.String(), "a page without entries is not the last")
	}
	h.page, h.from, h.loaded, h.attrs, h.fetched, h.changes = page, from, true, plus, fetched, changes
	return h.after(offset), nil
}

// fresh tells whether nothing was changed through this mount since the page was
// asked for, and what others changed may still be cached; under leases, each entry
// knows that.
func (s *fileSystem) fresh(h *dirHandle) bool {
	ttl := s.backend.CacheTTL()
	return h.changes == s.changes.Load() && (ttl == 0 || s.now().Sub(h.fetched) < ttl)
}

// after gives the entries of the page behind a cookie, which may be that of an
// entry that is gone.
func (h *dirHandle) after(cookie uint64) []client.DirEntry {
	i := sort.Search(len(h.page.Entries), func(i int) bool { return h.page.Entries[i].Cookie > cookie })
	return h.page.Entries[i:]
}

func (h *dirHandle) lastCookie() uint64 {
	return h.page.Entries[len(h.page.Entries)-1].Cookie
}

// send puts entries into the answer, "." and ".." first when it begins with them.
// It tells how many found room, and whether one did not.
func (s *fileSystem) send(h *dirHandle, entries []client.DirEntry, offset uint64, afresh bool, add addEntry) (sent int, full bool) {
	dots := [...]fuse.DirEntry{
		{Name: ".", Ino: uint64(h.ino), Mode: fuse.S_IFDIR, Off: cookieDot},
		{Name: "..", Ino: uint64(s.parent(h)), Mode: fuse.S_IFDIR, Off: cookieDotDot},
	}
	for i := min(offset, cookieDotDot); i < cookieDotDot; i++ {
		if !add(dots[i], nil, 0, 0) {
			return sent, true
		}
		sent++
	}
	for i := range entries {
		e := &entries[i]
		attr, entryTTL, attrTTL := s.entryAttr(h, e, afresh)
		if !add(fuse.DirEntry{Name: e.Name, Ino: uint64(e.Inode), Mode: e.Type, Off: e.Cookie}, attr, entryTTL, attrTTL) {
			return sent, true
		}
		sent++
	}
	return sent, false
}

// entryAttr gives the attributes that an entry is answered with, and how long they and
// the name may be kept. Those of a page that was not read for this request count only
// while they may be kept.
func (s *fileSystem) entryAttr(h *dirHandle, e *client.DirEntry, afresh bool) (attr *client.Attr, entryTTL, attrTTL time.Duration) {
	if e.Attr == nil {
		return nil, 0, 0
	}
	age := s.now().Sub(h.fetched)
	if entryTTL = s.backend.CacheTTL(); entryTTL > 0 { // no leases
		entryTTL = max(0, entryTTL-age)
		return e.Attr, entryTTL, entryTTL
	}
	attrTTL = s.backend.AttrTTL(e.Attr)
	if attrTTL == 0 && !afresh {
		return nil, 0, 0
	}
	return e.Attr, s.entryTTL(entry{h.ino, e.Name}, e.Inode, attrTTL), attrTTL
}

// parent is the inode of "..", which does not lead out of the mount.
func (s *fileSystem) parent(h *dirHandle) proto.InodeID {
	if h.ino == s.root {
		return s.root
	}
	return h.page.Parent
}
