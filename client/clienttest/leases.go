package clienttest

import (
	"context"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Leases of the master, if Options.LeaseTime is set. A call claims the inodes that it
// changes until it is done: others are granted nothing on them meanwhile. Nobody is
// ended for not answering a recall. Everything is guarded by Cluster.mu.

// holdings are the leases on one inode, by session.
type holdings map[*session]*holding

type holding struct {
	mode  pb.LeaseMode
	asked pb.LeaseMode // what a recall leaves; mode: none is under way
}

// Lease tells what sessions hold on an inode, all taken together.
func (c *Cluster) Lease(ino proto.InodeID) pb.LeaseMode {
	c.mu.Lock()
	defer c.mu.Unlock()
	mode := pb.LeaseMode_LEASE_NONE
	for _, h := range c.leases[uint64(ino)] {
		mode = max(mode, h.mode)
	}
	return mode
}

// Recall asks all sessions for their leases on an inode, as if there were a reason.
func (c *Cluster) Recall(ino proto.InodeID, keep pb.LeaseMode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recall(nil, uint64(ino), keep, false)
}

// touches names the inodes that a request changes, and those that it reads.
func (c *Cluster) touches(req any) (changes, reads []uint64) {
	entry := func(parent uint64, name []byte) uint64 {
		if dir := c.inodes[parent]; dir != nil {
			return dir.entries[string(name)]
		}
		return 0
	}
	switch r := req.(type) {
	case *pb.CreateRequest:
		if ino := entry(r.Parent, r.Name); ino != 0 && r.Truncate {
			return []uint64{ino}, nil
		} else if ino != 0 {
			return nil, []uint64{ino}
		}
		return []uint64{r.Parent}, nil
	case *pb.MkdirRequest:
		return []uint64{r.Parent}, nil
	case *pb.SymlinkRequest:
		return []uint64{r.Parent}, nil
	case *pb.LinkRequest:
		return []uint64{r.Parent, r.Inode}, nil
	case *pb.UnlinkRequest:
		return []uint64{r.Parent, entry(r.Parent, r.Name)}, nil
	case *pb.RenameRequest:
		return []uint64{r.Parent, r.NewParent, entry(r.Parent, r.Name), entry(r.NewParent, r.NewName)}, nil
	case *pb.SetAttrRequest:
		return []uint64{r.Inode}, nil
	case *pb.SetXattrRequest:
		return []uint64{r.Inode}, nil
	case *pb.CommitRequest:
		return []uint64{r.Inode}, nil
	case *pb.FallocateRequest:
		return []uint64{r.Inode}, nil
	case *pb.AssignChunkRequest:
		return []uint64{r.Inode}, nil
	case *pb.AcquireRequest:
		return []uint64{r.Inode}, nil
	case *pb.OpenRequest:
		if r.Flags&unix.O_TRUNC != 0 {
			return []uint64{r.Inode}, nil
		}
		return nil, []uint64{r.Inode}
	case *pb.LookupRequest:
		return nil, []uint64{r.Parent, entry(r.Parent, r.Name)}
	case *pb.ReadDirRequest:
		reads := []uint64{r.Inode}
		if dir := c.inodes[r.Inode]; dir != nil && r.Attrs {
			for _, ino := range dir.entries {
				reads = append(reads, ino)
			}
		}
		return nil, reads
	case *pb.SetLockRequest:
		if c.locksAway(r.Lock.Inode) && r.Lock.Mode != pb.LockMode_LOCK_NONE {
			return nil, []uint64{r.Lock.Inode}
		}
	case *pb.TestLockRequest:
		if c.locksAway(r.Lock.Inode) {
			return nil, []uint64{r.Lock.Inode}
		}
	case interface{ GetInode() uint64 }:
		return nil, []uint64{r.GetInode()}
	}
	return nil, nil
}

// claim waits until nobody else holds a lease in the way of a request; release ends it.
func (c *Cluster) claim(ctx context.Context, s *session, req any) (release func(), err error) {
	if c.opts.LeaseTime == 0 {
		return func() {}, nil
	}
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.returned.Broadcast()
	})
	defer stop()
	for {
		changes, reads := c.touches(req)
		for _, ino := range changes {
			c.claims[ino]++
		}
		release = func() {
			for _, ino := range changes {
				if c.claims[ino]--; c.claims[ino] == 0 {
					delete(c.claims, ino)
				}
			}
		}
		waited := false
		for c.inTheWay(s, changes, pb.LeaseMode_LEASE_NONE) || c.inTheWay(s, reads, pb.LeaseMode_LEASE_SHARED) {
			if ctx.Err() != nil {
				release()
				return nil, ctx.Err()
			}
			waited = true
			c.returned.Wait()
		}
		if !waited {
			return release, nil
		}
		release() // the names may have changed: look again
	}
}

// inTheWay has all leases above keep recalled from others, and tells whether there are any.
func (c *Cluster) inTheWay(s *session, inodes []uint64, keep pb.LeaseMode) (any bool) {
	for _, ino := range inodes {
		any = c.recall(s, ino, keep, false) || any
	}
	return any
}

func (c *Cluster) recall(not *session, ino uint64, keep pb.LeaseMode, unnamed bool) (any bool) {
	for s, h := range c.leases[ino] {
		if s == not || h.mode <= keep {
			continue
		}
		any = true
		if h.asked <= keep {
			continue
		}
		h.asked = keep
		s.recalls++
		r := &pb.Recall{Number: s.recalls, Inodes: []uint64{ino}, Keep: keep, Unnamed: unnamed}
		s.owed[r.Number] = r
		select {
		case s.events <- &pb.SessionEvent{Event: &pb.SessionEvent_Recall{Recall: r}}:
		default:
			panic("clienttest: too many recalls at once")
		}
	}
	return any
}

// giveBack takes in what a client returns.
func (c *Cluster) giveBack(s *session, r *pb.Returned) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ino := range r.OpenedHere {
		s.here[ino] = true
	}
	for _, ino := range r.ClosedHere {
		delete(s.here, ino)
	}
	for _, ino := range r.Inodes {
		if h := c.leases[ino][s]; h != nil {
			h.mode = min(h.mode, r.Keep)
			h.asked = h.mode
			if h.mode == pb.LeaseMode_LEASE_NONE {
				delete(c.leases[ino], s)
			}
		}
	}
	delete(s.owed, r.Number)
	for _, ino := range append(r.Inodes, r.ClosedHere...) {
		if i := c.inodes[ino]; i != nil {
			c.reap(i)
		}
	}
	c.returned.Broadcast()
}

// forgetLeases drops what a session held, and its locks.
func (c *Cluster) forgetLeases(s *session) {
	c.forgetLocks(s)
	for _, held := range c.leases {
		delete(held, s)
	}
	c.returned.Broadcast()
}

// grant adds leases to an answer.
func (c *Cluster) grant(s *session, req, reply any) {
	if c.opts.LeaseTime == 0 || !s.leases {
		return
	}
	g := &pb.Grants{Recalls: s.recalls}
	shared := func(inodes ...uint64) {
		for _, ino := range inodes {
			if c.give(s, ino, pb.LeaseMode_LEASE_SHARED, req) {
				g.Shared = append(g.Shared, ino)
			}
		}
	}
	exclusive := func(ino uint64) {
		if c.give(s, ino, pb.LeaseMode_LEASE_EXCLUSIVE, req) {
			g.Exclusive = append(g.Exclusive, ino)
		} else {
			shared(ino)
		}
	}
	switch a := reply.(type) {
	case *pb.AttrReply:
		a.Grants = g
		shared(a.Attr.GetInode())
		if r, ok := req.(interface{ GetParent() uint64 }); ok {
			shared(r.GetParent())
			a.ParentChange = c.inodes[r.GetParent()].attr.Change
		}
	case *pb.CreateReply:
		a.Grants = g
		exclusive(a.Attr.Inode)
		if r, ok := req.(*pb.CreateRequest); ok {
			shared(r.Parent)
			a.ParentChange = c.inodes[r.Parent].attr.Change
		}
	case *pb.OpenReply:
		a.Grants = g
		if req.(*pb.OpenRequest).Flags&unix.O_ACCMODE != unix.O_RDONLY {
			exclusive(a.Attr.Inode)
		} else {
			shared(a.Attr.Inode)
		}
	case *pb.AcquireReply:
		a.Grants = g
		exclusive(a.Attr.Inode)
	case *pb.ReadDirReply:
		r := req.(*pb.ReadDirRequest)
		a.Grants, a.Change = g, c.inodes[r.Inode].attr.Change
		shared(r.Inode)
		a.Also = slices.DeleteFunc(a.Also, func(page *pb.ReadDirReply) bool {
			page.Change = c.inodes[page.Inode].attr.Change
			had := len(g.Shared)
			shared(page.Inode)
			return len(g.Shared) == had
		})
		for _, page := range append(a.Also, a) {
			for _, e := range page.Entries {
				if r.Attrs {
					shared(e.Inode)
				}
			}
		}
	case *pb.ReadLinkReply:
		a.Grants = g
		shared(req.(*pb.ReadLinkRequest).Inode)
	case *pb.UnlinkReply:
		a.ParentChange = c.inodes[req.(*pb.UnlinkRequest).Parent].attr.Change
	case *pb.RenameReply:
		r := req.(*pb.RenameRequest)
		a.ParentChange, a.NewParentChange = c.inodes[r.Parent].attr.Change, c.inodes[r.NewParent].attr.Change
	}
}

// give grants a lease if nobody else's, and no claim of others, is in its way.
func (c *Cluster) give(s *session, ino uint64, mode pb.LeaseMode, req any) bool {
	if ino == 0 || c.inodes[ino] == nil {
		return false
	}
	changes, _ := c.touches(req)
	own := 0
	if slices.Contains(changes, ino) {
		own = 1
	}
	_, acquires := req.(*pb.AcquireRequest)
	if c.claims[ino] > own && !acquires { // who acquires has waited for his turn
		return false
	}
	for other, h := range c.leases[ino] {
		if other != s && (mode == pb.LeaseMode_LEASE_EXCLUSIVE || h.mode == pb.LeaseMode_LEASE_EXCLUSIVE) {
			return false
		}
	}
	held := c.leases[ino]
	if held == nil {
		held = holdings{}
		c.leases[ino] = held
	}
	h := held[s]
	if h == nil {
		h = &holding{}
		held[s] = h
	}
	if h.asked < h.mode { // it is being recalled
		return false
	}
	h.mode = max(h.mode, mode)
	h.asked = h.mode
	return true
}

// Acquire implements pb.MasterServer.
func (c *Cluster) Acquire(_ context.Context, r *pb.AcquireRequest) (*pb.AcquireReply, error) {
	i, err := c.inode(r.Inode)
	if err != nil {
		return nil, err
	}
	return &pb.AcquireReply{Attr: i.copyAttr()}, nil
}

// askAgain has recalls sent that were not answered on a stream before.
func (c *Cluster) askAgain(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(s.events) > 0 {
		<-s.events
	}
	for _, r := range s.owed {
		s.events <- &pb.SessionEvent{Event: &pb.SessionEvent_Recall{Recall: r}}
	}
}
