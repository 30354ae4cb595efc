package client

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Changes of attributes, and commits, that this client answers itself (localnames.go).

const setIDs = unix.S_ISUID | unix.S_ISGID

// setAttrHere changes attributes other than the size, if that can be answered here.
func (c *Client) setAttrHere(cred Cred, ino proto.InodeID, set SetAttr) (attr Attr, at mark, done bool) {
	l := c.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.mayAnswer() || set.Size != nil || set.DropSetIDs || set.DropCapability {
		return Attr{}, mark{}, false
	}
	h := l.owned(ino)
	if h == nil || !cred.maySet(&h.attr, &set) {
		return Attr{}, mark{}, false
	}
	now := l.moment(h)
	change := newChange(pb.ChangeBehind_SET_ATTR, cred, now)
	change.Inode = uint64(ino)
	l.localChange(h, now)
	if set.Mode != nil {
		change.Set, change.Mode = change.Set|proto.BehindMode, *set.Mode
		h.attr.Mode = h.attr.Mode&unix.S_IFMT | *set.Mode&0o7777
	}
	if set.UID != nil {
		change.Set, change.Uid = change.Set|proto.BehindUID, *set.UID
		h.attr.UID = *set.UID
	}
	if set.GID != nil {
		change.Set, change.Gid = change.Set|proto.BehindGID, *set.GID
		h.attr.GID = *set.GID
	}
	if set.Atime != nil {
		change.Set, change.Atime = change.Set|proto.BehindAtime, set.Atime.wire()
		h.attr.Atime = set.Atime.at(now)
	}
	if set.Mtime != nil {
		change.Set, change.Mtime = change.Set|proto.BehindMtime, set.Mtime.wire()
		h.attr.Mtime = set.Mtime.at(now)
	}
	return h.attr, c.behind.add(change), true
}

// at is the time that is set by a change that happens now.
func (t *TimeSet) at(now time.Time) time.Time {
	if t.Now {
		return now
	}
	return time.Unix(t.Time.Unix(), int64(t.Time.Nanosecond()))
}

// isKept tells whether the time is one of those that are never in question.
func (t *TimeSet) isKept() bool {
	return t == nil || t.Now || keptTime(t.Time)
}

// keptTime tells whether a time is of the years that files are of.
func keptTime(t time.Time) bool {
	const first, last = -1 << 31, 1<<34 - 1<<31
	return t.Unix() >= first && t.Unix() < last
}

// maySet tells whether the caller may surely set attributes, and what comes of it is clear.
func (c Cred) maySet(attr *Attr, set *SetAttr) bool {
	switch {
	case set.Mode == nil && set.UID == nil && set.GID == nil && set.Atime == nil && set.Mtime == nil:
		return false
	case c.UID != 0 && c.UID != attr.UID:
		return false
	case set.Mode != nil && (attr.isSymlink() || c.UID != 0 && *set.Mode&unix.S_ISGID != 0):
		return false
	case (set.UID != nil || set.GID != nil) && (c.UID != 0 || attr.Mode&setIDs != 0 || set.Mode != nil):
		return false
	}
	return set.Atime.isKept() && set.Mtime.isKept()
}

// commitHere makes what was written part of a file that has one chunk, if that can be
// answered here.
func (i *inode) commitHere(p *proposal) (attr Attr, at mark, done bool) {
	c, l := i.c, i.c.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.mayAnswer() || len(p.streams) > 1 || len(p.streams) == 1 && p.streams[0].index != 0 {
		return Attr{}, mark{}, false
	}
	h := l.owned(i.id)
	if h == nil || p.within > h.attr.Size || max(p.size, h.attr.Size) > uint64(c.chunkSize) || h.attr.Mode&setIDs != 0 && p.writer.UID != 0 {
		return Attr{}, mark{}, false
	}
	mtime := time.Unix(p.mtime.Unix(), int64(p.mtime.Nanosecond()))
	if !keptTime(mtime) {
		return Attr{}, mark{}, false
	}
	now := time.Now().Add(l.pool.clock)
	now = time.Unix(now.Unix(), int64(now.Nanosecond()))
	ctime := h.attr.Ctime
	if !mtime.Equal(h.attr.Mtime) {
		ctime = latest(ctime, earliest(mtime, now))
	}
	l.localChange(h, ctime)
	h.attr.Mtime = mtime
	h.attr.Size = max(h.attr.Size, p.size)
	if h.attr.Blocks > 0 || len(p.chunks) > 0 {
		h.attr.Blocks = uint64(heldIn(int64(h.attr.Size)) / 512)
	}
	change := newChange(pb.ChangeBehind_COMMIT, p.writer, now)
	change.Inode, change.Size, change.Chunks, change.Mtime = uint64(i.id), p.size, p.chunks, timeChange(mtime)
	return h.attr, c.behind.add(change), true
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
