package client

import (
	"context"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Sharing of chunks between files. From when the master has carried it out, nobody may
// write to the chunks any more; who does, changes the copy, too. So this client holds
// off its own writers, has everything on its way arrive, and afterwards knows nothing of
// where the chunks are: it asks again, and where to write to as well. If it does not
// hear what became of its request (unsure), it changes the file, which makes a request
// that is still under way void, before it writes again.

const shareMost = 1024 // chunks in one request

// share copies whole chunks, and the last one of a file where dst ends with it. It
// gives how many bytes these are; 0: none can be shared.
func (i *inode) share(ctx context.Context, dst *File, off, dstOff, n int64) (int64, error) {
	size, to := i.c.chunkSize, dst.ino
	if off%size != 0 || dstOff%size != 0 {
		return 0, nil
	}
	release, err := beginBoth(ctx, i, to)
	if err != nil {
		return 0, err
	}
	defer release()
	if time.Since(i.unshared) < retryShare {
		return 0, nil
	}
	for _, one := range []*inode{i, to} {
		if err := one.bringUp(ctx); err != nil {
			return 0, err
		}
	}
	if n = i.shareable(to, off, dstOff, n); n == 0 {
		return 0, nil
	}
	if err := to.extendFrom(ctx, dstOff); err != nil {
		return 0, err
	}
	if err := to.flush(ctx, false); err != nil {
		return 0, err
	}
	return i.sendShare(ctx, dst, off, dstOff, n)
}

// beginBoth begins a change of two files, which may be one. All who do so begin with the
// same one.
func beginBoth(ctx context.Context, a, b *inode) (release func(), err error) {
	if a.id > b.id {
		a, b = b, a
	}
	var held []func()
	release = func() {
		for k := range held {
			held[len(held)-1-k]()
		}
	}
	both := []*inode{a, b}
	if a == b {
		both = both[:1]
	}
	for _, one := range both { // leases come before tokens
		unpin, _, err := one.c.exclusive(ctx, one.id, false)
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, unpin)
	}
	for _, one := range both {
		if err := one.beginChange(ctx, "copy"); err != nil {
			release()
			return nil, err
		}
		held = append(held, one.writing.release)
	}
	return release, nil
}

// beginChange takes the writing token, and makes sure that no copy is under way that
// could share what is written to next.
func (i *inode) beginChange(ctx context.Context, op string) error {
	if err := i.writing.acquire(ctx, op); err != nil {
		return err
	}
	if !i.unsure {
		return nil
	}
	if err := i.voidCopies(ctx); err != nil {
		i.writing.release()
		return err
	}
	return nil
}

// voidCopies changes the file at the master, so that a copy which counts on its present
// state is made already or never.
func (i *inode) voidCopies(ctx context.Context) error {
	attr, err := i.c.GetAttr(ctx, i.id)
	if err != nil {
		return err
	}
	own := i.c.leases.changing(i.id)
	reply, err := i.sendCommit(ctx, proposal{mtime: attr.Mtime, writer: i.writer})
	if own.ended(reply.GetGrants(), err); err != nil {
		return err
	}
	i.outdate(0, 1<<63)
	i.unsure = false
	return nil
}

// bringUp has everything that was written so far arrive at the master, and learns what
// it has. The writing token is held.
func (i *inode) bringUp(ctx context.Context) error {
	i.mu.Lock()
	before, lost := i.failures, i.lost
	i.mu.Unlock()
	if lost != nil {
		return lost
	}
	if err := i.flush(ctx, false); err != nil {
		return err
	}
	i.mu.Lock()
	failed, err := i.failures != before, i.failure
	i.mu.Unlock()
	if failed {
		return err
	}
	_, err = i.c.GetAttr(ctx, i.id)
	return err
}

// shareable is how many bytes are in chunks that can be shared.
func (i *inode) shareable(to *inode, off, dstOff, n int64) int64 {
	i.mu.Lock()
	from := i.size()
	i.mu.Unlock()
	to.mu.Lock()
	until := to.size()
	to.mu.Unlock()
	n = min(n, from-off, shareMost*i.c.chunkSize)
	if n > 0 && off+n == from && dstOff+n >= until {
		return n
	}
	return max(n, 0) / i.c.chunkSize * i.c.chunkSize
}

// sendShare has the master share chunks. The writing tokens of both files are held, and
// nothing is unwritten.
func (i *inode) sendShare(ctx context.Context, dst *File, off, dstOff, n int64) (int64, error) {
	to, size := dst.ino, i.c.chunkSize
	count := (n + size - 1) / size
	i.mu.Lock()
	change := i.attr.Change
	i.mu.Unlock()
	i.unsure = true
	own := i.c.leases.changing(i.id, to.id)
	reply, err := i.askShare(ctx, dst, &pb.CopyRangeRequest{
		FromIndex: uint64(off / size), ToIndex: uint64(dstOff / size), Count: uint32(count),
		Size: uint64(dstOff + n), FromChange: change,
	})
	own.ended(reply.GetGrants(), err)
	i.unsure = err != nil && transient(proto.KindOf(err))
	if err != nil && !i.unsure {
		// Access: that the file is open for reading here is all that allows it.
		if kind := proto.KindOf(err); kind == proto.Busy || kind == proto.NotSupported || kind == proto.Access {
			i.unshared = time.Now()
			return 0, nil
		}
		return 0, err
	}
	i.outdate(uint64(off/size), uint64(off/size+count))
	to.outdate(uint64(dstOff/size), uint64(dstOff/size+count))
	if err != nil {
		return 0, err
	}
	i.c.learnedOwn(own, reply.Grants, reply.From)
	i.c.learnedOwn(own, reply.Grants, reply.To)
	i.c.leases.outdated(i.id)
	i.c.leases.outdated(to.id)
	return n, nil
}

func (i *inode) askShare(ctx context.Context, dst *File, request *pb.CopyRangeRequest) (*pb.CopyRangeReply, error) {
	request.From, request.To = uint64(i.id), uint64(dst.ino.id)
	reply, _, err := change(ctx, i.c, dst.changer(), "copy to", inodeName(dst.ino.id), func(ctx context.Context, who *pb.Caller) (*pb.CopyRangeReply, error) {
		request.Caller = who
		return i.c.master.CopyRange(ctx, request)
	})
	return reply, err
}

// outdate forgets where chunks are at first <= index < end, and what was read of them.
// Whether they are on stable storage is not known either.
func (i *inode) outdate(first, end uint64) {
	i.c.locations.outdate(i.id, first, end)
	i.mu.Lock()
	defer i.mu.Unlock()
	for index, st := range i.streams {
		if first <= index && index < end {
			st.uproot()
		}
	}
	i.content++
	i.durable = false
}
