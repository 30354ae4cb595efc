package client

import (
	"context"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// maxRefusals is how often an exclusive lease is asked for that the master, having no
// room for more leases, does not grant.
const maxRefusals = 20

// acquisition is a call for an exclusive lease that is under way. Guarded by leases.mu.
type acquisition struct {
	done bool
	got  *lease // granted, and pinned for who acquires it
}

// exclusive waits for the exclusive lease on an inode and keeps it from being given back
// until release is called. mapped: the bytes come from pages that were changed through a
// mapping; the recall that has them written back waits for them. held is false if the
// master grants none: then what is written is to be committed at once.
func (c *Client) exclusive(ctx context.Context, ino proto.InodeID, mapped bool) (release func(), held bool, err error) {
	l := c.leases
	if !l.enabled() {
		return func() {}, true, nil
	}
	limited, cancel := context.WithTimeout(ctx, c.opts.IOTimeout)
	defer cancel()
	defer context.AfterFunc(limited, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changed.Broadcast()
	})()
	l.mu.Lock()
	defer l.mu.Unlock()
	for refusals := 0; limited.Err() == nil; {
		h := l.held[ino]
		if !l.enabledLocked() {
			return func() {}, true, nil
		}
		switch {
		case h != nil && h.recall != nil && !(mapped && h.writes() && !h.recall.sealed):
			h.recall.waiting++
			r := h.recall
			l.changed.Broadcast()
			for h.recall == r && limited.Err() == nil {
				l.changed.Wait()
			}
			r.waiting--
		case h != nil && h.writes() && l.validFor(h):
			return l.pin(h), true, nil
		case h != nil && h.writes() || l.suspended:
			l.changed.Wait() // for the master
		case l.acquiring[ino] != nil:
			a := l.acquiring[ino]
			for !a.done && limited.Err() == nil {
				l.changed.Wait()
			}
		default:
			got, refused, err := c.acquireLease(limited, ino)
			switch {
			case err != nil:
				return nil, false, err
			case refused:
				if refusals++; refusals > maxRefusals {
					return func() {}, false, nil
				}
				l.mu.Unlock()
				err := wait(limited, retryMin)
				l.mu.Lock()
				if err != nil {
					continue
				}
			case got != nil:
				return l.unpinner(got), true, nil
			}
		}
	}
	if ctx.Err() != nil {
		return nil, false, interrupted(ctx, "acquire lease")
	}
	return nil, false, proto.E(proto.Timeout, "acquire lease", inodeName(ino), "gave up after io-timeout; another client does not give it back, or the master does not answer")
}

func (h *lease) writes() bool { return h.mode == pb.LeaseMode_LEASE_EXCLUSIVE }

// pin keeps a lease for a writer; l.mu is held.
func (l *leases) pin(h *lease) (release func()) {
	l.used.MoveToFront(h.elem)
	h.pins++
	return l.unpinner(h)
}

func (l *leases) unpinner(h *lease) func() {
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if h.pins--; h.pins == 0 {
			l.changed.Broadcast()
		}
	}
}

// acquireLease asks the master for an exclusive lease, which is pinned when it comes: so
// each grant serves one write at least. got is nil if it was recalled before it came.
// l.mu is held, and let go meanwhile.
func (c *Client) acquireLease(ctx context.Context, ino proto.InodeID) (got *lease, refused bool, err error) {
	l := c.leases
	a := &acquisition{}
	l.acquiring[ino] = a
	l.changed.Broadcast() // a recall of a shared lease does not wait for us
	began := l.clock
	l.mu.Unlock()
	reply, err := c.sendAcquire(ctx, ino)
	if err == nil {
		c.merged(attrOf(reply.Attr), false) // what others did comes before anybody relies on the lease
		c.learned(began, reply.Grants, reply.Attr)
	}
	l.mu.Lock()
	delete(l.acquiring, ino)
	a.done = true
	l.changed.Broadcast()
	refused = err == nil && a.got == nil && (len(reply.GetGrants().GetExclusive()) == 0 || l.distrusted.has(ino))
	return a.got, refused, err
}

// sendAcquire waits as long as ctx: the master answers when all others have given theirs back.
func (c *Client) sendAcquire(ctx context.Context, ino proto.InodeID) (*pb.AcquireReply, error) {
	return ask(ctx, c, Cred{}, "acquire lease on", inodeName(ino), func(ctx context.Context, who *pb.Caller) (*pb.AcquireReply, error) {
		return c.master.Acquire(ctx, &pb.AcquireRequest{Caller: who, Inode: uint64(ino), Mode: pb.LeaseMode_LEASE_EXCLUSIVE})
	})
}

// setCaches names who is told of recalls.
func (l *leases) setCaches(caches Caches) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.caches = caches
}
