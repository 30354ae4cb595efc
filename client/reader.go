package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/distrifs/distrifs/internal/late"
	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

const (
	readParallel   = 8               // frames of one large read at once
	replicaTimeout = 3 * time.Second // a replica that does not answer so long is left for the next
	maxReports     = 16              // reports of corrupt replicas under way
	maxRereads     = 8               // of a read that others change the file under
)

// read fills p from off: io.EOF with what there is at the end of the file. A
// File's read-ahead is used if it is given.
//
// Where no chunk is, or a replica ends, there are zeros, if the file has not been cut
// meanwhile: then there was something else, or is nothing. So a read that met such a place
// while the file changed is made again.
func (i *inode) read(ctx context.Context, ahead *readAhead, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, proto.E(proto.Invalid, "read", inodeName(i.id), "negative offset")
	}
	for again := 0; ; again++ {
		holes := i.holes.Load()
		n, content, err := i.readOnce(ctx, ahead, p, off)
		if err != nil || i.holes.Load() == holes || again == maxRereads {
			return ended(n, len(p), err)
		}
		same, err := i.isSame(ctx, content)
		if err != nil || same {
			return ended(n, len(p), err)
		}
	}
}

// ended is the answer to a read of want bytes that found n.
func ended(n, want int, err error) (int, error) {
	switch {
	case err != nil:
		return 0, err
	case n < want:
		return n, io.EOF
	}
	return n, nil
}

// readOnce is read, of the file as it was known at content.
func (i *inode) readOnce(ctx context.Context, ahead *readAhead, p []byte, off int64) (n int, content uint64, err error) {
	if err := i.refresh(ctx); err != nil {
		return 0, 0, err
	}
	i.mu.Lock()
	size, content, lost := i.size(), i.content, i.lost
	i.mu.Unlock()
	if lost != nil {
		return 0, 0, lost
	}
	n = int(min(int64(len(p)), max(size-off, 0)))
	if n > 0 {
		err = i.readWithin(ctx, ahead, p[:n], off, size, content)
	}
	return n, content, err
}

// isSame tells whether the file is still as it was known at content.
func (i *inode) isSame(ctx context.Context, content uint64) (bool, error) {
	if err := i.refresh(ctx); err != nil {
		return false, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.content == content, nil
}

// readWithin reads what lies before the end of the file.
func (i *inode) readWithin(ctx context.Context, ahead *readAhead, p []byte, off, size int64, content uint64) error {
	if i.readFetched(ctx, p, off, content) {
		return nil
	}
	nearby := i.c.shortcuts.borrowed(i.id, uint64(off/i.c.chunkSize)) // where there is nothing to fetch ahead
	if ahead != nil && !nearby {
		return ahead.read(ctx, p, off, size, content)
	}
	return i.load(ctx, p, off)
}

// load reads what is before the end of the file, unwritten data included.
func (i *inode) load(ctx context.Context, p []byte, off int64) error {
	if done, err := i.readUnwritten(ctx, p, off); done || err != nil {
		return err
	}
	return i.readRange(ctx, p, off)
}

// readUnwritten serves a read from the run that holds all of it (done), or
// waits until no unwritten byte is in its range: so a file's own writes are
// always seen.
func (i *inode) readUnwritten(ctx context.Context, p []byte, off int64) (done bool, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.streams) == 0 {
		return false, nil
	}
	size := i.c.chunkSize
	last := uint64((off + int64(len(p)) - 1) / size)
	for index := uint64(off / size); index <= last; index++ {
		st := i.streams[index]
		if st == nil {
			continue
		}
		at := off - int64(index)*size // may be outside the chunk
		r := st.newest(at, int64(len(p)))
		if r == nil {
			continue
		}
		if r.covers(at, int64(len(p))) {
			r.read(p, at)
			return true, nil
		}
		if err := st.settle(ctx, r); err != nil {
			return false, err
		}
	}
	return false, nil
}

// newest finds the run that was written last of those in a range of the chunk.
func (st *stream) newest(at, n int64) *run {
	if st.gathering != nil && st.gathering.overlaps(at, n) {
		return st.gathering
	}
	for k := len(st.kept) - 1; k >= 0; k-- {
		if st.kept[k].overlaps(at, n) {
			return st.kept[k]
		}
	}
	return nil
}

// settle waits until a run, and those before it, are acknowledged or have failed.
func (st *stream) settle(ctx context.Context, r *run) error {
	if st.gathering == r {
		st.seal()
	}
	seq := r.seq
	return st.ino.wait(ctx, "read", func() bool { return len(st.kept) == 0 || st.kept[0].seq > seq })
}

// readRange fills p from the replicas. Frames of large
// reads are under way at once.
func (i *inode) readRange(ctx context.Context, p []byte, off int64) error {
	if n := i.frameSize(off, len(p)); n == len(p) {
		return i.readFrame(ctx, p, off)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readParallel)
	for len(p) > 0 {
		part, at := p[:i.frameSize(off, len(p))], off
		group.Go(func() error { return i.readFrame(ctx, part, at) })
		p, off = p[len(part):], off+int64(len(part))
	}
	return group.Wait()
}

// frameSize is how many of n bytes at off one frame can bring: those of one piece.
func (i *inode) frameSize(off int64, n int) int {
	if n <= pieceSize && off/i.c.chunkSize == (off+int64(n)-1)/i.c.chunkSize {
		return n
	}
	return int(min(int64(n), pieceEnd(off)-off))
}

// where tells where to read a chunk: a hole if it holds nothing for readers.
func (i *inode) where(ctx context.Context, index uint64) (location, error) {
	i.mu.Lock()
	st := i.streams[index]
	var own location
	if st != nil && !st.uprooted && (st.made || st.loc.committed) {
		own = st.loc
	}
	i.mu.Unlock()
	if own.chunk != 0 {
		if loc, ok := i.c.locations.get(i.id, index); ok && loc.chunk == own.chunk && loc.version > own.version {
			return loc, nil
		}
		return own, nil
	}
	loc, err := i.c.locate(ctx, i.id, index)
	if err != nil || !loc.committed {
		return location{}, err
	}
	return loc, nil
}

// readFrame fills p, at most a piece within one chunk, from a good replica. It
// goes on until there is one or the budget ends (G5, G7).
func (i *inode) readFrame(ctx context.Context, p []byte, off int64) error {
	c := i.c
	index, at := uint64(off/c.chunkSize), off%c.chunkSize
	budget := c.newPatience(ctx)
	defer budget.cancel()
	corruptRounds, committing := 0, false
	var last error
	for {
		loc, err := i.where(budget.ctx, index)
		if err != nil {
			return readError(err, i.id, index, last)
		}
		if loc.chunk == 0 {
			clear(p)
			i.holes.Add(1)
			return nil
		}
		done, suspect := c.readNearby(i.id, index, loc, p, at)
		if done {
			if p[len(p)-1] == 0 { // the replica may end before
				i.holes.Add(1)
			}
			return nil
		}
		n, corrupt, err := c.readReplicas(budget.ctx, loc, suspect, p, at)
		if err == nil {
			c.wasRead(i.id, index, loc)
			if n < len(p) {
				i.holes.Add(1)
			}
			return nil
		}
		if last = err; corrupt {
			corruptRounds++
		}
		if ctx.Err() != nil {
			return interrupted(ctx, "read")
		}
		subject := fmt.Sprintf("%s chunk %v", inodeName(i.id), loc.chunk)
		if corruptRounds > 1 {
			return &proto.Error{Kind: proto.IO, Op: "read", Subject: subject, Detail: "no good replica is left", Err: last}
		}
		if !loc.committed && !committing { // this client wrote it, and the master heals only what is committed
			committing = true
			c.workers.Go(func() { c.writeBack(i.id) })
		}
		c.locations.drop(i.id, index, loc)
		if budget.pause() != nil {
			return budget.spent("read", subject, last)
		}
		if _, err := c.locateAfresh(budget.ctx, i.id, index); err != nil {
			return readError(err, i.id, index, last)
		}
	}
}

func readError(err error, ino proto.InodeID, index uint64, last error) error {
	if last == nil {
		return err
	}
	return &proto.Error{Kind: proto.KindOf(err), Op: "read", Subject: fmt.Sprintf("%s chunk index %d", inodeName(ino), index), Err: errors.Join(err, last)}
}

// readReplicas tries the replicas of a chunk in turn, or two at once (race.go). corrupt tells that each of
// them answered that its bytes are damaged. What a replica does not reach, behind n, is zero.
// The replica of the node that is suspect, if any, comes first, to be looked at.
func (c *Client) readReplicas(ctx context.Context, loc location, suspect proto.NodeID, p []byte, at int64) (n int, corrupt bool, err error) {
	order := c.health.order(loc.chain)
	if at := slices.IndexFunc(order, func(hop pipeline.Hop) bool { return hop.Node == suspect }); at > 0 {
		order[0], order[at] = order[at], order[0]
	}
	corrupt = len(order) > 0 && len(order) == len(loc.chain)
	err = proto.E(proto.NoReplica, "read", "chunk "+loc.chunk.String(), "the master knows no replica of it")
	for len(order) > 0 {
		n, outcomes := c.readFirst(ctx, loc, order, p, at)
		order = order[len(outcomes):]
		done := false
		for _, o := range outcomes {
			switch {
			case o.err == nil:
				done = true
			case proto.KindOf(o.err) == proto.DataCorrupt:
				c.reportCorrupt(loc, o.hop, o.err)
				err = o.err
			default:
				corrupt, err = false, o.err
			}
		}
		if done {
			clear(p[n:])
			return n, false, nil
		}
		if ctx.Err() != nil {
			return 0, false, err
		}
	}
	return 0, corrupt, err
}

func (c *Client) readReplica(ctx context.Context, loc location, hop pipeline.Hop, p []byte, at int64) (int, error) {
	attempt := late.WithTimeout(ctx, replicaTimeout)
	defer attempt.End()
	c.health.begin(hop.Node)
	start := time.Now()
	n, err := c.data.Read(attempt, pipeline.ReadRequest{
		Chunk: c.cluster.ChunkUUID(loc.chunk), Version: loc.version, Offset: uint64(at), From: hop,
	}, p)
	if ctx.Err() != nil {
		n = unmeasured
	}
	c.health.end(hop.Node, n, time.Since(start), err == nil || ctx.Err() != nil)
	if err != nil && ctx.Err() == nil {
		c.opts.Logger.Warn("replica failed; trying another", "chunk", loc.chunk.String(), "node", uint32(hop.Node), "address", hop.Address, "error", err)
	}
	return n, err
}

// reportCorrupt tells the master of a bad replica without making the reader wait (L13).
func (c *Client) reportCorrupt(loc location, hop pipeline.Hop, failure error) {
	select {
	case c.reports <- struct{}{}:
	default:
		return // the chunkserver and the next reader report it too
	}
	c.workers.Go(func() {
		defer func() { <-c.reports }()
		_, err := ask(c.background, c, c.cred, "report corrupt", "chunk "+loc.chunk.String(), func(ctx context.Context, who *pb.Caller) (*pb.ReportCorruptReply, error) {
			return c.master.ReportCorrupt(ctx, &pb.ReportCorruptRequest{
				Caller: who, Chunk: uint64(loc.chunk), Version: uint64(loc.version), Node: uint32(hop.Node), Reason: failure.Error(),
			})
		})
		if err != nil {
			c.opts.Logger.Warn("a corrupt replica could not be reported", "chunk", loc.chunk.String(), "error", err)
		}
	})
}
