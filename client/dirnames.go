package client

import (
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// dirNames is what is known of the names of a directory under its lease. Each name is as
// of a state of the directory (Attr.Change), so that answers may come in any order.
type dirNames struct {
	byName   map[string]knownName
	complete bool    // names that are not here are absent,
	change   uint64  // as of this state
	listed   *listed // in their order; nil: that is not kept
	strays   int     // files opened in another order, while it was complete
}

// knownName is what a name stands for.
type knownName struct {
	ino    proto.InodeID // 0: it is absent
	change uint64        // state of the directory
	told   uint32        // leases.second in which the kernel was told; 0: it was not
}

// maxNamesOfOne directory are remembered.
const maxNamesOfOne = maxNames / 4

// putName notes a name; l.mu is held.
func (l *leases) putName(h *lease, name string, ino proto.InodeID, change uint64) {
	if h.names == nil {
		h.names = &dirNames{byName: map[string]knownName{}}
	}
	old, had := h.names.byName[name]
	switch {
	case had && old.change > change:
		return
	case !had && h.names.complete && h.names.change > change:
		return // it was absent later
	case !had && len(h.names.byName) >= maxNamesOfOne:
		l.dropNames(h)
		return
	}
	h.names.byName[name] = knownName{ino, change, old.told}
	if !had {
		l.names++
	}
}

// completeNames notes that a directory has no names but those known; l.mu is held.
func (l *leases) completeNames(h *lease, change uint64) {
	if h.names == nil {
		h.names = &dirNames{byName: map[string]knownName{}}
	}
	h.names.complete = true
	h.names.change = max(h.names.change, change)
}

// dropNames forgets the names of a directory; l.mu is held.
func (l *leases) dropNames(h *lease) {
	if h.names != nil {
		l.dropListed(h)
		l.names -= len(h.names.byName)
		h.names = nil
		h.blind = h.toldName.Add(lateNames)
	}
	h.listing, h.along = listing{}, along{questions: h.along.questions}
}

// foundName is what is known of a name without asking.
type foundName struct {
	absent bool
	attr   Attr
	loose  bool // of a directory: see lease.loose; attr.lease is nil then
}

// lookup tells what is known of a name and the attributes of what it stands for.
func (l *leases) lookup(dir proto.InodeID, name string) (found foundName, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.usable(dir)
	if h == nil || h.names == nil || l.leaving[placeOf{dir, name}] > 0 {
		return foundName{}, false
	}
	known, had := h.names.byName[name]
	switch {
	case !had:
		return foundName{absent: true}, h.names.complete
	case known.ino == 0:
		return foundName{absent: true}, true
	}
	switch child := l.usable(known.ino); {
	case child == nil:
		return foundName{}, false
	case child.hasAttr:
		return foundName{attr: child.attr}, true
	case child.loose:
		found = foundName{attr: child.attr, loose: true}
		found.attr.lease = nil
		return found, true
	}
	return foundName{}, false
}

// noteName caches a name that an answer tells, if a lease on the directory came with it.
// ino 0: it is absent.
func (l *leases) noteName(began uint64, g *pb.Grants, dir proto.InodeID, name string, ino proto.InodeID, change uint64) {
	if g == nil || change == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held[dir]; h != nil && h.grants == g && began >= h.since {
		l.putName(h, name, ino, change)
	}
}

// listing is a listing of a directory from its start, page by page.
type listing struct {
	next   uint64 // cookie that the next page begins behind; 0: none was begun
	change uint64 // of the directory in all pages so far,
	alone  bool   // or it was exclusive: what has changed is known
}

// noteListing caches the names of a page that came with grants. A listing from the start to the end
// without a change by others in between makes the directory's names complete.
func (l *leases) noteListing(began uint64, g *pb.Grants, dir proto.InodeID, from uint64, reply *pb.ReadDirReply, entries []DirEntry) {
	if g == nil || reply.Change == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held[dir]
	if h == nil || h.grants != g || began < h.since {
		return
	}
	for _, e := range entries {
		l.putName(h, e.Name, e.Inode, reply.Change)
	}
	l.noteOrder(h, from, entries)
	if from == 0 && reply.End {
		l.keepListing(h, reply, entries)
	}
	if from == 0 {
		h.listing = listing{change: reply.Change, alone: h.writes()}
	} else if h.listing.next != from || h.listing.change != reply.Change && !h.listing.alone {
		h.listing = listing{}
		return
	}
	switch n := len(entries); {
	case h.names == nil && n > 0: // too many
		h.listing = listing{}
	case reply.End:
		l.completeNames(h, reply.Change)
		h.listing = listing{}
	case n > 0:
		h.listing.next = entries[n-1].Cookie
	}
}

// placeOf is where a name is.
type placeOf struct {
	dir  proto.InodeID
	name string
}

// leave is called before this client takes names away, or gives them to something else:
// until done is called, who looks them up asks the master, for what they stand for now
// may be gone before the answer is here.
func (l *leases) leave(places ...placeOf) (done func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range places {
		l.leaving[p]++
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, p := range places {
			if l.leaving[p]--; l.leaving[p] == 0 {
				delete(l.leaving, p)
			}
		}
	}
}

// known gives the inode that a name stands for, if that is known.
func (l *leases) known(dir proto.InodeID, name string) []proto.InodeID {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held[dir]; h != nil && h.names != nil {
		if ino := h.names.byName[name].ino; ino != 0 {
			return []proto.InodeID{ino}
		}
	}
	return nil
}

// soleName tells whether a name is known to be the only one of its inode.
func (l *leases) soleName(dir proto.InodeID, name string) bool {
	found, ok := l.lookup(dir, name)
	return ok && !found.absent && (found.attr.isDir() || found.attr.Nlink == 1)
}

// target is what a symlink holds.
func (l *leases) target(ino proto.InodeID) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.usable(ino); h != nil && h.target != nil {
		return *h.target, true
	}
	return "", false
}

func (l *leases) noteTarget(began uint64, g *pb.Grants, ino proto.InodeID, target string) {
	if g == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held[ino]; h != nil && h.grants == g && began >= h.since {
		h.target = &target
	}
}
