package client

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// reopen is called when a new session took the place of an expired one. Files
// with unwritten data or locks get an error that sticks; all are opened again, so that
// the master keeps them when they are unlinked.
func (c *Client) reopen() {
	for _, i := range c.holdOpen() {
		i.expireWrites()
		if c.locks.takeLost(i.id) {
			i.mu.Lock()
			i.fail(proto.E(proto.SessionExpired, "keep a lock on", inodeName(i.id), "the session ended, and another client may have the lock"))
			i.mu.Unlock()
		}
		_, err := c.sendOpen(c.background, Cred{}, i.id, unix.O_RDWR)
		switch proto.KindOf(err) {
		case proto.Stale, proto.NotFound:
			i.mu.Lock()
			i.lost = &proto.Error{Kind: proto.Stale, Op: "reopen", Subject: inodeName(i.id), Detail: "it was removed while the session was gone", Err: err}
			i.mu.Unlock()
		}
		c.giveBack(i)
	}
}

// holdOpen holds every inode that a File is open of.
func (c *Client) holdOpen() []*inode {
	c.inodesMu.Lock()
	defer c.inodesMu.Unlock()
	var open []*inode
	for _, i := range c.inodes {
		i.mu.Lock()
		if len(i.files) > 0 {
			i.refs++
			open = append(open, i)
		}
		i.mu.Unlock()
	}
	return open
}

// releaseClosed tells the master in the background, in batches, which files are
// not open any more, and what was read.
func (c *Client) releaseClosed() {
	lazy := time.NewTicker(accessDelay)
	defer lazy.Stop()
	for {
		select {
		case <-c.sessions.releases:
			_ = wait(c.background, releaseDelay) // more may come
		case <-lazy.C:
		case <-c.background.Done():
			return
		}
		for c.releaseBatch(c.background) {
		}
	}
}

// releaseLast tells the master what was read, before the session ends; not for long,
// if it is away.
func (c *Client) releaseLast() {
	ctx, cancel := context.WithTimeout(c.background, goodbyeWait)
	defer cancel()
	for len(c.accesses.batch(1)) > 0 && c.releaseBatch(ctx) {
	}
}

// releaseBatch sends one batch and tells whether to go on at once.
func (c *Client) releaseBatch(ctx context.Context) bool {
	if c.accesses.reporting.acquire(ctx, "release") != nil {
		return false
	}
	defer c.accesses.reporting.release()
	ticket := c.sessions.ticket()
	session, batch := c.sessions.releasable()
	accessed := c.accesses.batch(releaseBatch)
	if len(batch) == 0 && len(accessed) == 0 || ctx.Err() != nil {
		return false
	}
	began := c.leases.begin()
	_, _, err := change(ctx, c, Cred{}, "release", "", func(ctx context.Context, who *pb.Caller) (*pb.ReleaseReply, error) {
		request := &pb.ReleaseRequest{Caller: who, Closed: batch, Accessed: accessed}
		if who.Session != uint64(session) {
			request.Closed = nil // those opens have gone with their session
		}
		return c.master.Release(ctx, request)
	})
	if err != nil && transient(proto.KindOf(err)) {
		return true // whatever was counted: the next Hello sets it right
	}
	c.sessions.released(session, batch, ticket)
	c.leases.accessed(began, Atime(c.accesses.mode.Load()), accessed)
	c.accesses.reported(accessed)
	return len(batch) == releaseBatch || len(accessed) == releaseBatch // what came meanwhile is not alone for long
}
