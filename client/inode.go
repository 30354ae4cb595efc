package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distrifs/distrifs/proto"
)

// token is a lock that is held across calls to servers; waiting for it can be interrupted.
type token chan struct{}

func newToken() token { return make(token, 1) }

func (t token) acquire(ctx context.Context, op string) error {
	select {
	case t <- struct{}{}:
		return nil
	default:
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return interrupted(ctx, op)
	}
}

func (t token) release() { <-t }

// try is acquire where nobody has the token.
func (t token) try() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

func interrupted(ctx context.Context, op string) error {
	return &proto.Error{Kind: proto.KindOf(ctx.Err()), Op: op}
}

// inode is what all open files of one inode of this client share: its size, its
// unwritten data and its errors. The package comment has the order of locks.
type inode struct {
	c    *Client
	id   proto.InodeID
	refs int // holders; c.inodesMu

	writing    token // one write or truncation at a time
	committing token // one commit, sync or truncation at a time
	locking    token // one request for a lock at a time

	holes atomic.Uint64 // places without bytes that reads met

	mu      sync.Mutex
	changed signal // of streams and failures

	files  map[*File]struct{}
	attr   Attr      // as the master answered last
	attrAt time.Time // when; zero: never

	end        int64      // where unwritten and uncommitted bytes end; 0: there are none
	ackedEnd   int64      // the same of those that are on their whole chains
	mtime      time.Time  // of the last write
	mtimeDirty bool       // the master does not know mtime
	writer     Cred       // who wrote last: the master takes set-id bits off on that account
	content    uint64     // raised when bytes may differ from what was read ahead
	fetched    *aheadFile // what was read before it was opened; nil: nothing
	durable    bool       // all of the file but what the streams know of is on stable storage

	streams    map[uint64]*stream // chunks with something unwritten, uncommitted or unsynced, by index
	sealed     uint64             // runs sealed so far: the seq of the last
	lastWrite  int64              // where the last write ended: to recognise sequential writers
	nextAssign uint64             // index behind the last chunks assigned
	ahead      uint32             // chunks to assign ahead when a writer goes on there
	delayed    bool               // a timer runs that will seal what gathers

	behind mark // the last change of the file that was answered here and may not have arrived
	made   mark // likewise, the one that made it

	unsure   bool      // a copy that shares chunks may still be under way; the writing token
	unshared time.Time // when chunks could not be shared last; the writing token

	failure  error  // the last error of writing
	failures uint64 // how many there were
	lost     error  // the inode is gone at the master
}

// acquire finds or makes the state of an inode and holds it until giveBack.
func (c *Client) acquire(id proto.InodeID) *inode {
	c.inodesMu.Lock()
	defer c.inodesMu.Unlock()
	i := c.inodes[id]
	if i == nil {
		i = &inode{
			c: c, id: id,
			writing: newToken(), committing: newToken(), locking: newToken(),
			files:   map[*File]struct{}{},
			streams: map[uint64]*stream{},
			fetched: c.takeFetched(id),
		}
		i.changed.mu = &i.mu
		c.inodes[id] = i
	}
	i.refs++
	return i
}

// giveBack lets the state of an inode go. The last holder drops it with what
// could not be written, which has been reported, releases the master's opens, and has it hear
// of reads.
// An open that is under way is a holder too: its count is not given back.
func (c *Client) giveBack(i *inode) {
	c.inodesMu.Lock()
	defer c.inodesMu.Unlock()
	if i.refs--; i.refs > 0 {
		return
	}
	delete(c.inodes, i.id)
	i.mu.Lock()
	i.abandon()
	i.mu.Unlock()
	i.forgetFetched()
	c.shortcuts.forget(i.id)
	c.sessions.close(i.id)
	if c.accesses.untold(i.id) {
		c.sessions.release()
	}
}

// holdIfOpen holds the state of an inode, if there is one.
func (c *Client) holdIfOpen(id proto.InodeID) *inode {
	c.inodesMu.Lock()
	defer c.inodesMu.Unlock()
	i := c.inodes[id]
	if i != nil {
		i.refs++
	}
	return i
}

// lookupOpen finds the state of an inode, if there is one.
func (c *Client) lookupOpen(id proto.InodeID) *inode {
	c.inodesMu.RLock()
	defer c.inodesMu.RUnlock()
	return c.inodes[id]
}

// size of the file, unwritten data included; i.mu is held.
func (i *inode) size() int64 { return max(int64(i.attr.Size), i.end) }

// absorb takes in attributes from the master unless newer ones are there; own
// tells that a change of this client made them. i.mu is held.
func (i *inode) absorb(attr Attr, own bool) {
	if attr.Change < i.attr.Change && !i.attrAt.IsZero() {
		return
	}
	foreign := !own && !i.attrAt.IsZero() && attr.Change != i.attr.Change
	i.attr = attr
	i.attrAt = time.Now()
	if !foreign {
		return
	}
	if !i.c.locations.saw(i.id, attr.Change, i.c.locations.asking()) {
		i.content++
	}
	for _, st := range i.streams { // another client may have cut off what they wrote to
		if !st.working && !st.uncommitted {
			i.durable = false // so a sync finds again what was written here
			st.uproot()
		}
	}
}

// merge puts what the master does not know yet into attributes; i.mu is held.
func (i *inode) merge(attr Attr) Attr {
	attr.Blocks += i.unknownBlocks(int64(attr.Size))
	attr.Size = max(attr.Size, uint64(max(i.end, 0)))
	if i.mtimeDirty {
		attr.Mtime = i.mtime
		if i.mtime.After(attr.Ctime) {
			attr.Ctime = i.mtime
		}
	}
	return attr
}

// unknownBlocks is what the chunks with unwritten and uncommitted bytes will add to
// st_blocks of a file that has that size at the master; i.mu is held.
func (i *inode) unknownBlocks(size int64) (blocks uint64) {
	whole := max(size, i.end)
	for _, st := range i.streams {
		base := int64(st.index) * i.c.chunkSize
		counted := int64(0)
		switch known, _ := i.c.locations.assigned(i.id, st.index); {
		case st.loc.committed || known.committed:
			counted = heldIn(size - base)
		case !st.uncommitted && st.gathering == nil && len(st.kept) == 0:
			continue
		}
		if more := min(heldIn(whole-base), i.c.chunkSize) - min(counted, i.c.chunkSize); more > 0 {
			blocks += uint64(more / 512)
		}
	}
	return blocks
}

// heldIn is how many bytes a chunk takes that holds so many of the file, in whole blocks.
func heldIn(bytes int64) int64 {
	return (max(bytes, 0) + proto.BlockSize - 1) / proto.BlockSize * proto.BlockSize
}

// forgetMtime is called when a time was set explicitly: it stands, not that of
// the writes before it.
func (c *Client) forgetMtime(id proto.InodeID) {
	if i := c.lookupOpen(id); i != nil {
		i.mu.Lock()
		i.mtimeDirty = false
		i.mu.Unlock()
	}
}

// accessed notes that the file was read.
func (i *inode) accessed() {
	i.mu.Lock()
	attr := i.merge(i.attr)
	i.mu.Unlock()
	i.c.accesses.note(i.id, &attr, time.Now())
}

// refresh asks the master for the attributes unless a lease covers them or, without
// leases, they are younger than cacheTTL.
func (i *inode) refresh(ctx context.Context) error {
	leased := i.c.leases.enabled()
	covered := leased && i.c.leases.covers(i.id)
	i.mu.Lock()
	fresh := !i.attrAt.IsZero() && (covered || !leased && time.Since(i.attrAt) < cacheTTL)
	i.mu.Unlock()
	if fresh {
		return nil
	}
	_, err := i.c.GetAttr(ctx, i.id)
	return err
}

// wait blocks until ready, which is called under i.mu. Whoever makes it true
// broadcasts i.changed. i.mu is held, and let go while waiting.
func (i *inode) wait(ctx context.Context, op string, ready func() bool) error {
	for !ready() {
		if i.changed.wait(ctx) != nil {
			return interrupted(ctx, op)
		}
	}
	return nil
}

// fail makes an error stick to every file that is open (L10); i.mu is held.
func (i *inode) fail(err error) {
	i.failure = err
	i.failures++
	i.c.opts.Logger.Error("write failed", "inode", uint64(i.id), "error", err)
	i.changed.broadcast()
}
