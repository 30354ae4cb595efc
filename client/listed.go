package client

import (
	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Listings that are kept. The names of a directory that came in one answer are kept in their order, too,
// with their cookies: as long as the lease is there, and this client has changed nothing, the
// directory is listed again without a question.

// listed is the listing of a directory. With names that are forgotten it goes.
type listed struct {
	entries []DirEntry // without attributes
	parent  proto.InodeID
	since   uint64 // lease.since when it was right
	attrs   bool   // attributes came with it
	ahead   bool   // it came with another, and nobody has asked for it
}

// keepListing keeps what was listed, from the start to the end; l.mu is held.
func (l *leases) keepListing(h *lease, page *pb.ReadDirReply, entries []DirEntry) {
	l.dropListed(h)
	if h.names == nil {
		return
	}
	kept := &listed{entries: make([]DirEntry, len(entries)), parent: proto.InodeID(page.Parent), since: h.since, ahead: page.Inode != 0}
	if kept.ahead {
		l.walk.given++
	}
	for i, e := range entries {
		kept.attrs = kept.attrs || e.Attr != nil
		e.Attr = nil
		kept.entries[i] = e
		if e.Type == unix.S_IFDIR {
			l.above[e.Inode] = h.ino
		}
	}
	h.names.listed = kept
}

// dropListed forgets a listing; l.mu is held.
func (l *leases) dropListed(h *lease) {
	if h.names == nil || h.names.listed == nil {
		return
	}
	for _, e := range h.names.listed.entries {
		if l.above[e.Inode] == h.ino {
			delete(l.above, e.Inode)
		}
	}
	h.names.listed = nil
}

// listedOf gives the listing of a directory that is kept; l.mu is held.
func (l *leases) listedOf(dir proto.InodeID) *listed {
	kept := l.listedOnce(dir)
	if h := l.held[dir]; kept == nil || h.busy > 0 || h.since != kept.since {
		return nil
	}
	return kept
}

// listedOnce is listedOf where names may have been made or taken away since: it shows the way of a
// walk all the same. l.mu is held.
func (l *leases) listedOnce(dir proto.InodeID) *listed {
	if h := l.usable(dir); h != nil && h.names != nil {
		return h.names.listed
	}
	return nil
}

// listedHere lists a directory, if that can be answered here.
func (c *Client) listedHere(cred Cred, dir proto.InodeID, attrs bool) (DirPage, bool) {
	page, ok := c.leases.listing(cred, dir, attrs)
	if !ok || !attrs {
		return page, ok
	}
	lacking := 0
	for i := range page.Entries {
		if attr, ok := c.cachedAttr(page.Entries[i].Inode); ok {
			page.Entries[i].Attr = &attr
		} else {
			lacking++
		}
	}
	return page, lacking <= len(page.Entries)/4 // of few, the master is asked one by one
}

// listing gives the names of a directory in their order.
func (l *leases) listing(cred Cred, dir proto.InodeID, attrs bool) (page DirPage, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.listedOf(dir)
	if kept == nil || attrs && !kept.attrs && len(kept.entries) > 0 {
		return DirPage{}, false
	}
	if h := l.held[dir]; cred.UID != 0 && !(h.hasAttr && cred.mayRead(&h.attr, 0)) {
		return DirPage{}, false
	}
	if kept.ahead {
		kept.ahead = false
		l.walk.used++
	}
	return DirPage{Entries: append([]DirEntry(nil), kept.entries...), End: true, Parent: kept.parent}, true
}
