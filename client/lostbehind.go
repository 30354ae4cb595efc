package client

import (
	"context"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Changes that were answered and cannot be carried out any more: the session ended before
// the master had them, as happens when it is out of reach for longer than the lease time.
// The files and directories that they were of report it at their next sync, and it is
// logged.

const (
	maxLostLogged = 16      // one by one
	maxLostDirs   = 1 << 12 // that report
)

// loseBehind is called when the master did not carry a change out.
func (c *Client) loseBehind(round uint64, err error) {
	l := c.leases
	l.mu.Lock()
	if c.behind.last().round != round {
		l.mu.Unlock()
		return
	}
	lost := c.behind.lose(false)
	for _, h := range l.held { // what is cached was changed by them
		if h.writes() {
			l.untell(h)
			l.unlearn(h)
		}
	}
	l.mu.Unlock()
	c.reportLost(lost, err)
}

// loseSession is called when the session has ended; leases.mu is held.
func (c *Client) loseSession() {
	lost := c.behind.lose(true)
	if len(lost) > 0 {
		go c.reportLost(lost, proto.E(proto.SessionExpired, "change names", "", "the session ended before the master had the change"))
	}
}

func (c *Client) reportLost(lost []*pb.ChangeBehind, err error) {
	c.opts.Logger.Error("changes of names are lost that were answered already", "count", len(lost), "error", err)
	for k, change := range lost {
		if k < maxLostLogged {
			c.opts.Logger.Error("lost", "change", change.Kind.String(), "inode", change.Inode, "directory", change.Parent, "name", string(change.Name))
		}
		c.behind.mustReport(proto.InodeID(change.Parent), err)
		c.behind.mustReport(proto.InodeID(change.NewParent), err)
		if i := c.holdIfOpen(proto.InodeID(change.Inode)); i != nil {
			i.mu.Lock()
			i.fail(err)
			i.mu.Unlock()
			c.giveBack(i)
		}
	}
}

func (b *behind) mustReport(dir proto.InodeID, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if dir == 0 || len(b.lost) >= maxLostDirs {
		return
	}
	if b.lost == nil {
		b.lost = map[proto.InodeID]error{}
	}
	b.lost[dir] = err
}

// SyncDir is fsync(2) of a directory: all that was done to its names is durable. What was
// lost is reported once.
func (c *Client) SyncDir(ctx context.Context, dir proto.InodeID) error {
	if err := c.settleNames(ctx); err != nil {
		return err
	}
	b := c.behind
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.lost[dir]
	delete(b.lost, dir)
	return err
}

// syncNames is SyncDir of all directories.
func (c *Client) syncNames(ctx context.Context) error {
	if err := c.settleNames(ctx); err != nil {
		return err
	}
	b := c.behind
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, err := range b.lost {
		b.lost = nil
		return err
	}
	return nil
}

// settleNames waits until what was changed is durable, as long as a call may take.
func (c *Client) settleNames(ctx context.Context) error {
	p := c.newPatience(ctx)
	defer p.cancel()
	if err := c.behind.settle(p.ctx); err != nil {
		return p.spent("sync names", "", err)
	}
	return nil
}
