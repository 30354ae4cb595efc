package client

import (
	"slices"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// learned takes in the attributes that came with grants in answer to a call, and returns
// them with the unwritten data of this client merged in. began is when the call began.
func (c *Client) learned(began uint64, g *pb.Grants, a *pb.Attr) Attr {
	c.leases.admit(began, g)
	return c.learnedOf(began, g, a)
}

// learnedOf is learned where the grants have been admitted.
func (c *Client) learnedOf(began uint64, g *pb.Grants, a *pb.Attr) Attr {
	attr := attrOf(a)
	c.leases.noteAttr(began, g, &attr)
	return c.merged(attr, false)
}

// merged absorbs attributes of the master and merges what it does not know yet. An
// answer that a commit overtook gives way to what is known since: it lacks bytes that are
// not unwritten any more.
func (c *Client) merged(attr Attr, own bool) Attr {
	if ino := c.lookupOpen(attr.Inode); ino != nil {
		ino.mu.Lock()
		defer ino.mu.Unlock()
		ino.absorb(attr, own)
		attr = ino.merge(ino.attr)
	}
	return c.accesses.show(attr)
}

// noteAttr caches attributes if a lease that came with them covers them; attr.lease is
// that lease then.
func (l *leases) noteAttr(began uint64, g *pb.Grants, attr *Attr) {
	if g == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held[attr.Inode]; h != nil && h.grants == g && began >= h.since {
		h.keepAttr(attr)
	}
}

// keepAttr caches attributes unless newer ones are known; leases.mu is held. What has no
// name any more may go without a recall, unless this client writes to it.
func (h *lease) keepAttr(attr *Attr) {
	if attr.Nlink == 0 && !h.writes() {
		h.hasAttr = false
		return
	}
	if h.hasAttr && h.attr.Change > attr.Change {
		return
	}
	attr.lease = h
	h.attr, h.hasAttr, h.loose = *attr, true, false
}

// attr gives attributes without asking.
func (l *leases) attr(ino proto.InodeID) (Attr, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.usable(ino); h != nil && h.hasAttr {
		return h.attr, true
	}
	return Attr{}, false
}

// cachedAttr is GetAttr where no call is needed.
func (c *Client) cachedAttr(ino proto.InodeID) (Attr, bool) {
	attr, ok := c.leases.attr(ino)
	if !ok {
		return Attr{}, false
	}
	if state := c.lookupOpen(ino); state != nil {
		state.mu.Lock()
		defer state.mu.Unlock()
		if state.attrAt.IsZero() || state.attr.Change < attr.Change {
			state.absorb(attr, true)
		}
		if state.attr.Change > attr.Change {
			attr = state.attr
		}
		attr = state.merge(attr)
	}
	return c.accesses.show(attr), true
}

// askedByKernel tells the extended attributes that the kernel asks for by itself, and
// that look the same to everybody.
func askedByKernel(name string) bool {
	return name == "security.capability" || name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

// lacks tells whether an inode is known not to have an extended attribute.
func (l *leases) lacks(ino proto.InodeID, name string) bool {
	if !askedByKernel(name) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.usable(ino)
	return h != nil && (h.hasAttr && h.attr.Plain || slices.Contains(h.lacking, name))
}

// noteLack notes that an inode has not got an extended attribute. No grant comes with
// that answer: it counts if the lease was there before the call.
func (l *leases) noteLack(began uint64, ino proto.InodeID, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.usable(ino)
	if h != nil && askedByKernel(name) && h.recall == nil && h.granted <= began && began >= h.since && !slices.Contains(h.lacking, name) {
		h.lacking = append(h.lacking, name)
	}
}

// outdated is called when this client changed attributes that the kernel did not ask to
// have changed.
func (l *leases) outdated(ino proto.InodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held[ino]; h != nil {
		l.untell(h)
	}
}
