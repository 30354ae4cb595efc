package wal

import (
	"log/slog"
	"time"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// Options of a Group. Zero values stand for the defaults.
type Options struct {
	FS     disk.FS      // default: disk.OS
	Dir    string       // made if need be; required
	Logger *slog.Logger // default: discards

	SegmentSize     int64         // bytes of log in a file, 4 KiB to 1 GiB; default 64 MiB
	QueueBytes      int64         // bytes of proposals under way, beyond which Propose waits; default 16 MiB
	CheckpointBytes int64         // take a checkpoint after so many bytes of log; default 64 MiB
	CheckpointEvery time.Duration // and after so much time, if anything changed; default 10 minutes; negative: never
	CheckpointRate  int64         // bytes/s at which one is written while serving; default 256 MiB/s; negative: unlimited
}

func (o *Options) setDefaults() error {
	set := func(value *int64, standard int64) {
		if *value == 0 {
			*value = standard
		}
	}
	set(&o.SegmentSize, 64<<20)
	set(&o.QueueBytes, 16<<20)
	set(&o.CheckpointBytes, 64<<20)
	set(&o.CheckpointRate, 256<<20)
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = 10 * time.Minute
	}
	if o.FS == nil {
		o.FS = disk.OS
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Dir == "" || o.SegmentSize < 4<<10 || o.SegmentSize > maxSegment || o.QueueBytes < 0 || o.CheckpointBytes < 0 {
		return proto.E(proto.Invalid, "open log", o.Dir, "a folder is required, and sizes within their bounds")
	}
	return nil
}

// Status is how a Group is doing.
type Status struct {
	FirstIndex      uint64    // of the oldest record still in the log
	LastIndex       uint64    // of the newest durable record; 0: none yet
	AppliedIndex    uint64    // of the newest record applied
	Term            uint64    // current
	CheckpointIndex uint64    // of the newest checkpoint; 0: none yet
	CheckpointTime  time.Time // when it was taken; zero: before this start, or never
	CheckpointError error     // why the last attempt failed; nil when it did not
	LogBytes        int64     // of records appended since the newest checkpoint
	Segments        int       // files of log
	Batches         uint64    // written and synced since the start
	Full            error     // why nothing can be logged until there is room; nil: there is
	Failure         error     // why the group has failed for good; nil while it works
}
