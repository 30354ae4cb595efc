package meta

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// Config of a Master. Zero values stand for the defaults, except where it says
// otherwise.
type Config struct {
	Dir     string       // of log and checkpoints; required
	FS      disk.FS      // default: disk.OS
	Logger  *slog.Logger // default: discards
	Version string       // of the software, for Status

	// Properties of the cluster. They are fixed when the folder is new; later zero
	// accepts what is stored and anything else has to agree with it.
	ChunkSize   uint64 // bytes, a power of two; default 64 MiB
	Replicas    uint32 // of each chunk, 1 to 8; default 3
	MinReplicas uint32 // 1 to Replicas; default 2, or Replicas if less
	// RootUID and RootGID own the root directory of a cluster that is made.
	RootUID, RootGID uint32

	SessionTimeout time.Duration // silence that ends a session; default 30 s
	// LeaseTime is how long a client's leases outlive the last answer to a keepalive; at
	// most SessionTimeout. 0: no leases are granted.
	LeaseTime    time.Duration
	Heartbeat    time.Duration // how often chunkservers send one; default 3 s
	Report       time.Duration // how often they send a block report; default 30 s
	DeadAfter    time.Duration // silence after which a chunkserver is dead; default 10 s
	RepairDelay  time.Duration // from death to the first copy; default none
	RepairEvery  time.Duration // between looks for chunks to repair; default 1 s
	SafeMode     time.Duration // the longest wait for reports after a start; default 60 s
	Quiet        time.Duration // a chunk written within is not repaired yet; default 5 s
	Grace        time.Duration // life of an assigned chunk of a file nobody has open; default 60 s
	OrderTimeout time.Duration // for a chunkserver to set a version or delete; default 5 s
	CopyTimeout  time.Duration // for a chunkserver to copy a chunk; default 5 min

	RepairRate    uint64 // bytes a second that copies read and write at one chunkserver; 0: unlimited
	RepairStreams int    // copies that one chunkserver takes part in at a time; default 4

	// Dial connects to a chunkserver, to learn whether its process is gone; default: TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	CheckpointEvery time.Duration // default: the log's
	CheckpointBytes int64         // bytes of log; default: the log's

	Now func() time.Time // default: time.Now; tests give another
}

// maxReplicas is how many chain members the presence table has bits for.
const maxReplicas = 8

func (c *Config) setDefaults() error {
	set := func(value *time.Duration, standard time.Duration) {
		if *value == 0 {
			*value = standard
		}
	}
	set(&c.SessionTimeout, 30*time.Second)
	c.LeaseTime = min(c.LeaseTime, c.SessionTimeout)
	set(&c.Heartbeat, 3*time.Second)
	set(&c.Report, 30*time.Second)
	set(&c.DeadAfter, 10*time.Second)
	set(&c.RepairEvery, time.Second)
	set(&c.SafeMode, 60*time.Second)
	set(&c.Quiet, 5*time.Second)
	set(&c.Grace, 60*time.Second)
	set(&c.OrderTimeout, 5*time.Second)
	set(&c.CopyTimeout, 5*time.Minute)
	if c.RepairStreams == 0 {
		c.RepairStreams = 4
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	if c.FS == nil {
		c.FS = disk.OS
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c.check()
}

func (c *Config) check() error {
	invalid := func(what string) error { return proto.E(proto.Invalid, "start master", c.Dir, what) }
	switch {
	case c.Dir == "":
		return invalid("a folder for log and checkpoints is required")
	case c.ChunkSize != 0 && (c.ChunkSize&(c.ChunkSize-1) != 0 || c.ChunkSize < proto.MinChunkSize || c.ChunkSize > proto.MaxChunkSize):
		return invalid("the chunk size must be a power of two from 1MiB to 1GiB")
	case c.Replicas > maxReplicas:
		return invalid("a chunk has at most 8 replicas")
	case c.Replicas != 0 && c.MinReplicas > c.Replicas:
		return invalid("min-replicas must not be more than replicas")
	case c.LeaseTime != 0 && c.LeaseTime < 100*time.Millisecond:
		return invalid("the lease time must be 100ms or more, or 0 for no leases")
	case c.RepairStreams < 0 || c.RepairDelay < 0:
		return invalid("repair-streams and repair-delay must not be negative")
	case c.SessionTimeout < time.Second || c.DeadAfter < c.Heartbeat || c.Heartbeat < 10*time.Millisecond:
		return invalid("the session time-out must be 1s or more, dead-after not less than a heartbeat")
	}
	return nil
}
