package client

import (
	"context"
	"slices"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Recalls. The master wants a lease back, because another client is about to do what it
// excludes. The kernel forgets what it was told; writers under way end; what is unwritten
// is written and committed; then the master is answered.
//
// Nothing that the kernel asks for waits for a recall while it needs no more than what is
// held: reads are answered from what is known until the lease is gone, and so are writes
// of pages that the recall has the kernel write back. Other writers wait, and hold locks
// on pages meanwhile; so as soon as there is one, the recall does not wait for pages any
// more. Then the kernel forgets them a little later, when the writer has gone on; until
// then it asks for attributes before it reads them, and sees that they have changed.

const (
	maxCarriedOut = 64 // recalls at a time
	// settleTime is how long an answer may take from its handler to the kernel. The
	// kernel ignores attributes that were on their way to it when it was told to forget
	// those of an inode it knows. One that it does not know yet it would take in.
	settleTime = 2 * time.Millisecond
)

// recall is one being carried out. Guarded by leases.mu.
type recall struct {
	number  uint64
	keep    pb.LeaseMode
	sealed  bool // what is written now is not committed by it any more
	lost    bool // the lease is gone: there is nobody to answer
	waiting int  // writers
}

// recalled takes a message of the master in.
func (l *leases) recalled(r *pb.Recall) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var at, unused []proto.InodeID
	var unnamed []*lease
	for _, id := range r.Inodes {
		ino := proto.InodeID(id)
		l.recalls.note(ino, r.Number)
		h := l.held[ino]
		switch {
		case h == nil || h.mode <= r.Keep && h.recall == nil:
			if l.pool.drop(ino) {
				unused = append(unused, ino)
			}
			at = append(at, ino)
		case h.recall != nil: // asked for once more, or for more
			h.recall.number = r.Number
			h.recall.keep = min(h.recall.keep, r.Keep)
		case r.Unnamed:
			h.recall = &recall{number: r.Number, keep: r.Keep}
			unnamed = append(unnamed, h)
		default:
			if h.writes() {
				l.contested.add(ino)
			}
			h.recall = &recall{number: r.Number, keep: r.Keep}
			l.carryOut(h)
		}
	}
	if len(at) > 0 {
		l.giveBack(r.Number, r.Keep, at...)
	}
	if len(unused) > 0 {
		l.unreserve(unused)
	}
	if len(unnamed) > 0 {
		l.letGo(unnamed)
	}
	l.changed.Broadcast()
}

// letGo carries recalls of inodes out that have no name at the master. Of those that are not
// open nothing is unwritten, and nobody looks at what the kernel has: only what was changed
// here has to be carried out before. One that was reserved may have a name here by now.
func (c *Client) letGo(list []*lease) {
	l := c.leases
	list = slices.DeleteFunc(list, func(h *lease) bool {
		needed := c.lookupOpen(h.ino) != nil || l.hasLocks(h) || l.isNamed(h)
		if needed {
			l.carryOut(h)
		}
		return needed
	})
	c.behind.settleAlways()
	l.mu.Lock()
	defer l.mu.Unlock()
	gone := map[uint64][]proto.InodeID{} // by recall
	for _, h := range list {
		for h.pins > 0 {
			l.changed.Wait()
		}
		l.remove(h)
		if !h.recall.lost {
			gone[h.recall.number] = append(gone[h.recall.number], h.ino)
		}
		h.recall = nil
	}
	for number, inodes := range gone {
		l.giveBack(number, pb.LeaseMode_LEASE_NONE, inodes...)
	}
	l.changed.Broadcast()
}

func (l *leases) isNamed(h *lease) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return h.hasAttr && h.attr.Nlink > 0
}

// carryOut does what a recall asks for, and answers it.
func (c *Client) carryOut(h *lease) {
	select {
	case c.recalls <- struct{}{}:
		defer func() { <-c.recalls }()
	case <-c.background.Done():
		return
	}
	l := c.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		keep := h.recall.keep
		if keep == pb.LeaseMode_LEASE_NONE {
			l.forgetAbove(h)
		}
		for h.pins > 0 {
			l.changed.Wait()
		}
		if h.mode == pb.LeaseMode_LEASE_EXCLUSIVE && !h.recall.lost {
			h.recall.sealed = true
			l.mu.Unlock()
			c.writeBack(h.ino)
			c.behind.settleAlways()
			l.mu.Lock()
			c.leaveLocks(h)
		}
		if h.recall.keep == keep || c.background.Err() != nil {
			break // and was not asked for more meanwhile
		}
	}
	if keep := h.recall.keep; keep == pb.LeaseMode_LEASE_NONE || h.recall.lost {
		l.mu.Unlock()
		c.forgetPlaces(h.ino)
		l.mu.Lock()
		l.remove(h)
		l.endRecall(h)
	} else {
		h.mode = keep
		h.spell++
		h.listing = listing{}
		l.endRecall(h)
	}
}

// forgetAbove has the kernel forget an inode; l.mu is held, and let go meanwhile.
func (l *leases) forgetAbove(h *lease) {
	l.forgetNames(h)
	told, toldAt, caches := h.told, h.toldAt, l.caches
	pages := !h.hasAttr || h.attr.isRegular()
	h.told = false
	l.mu.Unlock()
	caches.DropAttrs(h.ino)
	if left := settleTime - time.Since(toldAt); told && left > 0 {
		time.Sleep(left)
		caches.DropAttrs(h.ino)
	}
	dropped := !pages
	if pages {
		go func() {
			caches.DropPages(h.ino)
			l.mu.Lock()
			defer l.mu.Unlock()
			dropped = true
			l.changed.Broadcast()
		}()
	}
	l.mu.Lock()
	for !dropped && h.recall.waiting == 0 && l.acquiring[h.ino] == nil {
		l.changed.Wait()
	}
}

// writeBack brings what is unwritten of a file to its chunkservers and the master.
// Failures stick to the open files (L10).
func (c *Client) writeBack(ino proto.InodeID) {
	i := c.holdIfOpen(ino)
	if i == nil {
		return
	}
	defer c.giveBack(i)
	for delay := retryMin; ; delay = min(2*delay, retryMax) {
		err := i.flush(c.background, false)
		i.mu.Lock()
		done := i.lost != nil || !i.unfinished(false)
		i.mu.Unlock()
		if done || wait(c.background, delay) != nil {
			return
		}
		c.opts.Logger.Warn("write back for another client: trying on", "inode", uint64(ino), "error", err)
	}
}

// forgetPlaces forgets where the chunks of a file are: others may take them from it.
func (c *Client) forgetPlaces(ino proto.InodeID) {
	c.locations.dropFrom(ino, 0)
	i := c.holdIfOpen(ino)
	if i == nil {
		return
	}
	defer c.giveBack(i)
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, st := range i.streams {
		i.durable = false // so a sync finds again what was written here
		st.uproot()
	}
}

// endRecall answers a recall, and wakes who waited for it; l.mu is held.
func (l *leases) endRecall(h *lease) {
	r := h.recall
	h.recall = nil
	if !r.lost {
		l.giveBack(r.number, r.keep, h.ino)
	}
	l.changed.Broadcast()
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
