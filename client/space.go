package client

import (
	"context"
	"math"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Allocate makes sure that there is room for n bytes from off on, as fallocate(2)
// does without flags, or with FALLOC_FL_KEEP_SIZE: NoSpace if there is none. The
// file grows to off+n unless keepSize. Nothing is set aside: a hole stays one, and
// others may take the room before it is written to.
func (f *File) Allocate(ctx context.Context, off, n int64, keepSize bool) error {
	if err := f.checkRange("allocate", off, n); err != nil {
		return err
	}
	return f.ino.allocate(ctx, f.changer(), off, n, keepSize)
}

// PunchHole makes n bytes from off on read as zero and gives back the space of the
// blocks wholly within. The size stays.
func (f *File) PunchHole(ctx context.Context, off, n int64) error {
	return f.ZeroRange(ctx, off, n, true)
}

// ZeroRange is PunchHole, and lets the file grow to off+n unless keepSize.
func (f *File) ZeroRange(ctx context.Context, off, n int64, keepSize bool) error {
	if err := f.checkRange("zero range of", off, n); err != nil {
		return err
	}
	return f.ino.punch(ctx, f.changer(), off, off+n, keepSize)
}

func (f *File) checkRange(op string, off, n int64) error {
	if err := f.check(op, unix.O_RDONLY); err != nil {
		return err
	}
	switch {
	case off < 0 || n <= 0:
		return proto.E(proto.Invalid, op, inodeName(f.ino.id), "negative or empty range")
	case n > math.MaxInt64-off:
		return proto.E(proto.FileTooBig, op, inodeName(f.ino.id), "beyond 2^63-1 bytes")
	}
	return nil
}

func (i *inode) allocate(ctx context.Context, cred Cred, off, n int64, keepSize bool) error {
	release, _, err := i.c.exclusive(ctx, i.id, false)
	if err != nil {
		return err
	}
	defer release()
	end := off + n
	if err := i.beginSpace(ctx, "allocate"); err != nil {
		return err
	}
	defer i.writing.release()
	size := uint64(0)
	if !keepSize {
		size = uint64(end)
		if err := i.extendFrom(ctx, end); err != nil {
			return err
		}
	}
	return i.fallocate(ctx, cred, &pb.FallocateRequest{Offset: uint64(off), Length: uint64(n), Size: size})
}

// punch makes off to end a hole. What does not fill a chunk is zeroed in it, the
// others the master takes from the file; then all of it reads as zero at once with the
// master's answer, and nothing of it is lost if a step before fails.
func (i *inode) punch(ctx context.Context, cred Cred, off, end int64, keepSize bool) error {
	release, _, err := i.c.exclusive(ctx, i.id, false)
	if err != nil {
		return err
	}
	defer release()
	if err := i.beginSpace(ctx, "punch"); err != nil {
		return err
	}
	defer i.writing.release()
	if _, err := i.c.GetAttr(ctx, i.id); err != nil { // another client may have written
		return err
	}
	i.mu.Lock()
	old := i.size()
	i.mu.Unlock()
	if err := i.zeroEnds(ctx, off, min(end, old)); err != nil {
		return err
	}
	request := &pb.FallocateRequest{Offset: uint64(off), Length: uint64(end - off), Hole: true}
	if !keepSize {
		request.Size = uint64(end)
		if err := i.extendFrom(ctx, end); err != nil {
			return err
		}
	}
	if err := i.fallocate(ctx, cred, request); err != nil {
		return err
	}
	return i.punched(ctx, off, end, old)
}

// beginSpace takes the writing token and brings everything written so far to the
// master, so that what follows comes after it.
func (i *inode) beginSpace(ctx context.Context, op string) error {
	if err := i.beginChange(ctx, op); err != nil {
		return err
	}
	i.mu.Lock()
	err := i.lost
	i.mu.Unlock()
	if err == nil {
		err = i.flush(ctx, false)
	}
	if err != nil {
		i.writing.release()
	}
	return err
}

// zeroEnds zeroes the parts of chunks at both ends of a range within the file, and
// waits for it. The writing token is held.
func (i *inode) zeroEnds(ctx context.Context, off, end int64) error {
	if off >= end {
		return nil
	}
	i.mu.Lock()
	before := i.failures
	i.mu.Unlock()
	size := i.c.chunkSize
	first, last := off/size, (end-1)/size
	for index := first; index <= last; index += max(last-first, 1) {
		from, to := max(off-index*size, 0), min(end-index*size, size)
		if from == 0 && to == size {
			continue
		}
		if err := i.zeroPart(ctx, uint64(index), from, to); err != nil {
			return err
		}
	}
	return i.drainSince(ctx, before)
}

// zeroPart has a part of a chunk zeroed, unless it is a hole.
func (i *inode) zeroPart(ctx context.Context, index uint64, from, to int64) error {
	loc, err := i.where(ctx, index)
	if err != nil || loc.chunk == 0 {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stream(index).keep(&run{off: from, n: to - from})
	i.content++
	return nil
}

// fallocate has the master carry out what is left to do.
func (i *inode) fallocate(ctx context.Context, cred Cred, request *pb.FallocateRequest) error {
	if err := i.committing.acquire(ctx, "fallocate"); err != nil {
		return err
	}
	defer i.committing.release()
	request.Inode = uint64(i.id)
	own := i.c.leases.changing(i.id)
	reply, _, err := change(ctx, i.c, cred, "fallocate", inodeName(i.id), func(ctx context.Context, who *pb.Caller) (*pb.AttrReply, error) {
		request.Caller = who
		return i.c.master.Fallocate(ctx, request)
	})
	own.ended(reply.GetGrants(), err)
	if err != nil {
		return err
	}
	i.c.learnedOwn(own, reply.Grants, reply.Attr)
	i.c.leases.outdated(i.id)
	return nil
}

// punched brings what is known here in line with the hole. Whether the chunk that
// the file ended in is gone only the master knows.
func (i *inode) punched(ctx context.Context, off, end, old int64) error {
	size := i.c.chunkSize
	first, last := uint64(off/size), uint64((end-1)/size)
	i.c.locations.dropRange(i.id, first, last+1)
	i.mu.Lock()
	i.content++
	var open []*stream
	for index, st := range i.streams {
		switch base := int64(index) * size; {
		case index < first || index > last:
		case off <= base && end-base >= size:
			st.uproot()
		case off <= base && end >= old:
			open = append(open, st)
		}
	}
	i.mu.Unlock()
	for _, st := range open {
		loc, err := i.c.locate(ctx, i.id, st.index)
		i.mu.Lock()
		if err != nil || loc.chunk != st.loc.chunk {
			st.uproot()
		}
		i.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}
