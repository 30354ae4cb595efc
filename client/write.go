package client

import (
	"context"
	"math"
	"time"

	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
)

const (
	gatherDelay = 20 * time.Millisecond // a run that does not fill is sent after so long
	maxStreams  = 4096                  // chunks of a file that wait for commit or sync; then both are done
)

// placement says where a write goes.
type placement uint8

const (
	atOffset placement = iota
	atEnd
	fromMapping // at its offset, and not to wait for a recall of pages
)

// write takes p over into runs. It blocks while there is no memory for it. n <
// len(p) comes with an error.
func (i *inode) write(ctx context.Context, f *File, p []byte, off int64, place placement) (n int, err error) {
	release, held, err := i.c.exclusive(ctx, i.id, place == fromMapping)
	if err != nil {
		return 0, err
	}
	defer release()
	n, err = i.gatherAll(ctx, f, p, off, place == atEnd)
	if err == nil && !held {
		err = i.flush(ctx, false)
	}
	return n, err
}

// gatherAll is write under the lease.
func (i *inode) gatherAll(ctx context.Context, f *File, p []byte, off int64, appending bool) (n int, err error) {
	if err := i.beginChange(ctx, "write"); err != nil {
		return 0, err
	}
	defer i.writing.release()
	if off, err = i.beginWrite(ctx, f, p, off, appending); err != nil {
		return 0, err
	}
	for n < len(p) {
		k, err := i.gather(ctx, p[n:], off+int64(n))
		if n += k; err != nil {
			return n, err
		}
	}
	return n, nil
}

// beginWrite checks a write, finds its offset, and makes the gap before it zero.
func (i *inode) beginWrite(ctx context.Context, f *File, p []byte, off int64, appending bool) (int64, error) {
	if appending {
		if err := i.refresh(ctx); err != nil {
			return 0, err
		}
	}
	i.mu.Lock()
	err := i.lost
	if err == nil {
		err = f.takeError()
	}
	size, streams := i.size(), len(i.streams)
	i.writer = f.changer()
	i.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if appending {
		off = size
	}
	if off < 0 {
		return 0, proto.E(proto.Invalid, "write", inodeName(i.id), "negative offset")
	}
	if off > math.MaxInt64-int64(len(p)) {
		return 0, proto.E(proto.FileTooBig, "write", inodeName(i.id), "beyond 2^63-1 bytes")
	}
	if streams >= maxStreams {
		if err := i.flush(ctx, true); err != nil {
			return 0, err
		}
	}
	if len(p) > 0 && off > size {
		return off, i.zeroGap(ctx, size, off, false)
	}
	return off, nil
}

// gather takes over what of p belongs to the piece at off.
func (i *inode) gather(ctx context.Context, p []byte, off int64) (int, error) {
	index, at := uint64(off/i.c.chunkSize), off%i.c.chunkSize
	p = p[:min(int64(len(p)), pieceEnd(at)-at)]
	i.mu.Lock()
	defer i.mu.Unlock()
	st := i.stream(index)
	if r := st.gathering; r == nil || !r.takes(at, len(p)) || !i.grow(r, at+int64(len(p))) {
		size := i.runSize(off, at, len(p))
		if err := i.reserve(ctx, size); err != nil {
			i.prune(st)
			return 0, err
		}
		st = i.stream(index) // the lock was let go: it may be another
		st.seal()
		st.gathering = newRun(at, size)
		i.armDelay()
	}
	r := st.gathering
	r.put(p, at)
	if r.full() {
		st.seal()
	}
	i.wrote(off + int64(len(p)))
	return len(p), nil
}

// wrote notes that bytes up to end have been taken over; i.mu is held.
func (i *inode) wrote(end int64) {
	i.end = max(i.end, end)
	i.lastWrite = end
	i.mtime = time.Now()
	if known := i.attr.Ctime; !i.mtime.After(known) { // a clock behind the master's: what is written has to show
		i.mtime = known.Add(1)
	}
	i.mtimeDirty = true
	i.content++
}

// newRun makes an empty run whose memory has been reserved.
func newRun(at int64, size int) *run {
	mem := pipeline.GetBuffer(size)
	return &run{off: at, buf: mem.Bytes[:size], mem: mem}
}

// runSize decides how much memory a new run gets: a writer that goes on where it
// ended fills the rest of the piece, another one perhaps nothing more.
func (i *inode) runSize(off, at int64, n int) int {
	if off == i.lastWrite && at%pieceSize == 0 && off > 0 {
		return pieceSize
	}
	return bufferSize(int64(n))
}

// grow makes room for bytes up to end. It fails when there is no memory at once.
func (i *inode) grow(r *run, end int64) bool {
	if r.fits(end) {
		return true
	}
	size, old := bufferSize(end-r.off), len(r.buf)
	if !i.c.writeBudget.TryAcquire(int64(size)) {
		return false
	}
	bigger := newRun(r.off, size)
	copy(bigger.buf, r.buf[:r.n])
	r.mem.Release()
	i.c.writeBudget.Release(int64(old))
	r.mem, r.buf = bigger.mem, bigger.buf
	return true
}

// reserve waits for memory. What is gathering goes out first, for nobody else
// would send it. i.mu is held, and let go while waiting.
func (i *inode) reserve(ctx context.Context, size int) error {
	if i.c.writeBudget.TryAcquire(int64(size)) {
		return nil
	}
	i.sealAll(false, nil)
	i.mu.Unlock()
	defer i.mu.Lock()
	if i.c.writeBudget.Acquire(ctx, int64(size)) != nil {
		return interrupted(ctx, "write")
	}
	return nil
}

// sealAll ends all that gathers, has first send it, if that is not nil, and the streams what
// that leaves. It returns the seq of the last run. With sync the last run of each stream
// syncs the chunk. i.mu is held, and first may let it go.
func (i *inode) sealAll(sync bool, first func(*stream)) (last uint64) {
	var ended []*stream
	for _, st := range i.streams {
		if st.gathering != nil {
			st.gathering.sync = st.gathering.sync || sync
			st.endRun()
			ended = append(ended, st)
		} else if sync && st.next < len(st.kept) {
			st.kept[len(st.kept)-1].sync = true
		}
	}
	last = i.sealed
	for _, st := range ended {
		if first != nil {
			first(st)
		}
		st.attend()
	}
	return last
}

// armDelay sees to it that a run goes out although nothing fills it; i.mu is held.
func (i *inode) armDelay() {
	if i.delayed {
		return
	}
	i.delayed = true
	time.AfterFunc(gatherDelay, func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.delayed = false
		i.sealAll(false, nil)
	})
}

// zeroGap makes the bytes of the last chunk from the end of the file, at from,
// to its own end or to zero: they may be left from before a truncation. Chunks
// that are not part of the file hold no such bytes. With sync the zeros go to stable
// storage at once. The writing token is held.
func (i *inode) zeroGap(ctx context.Context, from, to int64, sync bool) error {
	if loc, err := i.lastChunk(ctx, from); err != nil || loc.chunk == 0 || !loc.committed {
		return err
	}
	// Another client may have written there in the meantime.
	if _, err := i.c.GetAttr(ctx, i.id); err != nil {
		return err
	}
	i.mu.Lock()
	from = i.size()
	i.mu.Unlock()
	loc, err := i.lastChunk(ctx, from)
	if err != nil || from >= to || loc.chunk == 0 || !loc.committed {
		return err
	}
	at := from % i.c.chunkSize
	i.mu.Lock()
	defer i.mu.Unlock()
	st := i.stream(uint64(from / i.c.chunkSize))
	st.seal()
	st.keep(&run{off: at, n: min(to-from, i.c.chunkSize-at), sync: sync})
	return nil
}

// lastChunk finds the chunk that the end of the file at size lies within; it is
// a hole when the end is on a border of chunks.
func (i *inode) lastChunk(ctx context.Context, size int64) (location, error) {
	if size%i.c.chunkSize == 0 {
		return location{}, nil
	}
	return i.where(ctx, uint64(size/i.c.chunkSize))
}

// changer is on whose account the master takes set-id bits off a file that is written to through
// f: nobody's that could lose any, if the caller does that itself.
func (f *File) changer() Cred {
	if f.ino.c.opts.KeepSetIDs {
		return Cred{}
	}
	return f.cred
}
