package client

import (
	"cmp"
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

const (
	commitChunks = 4096 // in one request
	syncParallel = 8    // chains that are synced at once
)

// flush waits until all that was written so far is on its whole chains, syncs
// the chains if asked, and has the master commit size, chunks and time (G1).
// Failures of writing stick to the files; what is returned are interrupts.
func (i *inode) flush(ctx context.Context, sync bool) error {
	i.mu.Lock()
	if !i.unfinished(sync) {
		i.mu.Unlock()
		return nil
	}
	if sync {
		i.commitAhead()
	}
	err := i.drain(ctx, sync)
	i.mu.Unlock()
	if err != nil {
		return err
	}
	if err := i.committing.acquire(ctx, "flush"); err != nil {
		return err
	}
	defer i.committing.release()
	if sync {
		if err := i.syncOlder(ctx); err != nil {
			return err
		}
		if err := i.syncChains(ctx); err != nil {
			return err
		}
	}
	return i.commit(ctx)
}

// commitBehind is commit where the master need not be asked.
func (i *inode) commitBehind(p *proposal) (done bool) {
	attr, at, done := i.commitHere(p)
	if done {
		i.mu.Lock()
		i.committed(*p, nil)
		i.mu.Unlock()
		i.took(attr, at)
	}
	return done
}

// took takes in what a commit that was answered here has made of the file.
func (i *inode) took(attr Attr, at mark) {
	i.c.changedHere(attr, at)
	i.c.leases.outdated(i.id)
	i.settle()
}

// Sync puts all that was written through this client on stable storage, whatever
// file it is in, as File.Sync does for one file. It goes on after a failure and
// reports the first; the files report it, too.
func (c *Client) Sync(ctx context.Context) error {
	var failed error
	for _, i := range c.holdOpen() {
		failed = cmp.Or(failed, i.syncAll(ctx))
		c.giveBack(i)
	}
	return cmp.Or(failed, c.syncNames(ctx))
}

// syncAll is flush with sync; it returns failures of writing, too.
func (i *inode) syncAll(ctx context.Context) error {
	i.mu.Lock()
	before := i.failures
	i.mu.Unlock()
	if err := i.flush(ctx, true); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.failures != before {
		return i.failure
	}
	return nil
}

// unfinished tells whether a flush has anything to do; i.mu is held.
func (i *inode) unfinished(sync bool) bool {
	if i.mtimeDirty || i.ackedEnd > 0 || sync && !i.durable {
		return true
	}
	for _, st := range i.streams {
		if st.gathering != nil || len(st.kept) > 0 || st.uncommitted || sync && st.syncedSeq < st.ackedSeq {
			return true
		}
	}
	return false
}

// drain waits until what was written so far is acknowledged or has failed.
// i.mu is held, and let go while waiting.
func (i *inode) drain(ctx context.Context, sync bool) error {
	last := i.sealAll(sync, (*stream).sendKept)
	return i.wait(ctx, "flush", func() bool {
		for _, st := range i.streams {
			if len(st.kept) > 0 && st.kept[0].seq <= last {
				return false
			}
		}
		return true
	})
}

// drainSince waits until nothing is unwritten, and gives the failure that has come
// since there had been so many.
func (i *inode) drainSince(ctx context.Context, failures uint64) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.drain(ctx, false); err != nil {
		return err
	}
	if i.failures != failures {
		return i.failure
	}
	return nil
}

// syncChains puts the chunks that were written since the last sync on stable
// storage on all their replicas. The committing token is held.
func (i *inode) syncChains(ctx context.Context) error {
	var streams []*stream
	i.mu.Lock()
	for _, st := range i.streams {
		if st.syncedSeq < st.ackedSeq && st.loc.chunk != 0 {
			streams = append(streams, st)
		}
	}
	i.mu.Unlock()
	var group errgroup.Group
	group.SetLimit(syncParallel)
	for _, st := range streams {
		group.Go(func() error { return st.sync(ctx) })
	}
	return group.Wait()
}

// sync puts a chunk on stable storage. A chain that fails at it is never asked
// again and believed (L9): the master replaces it first. A chunk that the file does
// not have any more was cut off meanwhile, and nothing of it is left to sync: what
// the file has in its place was written since, if it was written at all. An
// interrupt is returned, a failure sticks to the files.
func (st *stream) sync(ctx context.Context) error {
	i := st.ino
	p := i.c.newPatience(ctx)
	defer p.cancel()
	for {
		i.mu.Lock()
		loc, target := st.loc, st.ackedSeq
		done := st.syncedSeq >= target || loc.chunk == 0
		i.mu.Unlock()
		if done {
			return nil
		}
		err := i.c.syncChain(p.ctx, loc)
		if err == nil {
			i.mu.Lock()
			if st.loc.chunk == loc.chunk && st.loc.version == loc.version {
				st.synced(target)
			}
			i.mu.Unlock()
			continue
		}
		if ctx.Err() != nil {
			return interrupted(ctx, "sync")
		}
		next, err := i.c.replaceChain(p, &brokenChain{i.id, st.index, loc, false, err})
		if ctx.Err() != nil {
			return interrupted(ctx, "sync")
		}
		i.mu.Lock()
		if err != nil {
			st.syncedSeq = max(st.syncedSeq, target) // said once, then not again
			i.fail(asWriteError(err, st.subject()))
			i.mu.Unlock()
			return nil
		}
		if next.chunk != loc.chunk {
			st.synced(target)
		} else {
			st.moveTo(next)
		}
		i.mu.Unlock()
	}
}

func (c *Client) syncChain(ctx context.Context, loc location) error {
	if loc.silent() {
		return loc.errSilent("sync")
	}
	return c.data.Sync(ctx, c.cluster.ChunkUUID(loc.chunk), loc.version, loc.chain)
}

// proposal is what one Commit tells the master.
type proposal struct {
	size    uint64
	streams []*stream
	chunks  []uint64
	mtime   time.Time
	writer  Cred
	content uint64
	within  uint64 // it counts only if the file is so long already
	last    bool   // nothing is left for another one
}

// propose collects what the master does not know; ok is false if that is nothing.
// i.mu is held.
func (i *inode) propose() (p proposal, ok bool) {
	p.last = true
	for _, st := range i.streams {
		if !st.uncommitted {
			continue
		}
		if len(p.chunks) == commitChunks {
			p.last = false
			break
		}
		p.streams = append(p.streams, st)
		p.chunks = append(p.chunks, uint64(st.loc.chunk))
	}
	p.writer = i.writer
	if p.mtime = i.attr.Mtime; i.attrAt.IsZero() { // else as it is: it may have been set after the last write
		p.mtime = time.Now()
	}
	if p.last { // size and time become visible when all chunks are
		p.size = uint64(i.ackedEnd)
		p.content = i.content
		if i.mtimeDirty {
			p.mtime = i.mtime
		}
	}
	return p, len(p.chunks) > 0 || p.size > 0 || i.mtimeDirty
}

// commit tells the master what was written. The committing token is held. A
// failure sticks to the files; an interrupt is returned.
func (i *inode) commit(ctx context.Context) error {
	for {
		i.mu.Lock()
		p, ok := i.propose()
		i.mu.Unlock()
		if !ok {
			return nil
		}
		if i.knows(&p) {
			return nil
		}
		if i.commitBehind(&p) {
			return nil
		}
		own := i.c.leases.changing(i.id)
		reply, err := i.sendCommit(ctx, p)
		own.ended(reply.GetGrants(), err)
		if proto.KindOf(err) == proto.NotFound && i.forgetFreed(ctx, p) {
			continue
		}
		if err != nil && ctx.Err() != nil {
			return interrupted(ctx, "commit")
		}
		i.mu.Lock()
		i.committed(p, err)
		i.mu.Unlock()
		if err != nil {
			return nil
		}
		i.c.learnedOwn(own, reply.Grants, reply.Attr)
		i.c.leases.outdated(i.id)
		if i.settle(); p.last {
			return nil
		}
	}
}

func (i *inode) sendCommit(ctx context.Context, p proposal) (*pb.AttrReply, error) {
	reply, _, err := change(forCommit(ctx), i.c, p.writer, "commit", inodeName(i.id), func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		return i.c.master.Commit(ctx, &pb.CommitRequest{
			Caller: who, Inode: uint64(i.id), Size: p.size, Chunks: p.chunks, Mtime: timeChange(p.mtime),
		})
	})
	return reply, err
}

// forgetFreed is called when a chunk to be committed is not the file's any more.
// If the file ends before it now, another client has cut it off after it was
// written, which is no error; otherwise the bytes are lost (L10). It tells
// whether a chunk was found, so that the rest can be committed.
func (i *inode) forgetFreed(ctx context.Context, p proposal) (found bool) {
	reply, err := i.c.sendGetAttr(ctx, i.id)
	if err != nil {
		return false
	}
	attr := reply.Attr
	i.c.locations.dropFrom(i.id, 0)
	for k, st := range p.streams {
		loc, err := i.c.locate(ctx, i.id, st.index)
		if err != nil {
			return false
		}
		if uint64(loc.chunk) == p.chunks[k] {
			continue
		}
		found = true
		i.mu.Lock()
		st.uproot()
		st.uncommitted = false
		if attr.GetSize() > st.index*uint64(i.c.chunkSize) {
			i.fail(proto.E(proto.IO, "commit", st.subject(), "the chunk was taken from the file after it was written"))
		}
		i.mu.Unlock()
	}
	return found
}

// committed notes the outcome of a commit. What the master refused for good is
// not sent again: the error says that it is lost. i.mu is held.
func (i *inode) committed(p proposal, err error) {
	if err != nil {
		i.fail(err)
		if kind := proto.KindOf(err); transient(kind) {
			return // it may succeed yet
		}
	}
	for _, st := range p.streams {
		st.uncommitted = false
		if err == nil {
			st.loc.committed = true
			i.c.locations.put(i.id, st.index, st.loc)
		}
		i.prune(st)
	}
	if !p.last {
		return
	}
	if i.content == p.content {
		i.mtimeDirty = false
	}
	if i.ackedEnd == int64(p.size) {
		i.ackedEnd = 0
	}
	if err != nil {
		i.recountEnd()
	}
}

// settle forgets the local end of the file where the master's reaches as far.
func (i *inode) settle() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.end <= int64(i.attr.Size) {
		i.end = 0
	}
}
