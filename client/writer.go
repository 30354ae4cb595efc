package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

const (
	chunkWindow  = 8 << 20   // bytes of one chunk that may be on their way at once
	sentByCaller = 128 << 10 // bytes that are sent at once by who waits for them
)

// stream is the way of unwritten data to one chunk. Runs are gathered, sealed,
// sent in order while the application goes on, and kept until the whole chain
// has them and everything sealed before them. When a chain fails, the master
// gives another one, and all runs that are still kept are sent again, in order:
// also those that were acknowledged behind one that failed, for what is sent
// last must be what stands.
//
// Who seals runs and waits for them sends them himself as far as that needs no waiting
// (sendKept); otherwise, and for all that is more than sending, a goroutine works for the
// stream (attend). Everything is guarded by the inode's mu.
type stream struct {
	ino   *inode
	index uint64 // of the chunk in the file

	gathering *run   // may still grow; nil: none
	kept      []*run // sealed, in order; what is acknowledged leaves in front
	next      int    // kept[:next] has been sent to the present chain
	inflight  int    // sent, not answered
	inWindow  int64  // bytes of those
	working   bool   // somebody sends, or does what is more

	loc         location // chunk 0: not known yet
	made        bool     // the replicas exist: a frame with Create was acknowledged
	uncommitted bool     // acknowledged bytes; no commit has shown yet that the chunk is the file's (still)
	ackedSeq    uint64   // of the last run that left in front
	syncedSeq   uint64   // up to here on stable storage of the present chain
	durableSeq  uint64   // up to here on stable storage of some chain

	failure   error     // of a frame: why the chain it was sent to must be replaced
	failed    location  // that chain
	patience  *patience // since the last progress; nil: all is well
	abandoned uint64    // runs up to this seq are not wanted any more
	uprooted  bool      // the chunk may be the file's no more: ask again where to write
}

// stream finds or makes the stream of a chunk; i.mu is held.
func (i *inode) stream(index uint64) *stream {
	st := i.streams[index]
	if st == nil {
		st = &stream{ino: i, index: index}
		i.streams[index] = st
	}
	return st
}

// seal ends the gathering and has the run sent; i.mu is held.
func (st *stream) seal() {
	if st.gathering != nil {
		st.endRun()
		st.attend()
	}
}

func (st *stream) endRun() {
	r := st.gathering
	st.gathering = nil
	st.keepRun(r)
}

// keep takes a sealed run over and has it sent; i.mu is held.
func (st *stream) keep(r *run) {
	st.keepRun(r)
	st.attend()
}

func (st *stream) keepRun(r *run) {
	st.ino.sealed++
	r.seq = st.ino.sealed
	st.kept = append(st.kept, r)
	st.ino.changed.broadcast()
}

// attend sees to it that somebody does what is to be done now, if anything is; i.mu is held.
func (st *stream) attend() {
	switch {
	case st.working:
	case len(st.kept) == 0:
		if st.uprooted && st.inflight == 0 {
			st.replant()
		}
		st.ino.prune(st)
	case st.next == len(st.kept) && st.failure == nil && !st.uprooted: // what was sent will be answered
	default:
		st.working = true
		st.ino.c.workers.Go(st.work)
	}
}

// sendKept sends small runs in the caller's goroutine, who will wait for the answer: that
// saves the wake-up of another one. i.mu is held, and let go meanwhile.
func (st *stream) sendKept() {
	if st.working || st.inflight > 0 {
		return
	}
	st.working = true
	st.adoptAssigned()
	for st.failure == nil && !st.uprooted && st.loc.chunk != 0 && !st.loc.shared &&
		st.next < len(st.kept) && st.inWindow+st.kept[st.next].n <= sentByCaller {
		st.send()
	}
	st.working = false
}

// adoptAssigned takes the chunk that is known to be the file's.
func (st *stream) adoptAssigned() {
	i := st.ino
	if st.loc.chunk != 0 {
		return
	}
	if loc, ok := i.c.locations.assigned(i.id, st.index); ok {
		i.assignAhead(st.index)
		st.loc, st.made = loc, loc.committed
	}
}

// work sends runs until none is kept.
func (st *stream) work() {
	i := st.ino
	i.mu.Lock()
	defer i.mu.Unlock()
	for len(st.kept) > 0 {
		switch {
		case (st.failure != nil || st.uprooted) && st.inflight > 0:
			_ = i.changed.wait(context.Background()) // for the answers that are still to come, as they always do
		case st.uprooted:
			st.replant()
		case st.failure != nil:
			st.recover()
		case st.next == len(st.kept) || st.inWindow >= chunkWindow:
			_ = i.changed.wait(context.Background())
		case st.loc.chunk == 0 || st.loc.shared:
			st.findChunk()
		default:
			st.send()
		}
	}
	st.working = false
	st.attend()
	i.changed.broadcast()
}

// replant forgets the chunk, so that all that is kept goes to the one that the
// file has now. No frame is in flight.
func (st *stream) replant() {
	st.dropAbandoned()
	st.uprooted, st.failure = false, nil
	st.loc, st.made, st.uncommitted, st.syncedSeq, st.durableSeq = location{}, false, false, st.ackedSeq, st.ackedSeq
	st.resend()
}

// uproot has the stream ask where its chunk is before it writes on; i.mu is held.
func (st *stream) uproot() {
	st.uprooted = true
	st.attend()
}

// resend has all that is kept go out again, also what was acknowledged behind
// something that was not.
func (st *stream) resend() {
	st.next = 0
	for _, r := range st.kept {
		r.acked = false
	}
}

// unlocked runs fn, which may block, without the lock.
func (st *stream) unlocked(fn func()) {
	st.ino.mu.Unlock()
	defer st.ino.mu.Lock()
	fn()
}

// send gives the next run to the chain.
func (st *stream) send() {
	c := st.ino.c
	if st.loc.silent() {
		st.failure, st.failed = st.loc.errSilent("write"), st.loc
		return
	}
	r, sent := st.kept[st.next], st.loc
	w := &pipeline.WriteRequest{
		Chunk: c.cluster.ChunkUUID(st.loc.chunk), Version: st.loc.version, Offset: uint64(r.off),
		Create: st.next == 0 && !st.made && !st.loc.committed,
		Sync:   r.sync, Chain: st.loc.chain,
	}
	if r.buf != nil {
		w.Data = r.buf[:r.n]
	} else {
		w.Zero = uint64(r.n)
	}
	st.next++
	st.inflight++
	st.inWindow += r.n
	st.unlocked(func() { c.data.StartWrite(w, func(err error) { st.answered(r, sent, err) }) })
}

// answered is the end of one frame, which was sent to a chain.
func (st *stream) answered(r *run, sent location, err error) {
	i := st.ino
	i.mu.Lock()
	defer i.mu.Unlock()
	st.inflight--
	st.inWindow -= r.n
	if err != nil {
		i.c.shortcuts.forget(i.id) // some replica may have bytes that will never be acknowledged
	}
	switch {
	case err == nil:
		r.acked = true
		st.made = true
		st.retire()
	case st.failure == nil || st.failed.version < sent.version:
		st.failure, st.failed = err, sent
	}
	st.attend()
	i.changed.broadcast()
}

// retire lets go of what the whole chain has, in order.
func (st *stream) retire() {
	i := st.ino
	for len(st.kept) > 0 && st.kept[0].acked {
		r := st.kept[0]
		st.kept = st.kept[1:]
		st.next--
		st.relax()
		if r.seq > st.abandoned {
			st.uncommitted = true
			if r.buf != nil {
				i.ackedEnd = max(i.ackedEnd, int64(st.index)*i.c.chunkSize+r.end())
			}
		}
		st.ackedSeq = r.seq
		if r.sync {
			st.synced(r.seq)
		}
		i.c.free(r)
	}
}

// relax is called at every progress: the budget of retries starts anew (L18).
func (st *stream) relax() {
	if st.patience != nil {
		st.patience.cancel()
		st.patience = nil
	}
}

func (st *stream) tense() *patience {
	if st.patience == nil {
		st.patience = st.ino.c.newPatience(st.ino.c.background)
	}
	return st.patience
}

// findChunk asks for the chunk to write to.
func (st *stream) findChunk() {
	i := st.ino
	ahead := i.assignAhead(st.index)
	p := st.tense()
	var loc location
	var err error
	st.unlocked(func() {
		var ok bool
		if loc, ok = i.c.locations.assigned(i.id, st.index); !ok {
			loc, err = i.c.assign(p.ctx, i.id, st.index, ahead)
		}
	})
	if err != nil {
		st.giveUp(err)
		return
	}
	st.loc = loc
	st.made = loc.committed
}

// assignAhead decides how many chunks behind index to ask for: the more, the
// longer the writer has gone on where the last answer ended. i.mu is held.
func (i *inode) assignAhead(index uint64) uint32 {
	if index != i.nextAssign {
		i.ahead = 0
	} else {
		i.ahead = min(2*i.ahead+1, maxAssignAhead-1)
	}
	if index > 0 && i.streams[index-1] == nil {
		i.ahead = 0
	}
	i.nextAssign = index + 1 + uint64(i.ahead)
	return i.ahead
}

// recover replaces the chain, so that all that is kept goes out again.
func (st *stream) recover() {
	if st.dropAbandoned(); len(st.kept) == 0 {
		st.failure = nil
		return
	}
	if st.failed.chunk != st.loc.chunk || st.failed.version < st.loc.version {
		st.failure = nil // a sync has found another chain meanwhile
		st.resend()
		return
	}
	i, p := st.ino, st.tense()
	broken := &brokenChain{i.id, st.index, st.loc, !st.made, st.failure}
	var loc location
	var err error
	st.unlocked(func() { loc, err = i.c.replaceChain(p, broken) })
	if err != nil {
		st.giveUp(err)
		return
	}
	st.moveTo(loc)
	st.failure = nil
	st.resend()
}

// synced notes that what left up to seq is on stable storage.
func (st *stream) synced(seq uint64) {
	st.syncedSeq = max(st.syncedSeq, seq)
	st.durableSeq = max(st.durableSeq, seq)
}

// moveTo takes a new location. What was synced must be synced there again. If the version
// has aged, what was acknowledged and never synced may be gone, and nobody has it any more:
// the next sync must not say that it is there (L9).
func (st *stream) moveTo(loc location) {
	if loc.chunk == st.loc.chunk && loc.version < st.loc.version {
		return
	}
	if loc.chunk == st.loc.chunk && loc.version.Age() > st.loc.version.Age() && st.ackedSeq > max(st.durableSeq, st.abandoned) {
		st.durableSeq = st.ackedSeq // said once, then not again
		st.ino.content++
		st.ino.fail(proto.E(proto.IO, "write", st.subject(), "all its chunkservers went down before it was synced: some of it may be lost"))
	}
	if loc.chunk != st.loc.chunk {
		st.made = loc.committed
	}
	st.loc = loc
	st.syncedSeq = 0
}

// giveUp drops what cannot be written and makes the error stick to the files.
// No frame is in flight.
func (st *stream) giveUp(err error) {
	i := st.ino
	st.dropAbandoned()
	wanted := len(st.kept) > 0
	for _, r := range st.kept {
		i.c.free(r)
	}
	st.kept, st.next, st.failure = nil, 0, nil
	st.relax()
	if wanted {
		i.recountEnd()
		i.content++
		i.fail(asWriteError(err, st.subject()))
	}
}

func (st *stream) dropAbandoned() {
	for len(st.kept) > 0 && st.kept[0].seq <= st.abandoned {
		st.ino.c.free(st.kept[0])
		st.kept = st.kept[1:]
		st.next = max(st.next-1, 0)
	}
}

// recountEnd finds out how far unwritten data reaches after some was dropped; i.mu is held.
func (i *inode) recountEnd() {
	i.end = i.ackedEnd
	for _, st := range i.streams {
		base := int64(st.index) * i.c.chunkSize
		for _, r := range st.kept {
			if r.buf != nil && r.seq > st.abandoned {
				i.end = max(i.end, base+r.end())
			}
		}
		if st.gathering != nil {
			i.end = max(i.end, base+st.gathering.end())
		}
	}
}

// prune forgets a stream that has nothing left to do; i.mu is held.
func (i *inode) prune(st *stream) {
	idle := st.gathering == nil && len(st.kept) == 0 && !st.working
	if idle && !st.uncommitted && (st.syncedSeq >= st.ackedSeq || len(i.files) == 0) && i.streams[st.index] == st {
		delete(i.streams, st.index)
		i.durable = i.durable && st.syncedSeq >= st.ackedSeq
	}
}

func (st *stream) subject() string {
	if st.loc.chunk == 0 {
		return fmt.Sprintf("%s chunk index %d", inodeName(st.ino.id), st.index)
	}
	return fmt.Sprintf("%s chunk %v version %d", inodeName(st.ino.id), st.loc.chunk, st.loc.version)
}

// asWriteError makes any failure of the data plane an *proto.Error.
func asWriteError(err error, subject string) error {
	var e *proto.Error
	if errors.As(err, &e) && e.Op != "" {
		return e
	}
	return &proto.Error{Kind: proto.KindOf(err), Op: "write", Subject: subject, Err: err}
}

// free gives a run's memory back.
func (c *Client) free(r *run) {
	if r.mem == nil {
		return
	}
	size := int64(len(r.buf))
	r.mem.Release()
	r.mem, r.buf = nil, nil
	c.writeBudget.Release(size)
}

// brokenChain is a chain that could not be written to or synced.
type brokenChain struct {
	ino       proto.InodeID
	index     uint64 // of the chunk in the file
	loc       location
	unwritten bool // nothing of the chunk was ever acknowledged here
	cause     error
}

// replaceChain finds the location that takes the place of one whose chain
// failed: the same chunk at a higher version, another chunk, or none. NoSpace: too few
// chunkservers have room.
func (c *Client) replaceChain(p *patience, b *brokenChain) (location, error) {
	c.locations.drop(b.ino, b.index, b.loc)
	began := time.Now()
	for {
		loc, err := c.proposeChain(p.ctx, b)
		if err == nil && loc.serves(b.loc) {
			if loc.chunk != 0 {
				c.locations.put(b.ino, b.index, loc)
			}
			c.opts.Logger.Info("chain replaced", "chunk", b.loc.chunk, "version", loc.version, "was", b.loc.version, "took", time.Since(began), "cause", b.cause)
			return loc, nil
		}
		if err != nil && !transient(proto.KindOf(err)) {
			return location{}, err
		}
		if p.pause() != nil {
			subject := fmt.Sprintf("%s chunk %v version %d", inodeName(b.ino), b.loc.chunk, b.loc.version)
			return location{}, p.spent("write", subject, b.cause)
		}
	}
}

// proposeChain asks once. Who was refused with a wrong version, met no replica, or was
// not told where one is may be behind the times: then the present location comes first.
func (c *Client) proposeChain(ctx context.Context, b *brokenChain) (location, error) {
	kind := proto.KindOf(b.cause)
	if kind == proto.WrongVersion || kind == proto.NoReplica || b.loc.silent() {
		loc, err := c.locateAfresh(ctx, b.ino, b.index)
		if err != nil || loc.serves(b.loc) {
			return loc, err
		}
	}
	loc, err := c.reportChainFailure(ctx, b)
	switch proto.KindOf(err) {
	case proto.NotFound, proto.Stale: // the chunk is gone: perhaps the file has another now
		return c.locateAfresh(ctx, b.ino, b.index)
	}
	return loc, err
}

func (c *Client) reportChainFailure(ctx context.Context, b *brokenChain) (location, error) {
	var failed []uint32
	var chain *pipeline.ChainError
	behind := proto.KindOf(b.cause) == proto.WrongVersion // it has yet to hear of the version
	if errors.As(b.cause, &chain) && chain.FailedNode != 0 && !behind {
		failed = []uint32{uint32(chain.FailedNode)}
	}
	reply, err := ask(ctx, c, c.cred, "report chain failure of", b.loc.chunk.String(), func(ctx context.Context, who *pb.Caller) (*pb.ChunkLocation, error) {
		return c.master.ReportChainFailure(ctx, &pb.ReportChainFailureRequest{
			Caller: who, Inode: uint64(b.ino), Chunk: uint64(b.loc.chunk), Version: uint64(b.loc.version),
			Failed: failed, Reason: b.cause.Error(), Unwritten: b.unwritten, Full: proto.KindOf(b.cause) == proto.NoSpace,
		})
	})
	if err != nil {
		return location{}, err
	}
	return locationOf(reply), nil
}
