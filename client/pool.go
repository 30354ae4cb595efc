package client

import (
	"context"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Inodes that are reserved at the master, so that what is made of them cannot fail. They
// are this client's, exclusive, and open at the master, from then on.

const (
	poolMin = 128
	poolMax = 512
)

// pool are reserved inodes. Guarded by leases.mu.
type pool struct {
	files  []reservedFile
	others []proto.InodeID
	asking bool
	want   uint32        // how many of each are to be there
	clock  time.Duration // by which the master's clock is ahead of this machine's
}

// reservedFile is one for a file, with its first chunk.
type reservedFile struct {
	ino   proto.InodeID
	first location
}

// takeFile gives an inode for a file, if there is one; l.mu is held.
func (l *leases) takeFile() (r reservedFile, ok bool) {
	p := &l.pool
	defer l.fillPool()
	if len(p.files) == 0 {
		return reservedFile{}, false
	}
	r, p.files = p.files[0], p.files[1:]
	return r, true
}

// takeOther gives an inode for anything else; 0: there is none. l.mu is held.
func (l *leases) takeOther() (ino proto.InodeID) {
	p := &l.pool
	defer l.fillPool()
	if len(p.others) > 0 {
		ino, p.others = p.others[0], p.others[1:]
	}
	return ino
}

// fillPool has more reserved when few are left; l.mu is held.
func (l *leases) fillPool() {
	p := &l.pool
	p.want = max(p.want, poolMin)
	if p.asking || l.reserve == nil || len(p.files) > int(p.want/2) && len(p.others) > int(p.want/2) {
		return
	}
	p.asking = true
	request := &pb.ReserveRequest{Files: p.want - min(p.want, uint32(len(p.files))), Others: p.want - min(p.want, uint32(len(p.others)))}
	p.want = min(2*p.want, poolMax)
	l.reserve(request)
}

// awaitPool waits for a pool that is being filled, if a directory is exclusive and that may
// be all that is missing.
func (l *leases) awaitPool(ctx context.Context, dir proto.InodeID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := &l.pool; !p.asking || len(p.files) > 0 && len(p.others) > 0 || l.owned(dir) == nil {
		return false
	}
	defer context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changed.Broadcast()
	})()
	for l.pool.asking && ctx.Err() == nil {
		l.changed.Wait()
	}
	return ctx.Err() == nil
}

// reserve asks the master, in the background.
func (c *Client) reserve(request *pb.ReserveRequest) {
	l := c.leases
	began := l.begin()
	ticket := c.sessions.ticket()
	var on *session
	asked := time.Now()
	reply, err := c.sendReserve(request, &on)
	took := time.Since(asked)
	ours := err == nil && c.sessions.reserved(on, reply, ticket)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pool.asking = false
	l.changed.Broadcast()
	if err != nil {
		c.opts.Logger.Debug("reserve inodes", "error", err)
		if proto.KindOf(err) != proto.TooFewReplicas { // then none was
			c.openFailed(err)
		}
	}
	if !ours {
		return
	}
	ahead := time.Unix(reply.Sec, int64(reply.Nsec)).Sub(asked.Add(took / 2))
	if ahead.Abs() <= took {
		ahead = 0 // as far as can be told
	}
	l.pool.clock = ahead
	l.stock(reply, began >= l.oldest)
}

func (c *Client) sendReserve(request *pb.ReserveRequest, on **session) (*pb.ReserveReply, error) {
	s, err := c.sessions.get(c.background)
	if err != nil {
		return nil, err
	}
	*on = s
	ctx, cancel := context.WithTimeout(c.background, attemptTimeout)
	defer cancel()
	request.Caller = c.caller(s, Cred{})
	reply, err := c.master.Reserve(ctx, request)
	return reply, proto.FromStatus(err)
}

// stock takes in what was reserved and granted, if the grants are good, and gives the rest back;
// l.mu is held.
func (l *leases) stock(reply *pb.ReserveReply, good bool) {
	granted := make(map[proto.InodeID]bool, len(reply.Grants.GetExclusive()))
	for _, ino := range reply.Grants.GetExclusive() {
		granted[proto.InodeID(ino)] = good && !l.recalls.voids(proto.InodeID(ino), reply.Grants.Recalls)
	}
	var unused []proto.InodeID
	for k, id := range reply.Files {
		if ino := proto.InodeID(id); granted[ino] && k < len(reply.Chunks) {
			l.pool.files = append(l.pool.files, reservedFile{ino, locationOf(reply.Chunks[k])})
		} else {
			unused = append(unused, ino)
		}
	}
	for _, id := range reply.Others {
		if ino := proto.InodeID(id); granted[ino] {
			l.pool.others = append(l.pool.others, ino)
		} else {
			unused = append(unused, ino)
		}
	}
	if len(unused) > 0 {
		l.unreserve(unused)
	}
}

// each calls fn for the inodes of the pool.
func (p *pool) each(fn func(proto.InodeID)) {
	for _, r := range p.files {
		fn(r.ino)
	}
	for _, ino := range p.others {
		fn(ino)
	}
}

// drop takes an inode out of the pool, if it is there: its lease is wanted back.
func (p *pool) drop(ino proto.InodeID) bool {
	for k, r := range p.files {
		if r.ino == ino {
			p.files = append(p.files[:k:k], p.files[k+1:]...)
			return true
		}
	}
	for k, other := range p.others {
		if other == ino {
			p.others = append(p.others[:k:k], p.others[k+1:]...)
			return true
		}
	}
	return false
}

// unreserve has inodes of which nothing will be made closed at the master.
func (c *Client) unreserve(inodes []proto.InodeID) {
	for _, ino := range inodes {
		c.sessions.close(ino)
	}
}
