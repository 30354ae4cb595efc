package client

import (
	"context"
	"math"

	"github.com/distrifs/distrifs/proto"
)

// truncate sets the size, and whatever else set asks for. What is unwritten
// behind the new end is dropped, the rest is written and committed first, so
// that the truncation at the master comes after the writes before it.
func (i *inode) truncate(ctx context.Context, cred Cred, set SetAttr) (Attr, error) {
	if *set.Size > math.MaxInt64 {
		return Attr{}, proto.E(proto.FileTooBig, "truncate", inodeName(i.id), "size over 2^63-1 bytes")
	}
	size := int64(*set.Size)
	if size > 0 {
		release, _, err := i.c.exclusive(ctx, i.id, false)
		if err != nil {
			return Attr{}, err
		}
		defer release()
	}
	if err := i.beginChange(ctx, "truncate"); err != nil {
		return Attr{}, err
	}
	defer i.writing.release()
	if err := i.settleBefore(ctx, size); err != nil {
		return Attr{}, err
	}
	if size > 0 {
		if err := i.extendFrom(ctx, size); err != nil {
			return Attr{}, err
		}
	}
	if err := i.committing.acquire(ctx, "truncate"); err != nil {
		return Attr{}, err
	}
	defer i.committing.release()
	if _, err := i.c.sendSetAttr(ctx, cred, i.id, set); err != nil {
		return Attr{}, err
	}
	return i.truncated(size), nil
}

// settleBefore drops what is unwritten behind size and finishes the rest.
func (i *inode) settleBefore(ctx context.Context, size int64) error {
	i.mu.Lock()
	if i.lost != nil {
		defer i.mu.Unlock()
		return i.lost
	}
	for _, st := range i.streams {
		st.cut(size - int64(st.index)*i.c.chunkSize)
	}
	i.recountEnd()
	i.mu.Unlock()
	return i.flush(ctx, false)
}

// cut drops what was not sent of the bytes behind end, an offset in the chunk.
func (st *stream) cut(end int64) {
	if r := st.gathering; r != nil && !r.cut(end) {
		st.ino.c.free(r)
		st.gathering = nil
	}
	kept := st.kept[:st.next]
	for _, r := range st.kept[st.next:] {
		if r.cut(end) {
			kept = append(kept, r)
		} else {
			st.ino.c.free(r)
		}
	}
	st.kept = kept
	st.attend()
	st.ino.changed.broadcast()
}

// extendFrom zeroes the old tail if size is beyond the end, and waits until that is on
// stable storage, as the size will be: what was cut off does not come back by a power loss.
func (i *inode) extendFrom(ctx context.Context, size int64) error {
	if err := i.refresh(ctx); err != nil {
		return err
	}
	i.mu.Lock()
	old, before := i.size(), i.failures
	i.mu.Unlock()
	if size <= old {
		return nil
	}
	if err := i.zeroGap(ctx, old, size, true); err != nil {
		return err
	}
	return i.drainSince(ctx, before)
}

// truncated brings what is known here in line with the new size.
func (i *inode) truncated(size int64) Attr {
	first := (uint64(size) + uint64(i.c.chunkSize) - 1) / uint64(i.c.chunkSize)
	i.c.locations.dropFrom(i.id, first)
	i.mu.Lock()
	defer i.mu.Unlock()
	for index, st := range i.streams {
		if index >= first { // its chunk is freed
			st.uproot()
		}
	}
	i.end, i.ackedEnd = 0, 0
	i.content++
	return i.merge(i.attr)
}

// empty cuts the file to nothing, and waits for no write that is on its way.
func (i *inode) empty(ctx context.Context, cred Cred) error {
	if err := i.beginChange(ctx, "truncate"); err != nil {
		return err
	}
	defer i.writing.release()
	if err := i.committing.acquire(ctx, "truncate"); err != nil {
		return err
	}
	defer i.committing.release()
	if _, err := i.c.sendSetAttr(ctx, cred, i.id, SetAttr{Size: new(uint64)}); err != nil {
		return err
	}
	i.emptied()
	return nil
}

// emptied is called when the master has cut the file to nothing: what was written to
// it before is void. What is on its way goes to chunks that are the file's no more.
// Both tokens are held.
func (i *inode) emptied() {
	i.mu.Lock()
	i.abandon()
	i.durable = true
	i.mu.Unlock()
	i.truncated(0)
}

// abandon drops all that is unwritten or uncommitted. What is on its way is not sent
// again. i.mu is held.
func (i *inode) abandon() {
	for _, st := range i.streams {
		st.cut(math.MinInt64 / 2)
		st.abandoned = i.sealed
		st.uncommitted = false
		i.prune(st)
	}
	i.end, i.ackedEnd, i.mtimeDirty = 0, 0, false
	i.content++
}

// expireWrites is called when the session is gone: what was not committed in it
// is lost, and every open file is told (L10). The chunks that were assigned in it
// may have been given up by the master.
func (i *inode) expireWrites() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.c.locations.dropFrom(i.id, 0)
	unfinished := i.unfinished(false)
	for _, st := range i.streams {
		st.uproot()
	}
	if !unfinished {
		return
	}
	i.abandon()
	i.fail(proto.E(proto.SessionExpired, "write", inodeName(i.id), "the session ended before the data was committed"))
}
