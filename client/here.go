package client

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// What is around the changes that are answered here (localnames.go): when a directory is
// asked for exclusively, and what waits for the master.

const (
	poolTries   = 8       // how often an empty pool is waited for, before the master is asked for a name
	triesBefore = 2       // changes of a directory's names at the master before it is asked for
	maxListed   = 1 << 12 // entries of a directory that is listed when it is exclusive, so that absent names are known
)

// tryHere makes an attempt to answer here; a second one, if what was missing are only the
// attributes of the directory.
func (c *Client) tryHere(ctx context.Context, dir proto.InodeID, attempt func() bool) bool {
	if c.leases.reserve == nil {
		return false
	}
	if attempt() {
		return true
	}
	if c.leases.lacksAttr(dir) {
		if _, err := c.GetAttr(ctx, dir); err != nil {
			return false
		}
		return attempt()
	}
	for range poolTries { // others may be faster when it has been filled
		if !c.leases.awaitPool(ctx, dir) {
			return false
		}
		if attempt() {
			return true
		}
	}
	return false
}

// lacksAttr tells whether an inode is exclusive, and only its attributes are not known.
func (l *leases) lacksAttr(ino proto.InodeID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.usable(ino)
	return h != nil && h.writes() && h.recall == nil && h.busy == 0 && !h.hasAttr
}

func (c *Client) makeNodeHere(ctx context.Context, cred Cred, parent proto.InodeID, name string, n node) (attr Attr, done bool) {
	var m made
	done = c.tryHere(ctx, parent, func() (ok bool) {
		m, ok = c.makeHere(cred, parent, name, n)
		return ok
	})
	if done {
		c.sessions.close(m.attr.Inode) // it was open since it was reserved
	}
	return m.attr, done
}

// createHere is CreateInode of a name that is not there; nil if the master has to be asked.
func (c *Client) createHere(ctx context.Context, cred Cred, parent proto.InodeID, name string, mode, flags uint32) *File {
	var m made
	done := c.tryHere(ctx, parent, func() (ok bool) {
		m, ok = c.makeHere(cred, parent, name, node{mode: unix.S_IFREG | mode&0o7777, file: true})
		return ok
	})
	if !done {
		return nil
	}
	i := c.acquire(m.attr.Inode)
	c.locations.begin(i.id, m.attr.Change)
	f := i.attach(cred, flags, m.attr, false)
	i.mu.Lock()
	i.durable = true // there are no bytes
	i.behind, i.made = m.mark, m.mark
	i.mu.Unlock()
	c.behind.made()
	if m.first.chunk != 0 {
		c.locations.put(i.id, 0, m.first)
	}
	return f
}

// changedHere takes in attributes that a change here has made.
func (c *Client) changedHere(attr Attr, at mark) Attr {
	c.locations.ownChange(attr.Inode, attr.Change)
	if i := c.lookupOpen(attr.Inode); i != nil {
		i.mu.Lock()
		i.behind = at
		i.mu.Unlock()
	}
	return c.merged(attr, true)
}

// arrive waits until what was done to a file here has arrived at the master, or with sync
// is durable, and all that was done before.
func (i *inode) arrive(ctx context.Context, sync bool) error {
	i.mu.Lock()
	at, made := i.behind, i.made
	i.mu.Unlock()
	if made != (mark{}) {
		i.c.behind.closes(at == made)
	}
	switch {
	case sync:
		return i.c.settleNames(ctx)
	case at == mark{} || i.c.behind.has(at):
		return nil
	}
	p := i.c.newPatience(ctx)
	defer p.cancel()
	if err := i.c.behind.arrive(p.ctx, at); err != nil {
		return p.spent("close", inodeName(i.id), err)
	}
	return nil
}

// has tells whether the master has received a change, or it was lost.
func (b *behind) has(m mark) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hasCome(m, arrived)
}

// wantDir is called when a directory's names were changed at the master: one in which that
// happens again is asked for exclusively, unless others are at work in it. Its names are
// read, for most likely more are to be made in it.
func (c *Client) wantDir(ctx context.Context, dir proto.InodeID) {
	if attr, got := c.acquireDir(ctx, dir); got && attr.Size <= maxListed && !c.leases.isComplete(dir) {
		_, _ = c.readPage(ctx, Cred{}, &pb.ReadDirRequest{Inode: uint64(dir), MaxEntries: maxListed})
	}
}

// wantFiles is wantDir where names were taken away or moved: with the directory, what they
// stand for is wanted.
func (c *Client) wantFiles(ctx context.Context, dir proto.InodeID) {
	c.acquireDir(ctx, dir)
	c.readAlong(ctx, dir, true)
}

// acquireDir asks for a directory that is wanted exclusively.
func (c *Client) acquireDir(ctx context.Context, dir proto.InodeID) (attr Attr, got bool) {
	if !c.leases.wants(dir) {
		return Attr{}, false
	}
	began := c.leases.begin()
	reply, err := ask(ctx, c, Cred{}, "acquire lease on", inodeName(dir), func(ctx context.Context, who *pb.Caller) (*pb.AcquireReply, error) {
		return c.master.Acquire(ctx, &pb.AcquireRequest{Caller: who, Inode: uint64(dir), Mode: pb.LeaseMode_LEASE_EXCLUSIVE, IfFree: true})
	})
	if err != nil {
		return Attr{}, false
	}
	return c.learned(began, reply.Grants, reply.Attr), len(reply.Grants.GetExclusive()) > 0
}

// attainable finds the lease on a directory that may be asked for exclusively; nil: it is not to be.
// l.mu is held.
func (l *leases) attainable(dir proto.InodeID) *lease {
	h := l.usable(dir)
	if !l.mayWant(h) || h.writes() {
		return nil
	}
	return h
}

// mayWant tells whether more may be asked for of what a lease is on; l.mu is held.
func (l *leases) mayWant(h *lease) bool {
	return l.reserve != nil && h != nil && h.recall == nil && h.busy == 0 && !l.contested.has(h.ino) && !l.distrusted.has(h.ino)
}

// wants tells whether a directory is to be asked for, and counts.
func (l *leases) wants(dir proto.InodeID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.attainable(dir)
	if h == nil {
		l.noteWanted(dir) // it may be exclusive, and what is in it not
		return false
	}
	known := h.names != nil && h.names.complete // most likely this client has made it
	if h.tries++; h.tries < triesBefore && !known {
		return false
	}
	h.tries = 0
	l.noteWanted(dir)
	return true
}

// noteWanted counts directories that were asked for, one soon after the other; l.mu is held.
func (l *leases) noteWanted(dir proto.InodeID) {
	if time.Since(l.wantedAt) > takeOverTime {
		l.wantedDirs = 0
	}
	if dir != l.wantedDir {
		l.wantedDirs++
	}
	l.wantedDir, l.wantedAt = dir, time.Now()
}

func (l *leases) isComplete(dir proto.InodeID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held[dir]
	return h != nil && h.names != nil && h.names.complete
}
