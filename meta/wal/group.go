package wal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distrifs/distrifs/proto"
)

// Group is the group of one: this process alone decides.
type Group struct {
	opts    Options
	machine Machine
	log     *segmentLog
	lock    io.Closer // of the folder
	queue   *queue
	term    uint64
	full    fullness       // belongs to the appender
	newest  checkpointInfo // belongs to the checkpointer
	older   uint64         // index of the checkpoint before newest; 0: none. Belongs to the checkpointer

	durable   chan []*proposal     // from the appender to the applier, in order
	drained   chan struct{}        // closed by the applier: all that will be durable is applied
	snapshots chan snapshotRequest // to the applier
	kick      chan struct{}        // of one place: enough was logged for a checkpoint
	requests  chan chan error      // to the checkpointer: take one now
	hurry     chan struct{}        // closed: write checkpoints without regard for others
	failed    chan struct{}        // closed: failure is set
	quit      chan struct{}        // closed: applier and checkpointer end
	running   sync.WaitGroup       // the three goroutines

	closing  sync.Once
	closeErr error // of the one close

	applied atomic.Uint64 // index; set before the record is answered

	mu     sync.Mutex // protects status
	status Status     // less applied and what segmentLog knows
}

// checkpointInfo is what the checkpointer knows of the newest checkpoint.
type checkpointInfo struct {
	index  uint64
	length int64 // of its content, bytes
}

// Open locks the folder, recovers the Machine's state and begins to serve. The
// Machine must be as its Restore expects it, without any record applied.
//
// Errors are *proto.Error: InUse when another process has the folder, Damaged
// when what is in it is not what was written there, NewerFormat when a later
// version of the software wrote it; they name the file, the offset and what to
// do. Then nothing in the folder was changed.
func Open(opts Options, m Machine) (*Group, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	if err := makeFolder(opts.FS, opts.Dir); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	lock, err := opts.FS.Lock(lockName(opts.Dir)) // L15
	if err != nil {
		return nil, err
	}
	r := &recovery{opts: opts, machine: m}
	if err := r.run(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	g := &Group{
		opts: opts, machine: m, lock: lock,
		log: r.log, term: r.term, newest: r.newest, older: r.older,
		queue:     newQueue(opts.QueueBytes),
		durable:   make(chan []*proposal, 1),
		drained:   make(chan struct{}),
		snapshots: make(chan snapshotRequest),
		kick:      make(chan struct{}, 1),
		requests:  make(chan chan error),
		hurry:     make(chan struct{}),
		failed:    make(chan struct{}),
		quit:      make(chan struct{}),
		status: Status{
			LastIndex: r.last, Term: r.term,
			CheckpointIndex: r.newest.index, LogBytes: r.replayed,
		},
	}
	g.applied.Store(r.last)
	g.nudge(r.replayed)
	g.running.Go(g.appendAll)
	g.running.Go(g.applyAll)
	g.running.Go(g.checkpointAll)
	return g, nil
}

// Propose makes a command durable, has it applied, and returns Apply's answer.
// op is not 0. data, of at most MaxData bytes, is the group's from now on: nobody
// may change it.
//
// It blocks while the queue is full. When ctx ends before the answer is there the
// command may be applied nevertheless; the same is true when the group fails, which
// gives Unavailable, as does a group that is closed.
func (g *Group) Propose(ctx context.Context, op uint8, data []byte) (any, error) {
	p := &proposal{op: op, data: data, done: make(chan outcome, 1)}
	if err := g.propose(ctx, p); err != nil {
		return nil, err
	}
	select {
	case o := <-p.done:
		return o.result, o.err
	case <-ctx.Done():
		return nil, &proto.Error{Kind: proto.KindOf(ctx.Err()), Op: "propose", Detail: "gave up waiting for the log; the command may be carried out yet", Err: ctx.Err()}
	}
}

// Submit is Propose without waiting for the answer: then is called with it, unless Submit
// returns an error. What one goroutine submits is logged, applied and answered in that
// order, with whatever is proposed next, or a moment later; Hurry ends that moment. then
// must not block, nor propose anything.
func (g *Group) Submit(ctx context.Context, op uint8, data []byte, then func(result any, err error)) error {
	return g.propose(ctx, &proposal{op: op, data: data, then: then})
}

// Hurry has logged what was submitted.
func (g *Group) Hurry() { g.queue.signal() }

func (g *Group) propose(ctx context.Context, p *proposal) error {
	switch {
	case p.op == 0:
		return proto.E(proto.Invalid, "propose", "", "op code 0 is no command")
	case len(p.data) > MaxData:
		return proto.E(proto.TooLarge, "propose", fmt.Sprintf("op %d", p.op), fmt.Sprintf("%d bytes, and a record holds %d", len(p.data), MaxData))
	}
	return g.queue.put(ctx, p)
}

// Failed is closed when the group has failed for good: Status says why. The
// process should end then, and a new start find out what is really on disk.
func (g *Group) Failed() <-chan struct{} { return g.failed }

// Status says how the group is doing. It does not wait for the disk.
func (g *Group) Status() Status {
	g.mu.Lock()
	s := g.status
	g.mu.Unlock()
	s.AppliedIndex = g.applied.Load()
	s.FirstIndex, s.Segments = g.log.span()
	return s
}

// Checkpoint takes a checkpoint now, after the one that may be under way. It does
// nothing when nothing was applied since the newest. When ctx ends, the
// checkpoint goes on.
func (g *Group) Checkpoint(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case g.requests <- done:
	case <-g.quit:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errClosed = proto.E(proto.Unavailable, "propose", "", "the log is closed")

// Close answers what was proposed, takes a checkpoint, unless the group has
// failed, and unlocks the folder. The folder is unlocked even when it returns an
// error. Another Close waits for the first and returns the same.
func (g *Group) Close() error {
	g.closing.Do(func() { g.closeErr = g.close() })
	return g.closeErr
}

func (g *Group) close() error {
	g.queue.close(errClosed)
	close(g.hurry)
	<-g.drained
	err := g.failure()
	if err == nil {
		err = g.Checkpoint(context.Background())
	}
	close(g.quit)
	g.running.Wait()
	return errors.Join(err, g.log.close(), g.lock.Close())
}

func (g *Group) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.status.Failure
}

// appendAll is the appender.
func (g *Group) appendAll() {
	defer close(g.durable)
	var buf []byte
	for {
		batch := g.queue.take()
		if len(batch) == 0 {
			return
		}
		last := g.log.last
		buf = buf[:0]
		for i, p := range batch {
			r := Record{Op: p.op, Index: last + 1 + uint64(i), Term: g.term, Data: p.data}
			buf = appendRecord(buf, r, last)
		}
		if !g.full.retry(time.Now()) {
			g.refuse(batch)
			continue
		}
		err := g.log.append(buf, last+uint64(len(batch)))
		if g.noteRoom(err) {
			g.refuse(batch)
			continue
		}
		if err != nil {
			g.fail(err, batch)
			return
		}
		g.mu.Lock()
		g.status.LastIndex = g.log.last
		g.status.Batches++
		g.mu.Unlock()
		g.durable <- batch
	}
}

// fail ends the service for good. What is durable is still applied and answered.
func (g *Group) fail(cause error, batch []*proposal) {
	err := &proto.Error{Kind: proto.Unavailable, Op: "append to log", Subject: g.log.path,
		Detail: "nothing more is logged after a failure; check the disk and start again", Err: cause}
	g.opts.Logger.Error("the log has failed", "file", g.log.path, "error", cause, "remedy", "check the disk and start again")
	g.mu.Lock()
	g.status.Failure = err
	g.mu.Unlock()
	close(g.failed)
	g.queue.close(err)
	for len(batch) > 0 {
		for _, p := range batch {
			g.queue.answer(p, nil, err)
		}
		batch = g.queue.take()
	}
}

// applyAll is the applier.
func (g *Group) applyAll() {
	durable := g.durable
	for {
		select {
		case batch, ok := <-durable:
			if !ok {
				durable = nil
				close(g.drained)
				continue
			}
			g.applyBatch(batch)
		case request := <-g.snapshots:
			g.serveSnapshot(request)
		case <-g.quit:
			return
		}
	}
}

func (g *Group) applyBatch(batch []*proposal) {
	var bytes int64
	for _, p := range batch {
		bytes += recordHeader + int64(len(p.data))
	}
	g.mu.Lock()
	g.status.LogBytes += bytes
	logged := g.status.LogBytes
	g.mu.Unlock()
	for _, p := range batch {
		r := Record{Op: p.op, Index: g.applied.Load() + 1, Term: g.term, Data: p.data}
		result := g.machine.Apply(r)
		g.applied.Store(r.Index)
		err, _ := result.(error)
		g.queue.answer(p, result, err)
	}
	g.nudge(logged)
}

// nudge wakes the checkpointer when enough was logged.
func (g *Group) nudge(logged int64) {
	if logged < g.opts.CheckpointBytes {
		return
	}
	select {
	case g.kick <- struct{}{}:
	default:
	}
}
