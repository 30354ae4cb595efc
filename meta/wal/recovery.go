package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// recovery brings a Machine to the state that its folder holds. restore and
// replay change nothing on disk; settle does, when all is known to be well.
type recovery struct {
	opts    Options
	machine Machine
	found   folder

	newest  checkpointInfo  // the checkpoint that was restored; index 0: none
	older   uint64          // index of the one before it; 0: none
	damaged []badCheckpoint // passed over, newest first
	last    uint64          // index of the last record
	term    uint64          // of it, at least 1

	replayed int64 // bytes of records applied
	tail     scan  // of the last segment
	log      *segmentLog
}

// badCheckpoint is one that does not match its checksums.
type badCheckpoint struct {
	name string
	*damage
}

func (r *recovery) run() error {
	var err error
	if r.found, err = listFolder(r.opts.FS, r.opts.Dir); err != nil {
		return err
	}
	began := time.Now()
	var took [3]time.Duration
	for i, step := range []func() error{r.restore, r.replay, r.settle} {
		if err := step(); err != nil {
			return err
		}
		took[i] = time.Since(began)
	}
	r.opts.Logger.Info("recovered", "folder", r.opts.Dir, "checkpoint", r.newest.index, "last", r.last, "replayed_bytes", r.replayed,
		"restored_after", took[0], "replayed_after", took[1], "settled_after", took[2])
	return nil
}

// restore loads the newest checkpoint that is not damaged.
func (r *recovery) restore() error {
	for i := len(r.found.checkpoints) - 1; i >= 0; i-- {
		index := r.found.checkpoints[i]
		err := r.load(index)
		var bad *damage
		switch {
		case err == nil:
			if i > 0 {
				r.older = r.found.checkpoints[i-1]
			}
			return nil
		case errors.As(err, &bad):
			r.damaged = append(r.damaged, badCheckpoint{checkpointName(index), bad})
		default:
			return r.wrap(err, "restore", checkpointName(index))
		}
	}
	return nil
}

// load restores one checkpoint. A *damage is what its checksums found.
func (r *recovery) load(index uint64) error {
	f, err := r.opts.FS.OpenFile(r.path(checkpointName(index)), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	content, err := newCheckpointReader(f, size, index)
	if err != nil {
		return err
	}
	err = r.machine.Restore(content)
	if found := content.err; err != nil && errors.As(found, new(*damage)) {
		return found // the reason why the Machine gave up, however it put it
	}
	if err == nil {
		err = content.finish()
	}
	if err != nil {
		return err
	}
	r.newest = checkpointInfo{index, content.length}
	r.last, r.term = index, content.term
	return nil
}

// replay applies the log from the checkpoint on.
func (r *recovery) replay() error {
	segments := r.found.segments
	if len(segments) == 0 {
		return r.withoutLog()
	}
	for len(segments) > 1 && segments[1] <= r.newest.index+1 {
		segments = segments[1:]
	}
	if segments[0] > r.newest.index+1 {
		return r.missing(segments[0], r.newest.index+1)
	}
	r.last = segments[0] - 1
	for i, first := range segments {
		if first != r.last+1 {
			return r.missing(first, r.last+1)
		}
		if err := r.replaySegment(first, i == len(segments)-1); err != nil {
			return err
		}
	}
	if r.last < r.newest.index {
		name := segmentName(segments[len(segments)-1])
		return r.refusal(name, r.tail.end, fmt.Sprintf("the log ends after record %d, and %s was taken after record %d",
			r.last, checkpointName(r.newest.index), r.newest.index))
	}
	return nil
}

// withoutLog is for a folder without segments: a new one, or one whose operator
// has given the log up.
func (r *recovery) withoutLog() error {
	if len(r.damaged) > 0 {
		bad := r.damaged[0]
		return r.refusal(bad.name, bad.offset, bad.what+", and there is no log")
	}
	if r.newest.index > 0 {
		r.opts.Logger.Warn("there is no log: starting from the checkpoint alone, without any later change",
			"folder", r.opts.Dir, "checkpoint", r.newest.index)
	}
	return nil
}

func (r *recovery) replaySegment(first uint64, newest bool) error {
	name := segmentName(first)
	f, err := r.opts.FS.OpenFile(r.path(name), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	s, err := scanSegment(f, size, first, r.tail.term, r.apply)
	if err != nil {
		return r.wrap(err, "read", name)
	}
	r.last, r.tail = s.last, s
	r.term = max(r.term, s.term)
	if s.bad == nil {
		return nil
	}
	// Nothing is written behind a batch before that batch is durable: what was
	// durable, or has a successor, cannot be a torn tail (G8).
	if !newest || s.last+1 <= max(r.newest.index, s.later) {
		return r.refusal(name, s.end, fmt.Sprintf("%v, where record %d should be", s.bad, s.last+1))
	}
	r.opts.Logger.Warn("cutting off the torn tail of the log, which was never acknowledged",
		"file", r.path(name), "offset", s.end, "found", s.bad, "last_record", s.last)
	return nil
}

func (r *recovery) apply(record Record) error {
	if record.Index <= r.newest.index {
		return nil
	}
	if err, refused := r.machine.Apply(record).(error); refused {
		return fmt.Errorf("record %d, op %d: %w", record.Index, record.Op, err)
	}
	r.replayed += recordHeader + int64(len(record.Data))
	return nil
}

// settle makes the folder ready to be appended to. Whatever the last process had
// not synced is synced before anybody relies on it, and written again for that:
// after a failed sync the page cache may hold what the disk does not (L9).
func (r *recovery) settle() error {
	fsys, dir := r.opts.FS, r.opts.Dir
	r.term = max(r.term, 1)
	for _, name := range r.found.leftovers {
		if err := fsys.Remove(r.path(name)); err != nil {
			return err
		}
	}
	for _, bad := range r.damaged {
		name := r.path(bad.name)
		r.opts.Logger.Warn("passing over a damaged checkpoint and keeping it for inspection",
			"file", name, "offset", bad.offset, "found", bad.what, "kept_as", name+".damaged", "used", r.newest.index)
		if err := fsys.Rename(name, name+".damaged"); err != nil {
			return err
		}
	}
	if err := fsys.SyncDir(dir); err != nil {
		return err
	}
	r.log = &segmentLog{fsys: fsys, dir: dir, size: r.opts.SegmentSize, last: r.last, segments: r.found.segments}
	if len(r.found.segments) == 0 {
		return r.beginLog()
	}
	return r.continueLog()
}

func (r *recovery) beginLog() error {
	first, prepared := r.last+1, min(prepareStep, r.opts.SegmentSize-segmentHeader)
	f, err := createSegment(r.opts.FS, r.opts.Dir, first, prepared)
	if err != nil {
		return err
	}
	r.log.segments = []uint64{first}
	r.log.file, r.log.path = f, r.path(segmentName(first))
	r.log.end, r.log.prepared = segmentHeader, segmentHeader+prepared
	return nil
}

func (r *recovery) continueLog() error {
	segments := r.found.segments
	r.log.path = r.path(segmentName(segments[len(segments)-1]))
	f, err := r.opts.FS.OpenFile(r.log.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	end := r.tail.end
	prepared := max(end, min(end+prepareStep, r.opts.SegmentSize))
	err = f.Truncate(end)
	if err == nil {
		err = rewrite(f, r.tail.tail, end)
	}
	if err == nil {
		err = writeZeros(f, end, prepared)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.log.file, r.log.end, r.log.prepared = f, end, prepared
	return nil
}

// rewrite writes what stands from off to end once more.
func rewrite(f disk.File, off, end int64) error {
	buf := make([]byte, min(end-off, int64(len(zeros))))
	for off < end {
		b := buf[:min(end-off, int64(len(buf)))]
		if n, err := f.ReadAt(b, off); n < len(b) {
			return err
		}
		if _, err := f.WriteAt(b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

func (r *recovery) path(name string) string { return filepath.Join(r.opts.Dir, name) }

// missing refuses a log without the records before the segment that begins with
// first, from the one that is needed on.
func (r *recovery) missing(first, needed uint64) error {
	if first < needed {
		return r.refusal(segmentName(first), 0, fmt.Sprintf(
			"the segment before it ends after record %d, so they overlap", needed-1))
	}
	what := fmt.Sprintf("records %d to %d, which come before this file, are missing", needed, first-1)
	for _, bad := range r.damaged {
		what += fmt.Sprintf(", and %s is damaged: %v", bad.name, bad.damage)
	}
	return r.refusal(segmentName(first), 0, what)
}

// refusal says where the folder is not what was written, and what to do.
func (r *recovery) refusal(name string, offset int64, what string) *proto.Error {
	remedy := "restore the file from a copy of the folder"
	if r.newest.index > 0 {
		remedy += fmt.Sprintf(", or move all master-*.log files elsewhere to go on from %s without any later change", checkpointName(r.newest.index))
	}
	return proto.E(proto.Damaged, "recover", fmt.Sprintf("%s offset %d", r.path(name), offset), what+"; "+remedy)
}

// wrap names the file in an error of reading it.
func (r *recovery) wrap(err error, op, name string) error {
	var e *proto.Error
	if errors.As(err, &e) && e.Kind == proto.Damaged {
		return r.refusal(name, 0, e.Detail)
	}
	return &proto.Error{Kind: proto.KindOf(err), Op: op, Subject: r.path(name), Err: err}
}
