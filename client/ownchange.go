package client

import (
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// ownChange is a change by this client under way at the master: its own leases are not
// recalled for it, so what is cached of the inodes it is about has to follow.
type ownChange struct {
	l      *leases
	inodes []proto.InodeID
	leases []*lease // that were held when it began; nil: none
	began  uint64
	modes  bool // it may change what Find answers of a directory
}

// changingModes is changing for a change of attributes.
func (l *leases) changingModes(ino proto.InodeID) *ownChange {
	o := l.changing(ino)
	o.modes = true
	return o
}

// changing is called before a change of these inodes is sent.
func (l *leases) changing(inodes ...proto.InodeID) *ownChange {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := &ownChange{l: l, inodes: inodes, began: l.clock}
	for _, ino := range inodes {
		h := l.held[ino]
		if h != nil {
			h.busy++
		}
		o.leases = append(o.leases, h)
	}
	return o
}

// ended is called with the outcome. What is known of the inodes by earlier answers is
// forgotten; where the outcome is not known, nothing is cached for a while.
func (o *ownChange) ended(g *pb.Grants, err error) {
	l := o.l
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range o.leases {
		if h != nil {
			h.busy--
		}
	}
	if err != nil && transient(proto.KindOf(err)) {
		l.distrust(o.inodes...)
		return
	}
	if g != nil {
		l.admitLocked(o.began, g)
	}
	if err != nil {
		return
	}
	for _, ino := range o.inodes {
		l.forgetAttr(ino, o.modes)
	}
}

// forgetAttr is called when this client changed an inode and attributes that were asked
// for before may be older than that; l.mu is held.
func (l *leases) forgetAttr(ino proto.InodeID, modes bool) {
	if h := l.held[ino]; h != nil {
		l.clock++
		if modes {
			h.lacking = nil
		}
		h.loose = (h.loose || h.hasAttr && h.attr.isDir()) && !modes
		h.hasAttr, h.since = false, l.clock
	}
}

// forget is forgetAttr for an inode that only the answer named.
func (o *ownChange) forget(ino proto.InodeID) {
	o.l.mu.Lock()
	defer o.l.mu.Unlock()
	o.l.forgetAttr(ino, false)
}

// attr caches what the answer says of an inode.
func (o *ownChange) attr(g *pb.Grants, attr *Attr) {
	l := o.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held[attr.Inode]; h != nil && (g != nil && h.grants == g || o.held(h)) {
		h.keepAttr(attr)
	}
}

// held tells whether a lease has been held since before the change; leases.mu is held.
func (o *ownChange) held(h *lease) bool {
	for _, old := range o.leases {
		if old == h {
			return true
		}
	}
	return false
}

// name notes that a name of a directory stands for an inode, or for none (0), as of a
// state of the directory that this change made. change 0: not known.
func (o *ownChange) name(g *pb.Grants, dir proto.InodeID, name string, ino proto.InodeID, change uint64) {
	l := o.l
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held[dir]
	switch {
	case h == nil:
	case change == 0 || !o.held(h) && (g == nil || h.grants != g):
		l.dropNames(h)
	default:
		l.putName(h, name, ino, change)
	}
}

// made notes a directory that this change has made: it has no names.
func (o *ownChange) made(g *pb.Grants, attr *Attr) {
	l := o.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held[attr.Inode]; h != nil && g != nil && h.grants == g {
		l.completeNames(h, attr.Change)
	}
}

// learnedOwn takes in the attributes that a change of this client was answered with.
func (c *Client) learnedOwn(o *ownChange, g *pb.Grants, a *pb.Attr) Attr {
	attr := attrOf(a)
	o.attr(g, &attr)
	c.locations.ownChange(attr.Inode, attr.Change)
	return c.merged(attr, true)
}
