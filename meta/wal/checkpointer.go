package wal

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// retryAfter is how long after a failed checkpoint none is tried of itself.
const retryAfter = time.Minute

// snapshotRequest asks the applier for a snapshot, unless nothing was applied
// since the checkpoint with that index.
type snapshotRequest struct {
	since uint64
	reply chan snapshotReply // of one place
}

type snapshotReply struct {
	snapshot Snapshot // nil: nothing new
	index    uint64
	logBytes int64 // logged since the checkpoint before
	err      error
}

// serveSnapshot runs on the applier, between two batches.
func (g *Group) serveSnapshot(request snapshotRequest) {
	reply := snapshotReply{index: g.applied.Load(), logBytes: g.Status().LogBytes}
	if reply.index > request.since {
		reply.snapshot, reply.err = g.machine.Snapshot()
	}
	request.reply <- reply
}

// checkpointAll is the checkpointer.
func (g *Group) checkpointAll() {
	var tick <-chan time.Time // nil: never
	if g.opts.CheckpointEvery > 0 {
		ticker := time.NewTicker(g.opts.CheckpointEvery)
		defer ticker.Stop()
		tick = ticker.C
	}
	var failed time.Time
	for {
		var asked chan error
		select {
		case <-g.quit:
			return
		case asked = <-g.requests:
		case <-tick:
		case <-g.kick:
			if !g.due() || !failed.IsZero() && time.Since(failed) < retryAfter {
				continue
			}
		}
		err := g.takeCheckpoint()
		failed = time.Time{}
		if err != nil {
			failed = time.Now()
			g.opts.Logger.Error("no checkpoint could be taken; the log grows until one can", "folder", g.opts.Dir, "error", err)
		}
		g.mu.Lock()
		g.status.CheckpointError = err
		g.mu.Unlock()
		if asked != nil {
			asked <- err
		}
	}
}

// due says whether enough was logged. A large checkpoint is worth more log: to
// replay that much takes no longer than to load it.
func (g *Group) due() bool {
	return g.Status().LogBytes >= max(g.opts.CheckpointBytes, g.newest.length/2)
}

// takeCheckpoint writes a checkpoint of what is applied by now and removes what
// it makes superfluous.
func (g *Group) takeCheckpoint() error {
	request := snapshotRequest{since: g.newest.index, reply: make(chan snapshotReply, 1)}
	select {
	case g.snapshots <- request:
	case <-g.quit:
		return errClosed
	}
	reply := <-request.reply
	if reply.err != nil {
		return fmt.Errorf("snapshot after record %d: %w", reply.index, reply.err)
	}
	if reply.snapshot == nil {
		return nil
	}
	defer reply.snapshot.Release()
	began := time.Now()
	length, err := writeCheckpoint(g.opts.FS, g.opts.Dir, reply.index, g.term, reply.snapshot, g.pacer())
	if err != nil {
		return err
	}
	g.older, g.newest = g.newest.index, checkpointInfo{reply.index, length}
	g.mu.Lock()
	g.status.CheckpointIndex = reply.index
	g.status.CheckpointTime = began
	g.status.LogBytes -= reply.logBytes
	g.mu.Unlock()
	g.opts.Logger.Info("checkpoint taken", "index", reply.index, "bytes", length, "took", time.Since(began))
	return g.clean()
}

// clean removes the checkpoints before the two newest, and the log that the older
// of these does not need. With a single checkpoint all of the log stays.
func (g *Group) clean() error {
	if g.older == 0 {
		return nil
	}
	found, err := listFolder(g.opts.FS, g.opts.Dir)
	if err != nil {
		return err
	}
	for _, index := range found.checkpoints {
		if index < g.older {
			if err := g.opts.FS.Remove(filepath.Join(g.opts.Dir, checkpointName(index))); err != nil {
				return err
			}
		}
	}
	return errors.Join(g.log.trim(g.older), g.opts.FS.SyncDir(g.opts.Dir))
}

// pacer makes a function that waits so that no more than the rate is written
// (L16), until the group hurries.
func (g *Group) pacer() func(n int) {
	if g.opts.CheckpointRate < 0 {
		return func(int) {}
	}
	began, total := time.Now(), int64(0)
	return func(n int) {
		total += int64(n)
		ahead := time.Duration(float64(total)/float64(g.opts.CheckpointRate)*float64(time.Second)) - time.Since(began)
		if ahead < time.Millisecond {
			return
		}
		timer := time.NewTimer(ahead)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-g.hurry:
		}
	}
}
