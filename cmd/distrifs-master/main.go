package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/distrifs/distrifs/cmd/internal/cli"
	"github.com/distrifs/distrifs/meta"
	"github.com/distrifs/distrifs/proto"
)

const long = `Serves the metadata of a DistriFS cluster to clients and chunkservers, on one port.
A new, empty folder becomes a new cluster; chunk size and numbers of replicas are
fixed then, and may be left out or repeated at later starts.`

const examples = `distrifs-master --dir /var/lib/distrifs/master
distrifs-master --dir /data/master --listen 10.0.0.1:9420 --replicas 3 --chunk-size 64MiB`

// gcPercent lets the heap grow little beyond the tables, which hardly change: they
// are most of it, and there is nothing in them to collect.
const gcPercent = 50

type options struct {
	flags     *pflag.FlagSet
	dir       string
	listen    string
	chunkSize *cli.Size
	replicas  uint32
	least     uint32
	session   time.Duration
	lease     time.Duration
	dead      time.Duration
	delay     time.Duration
	rate      *cli.Size
	streams   int
	every     time.Duration
	bytes     *cli.Size
	logging   *cli.Logging
}

func main() {
	cli.StayAwake()
	command().Main()
}

func command() *cli.Command {
	cmd := cli.New("distrifs-master", "serves the metadata of a cluster")
	cmd.Long, cmd.Examples = long, examples
	o := options{flags: cmd.Flags()}
	o.flags.StringVar(&o.dir, "dir", "", "folder of log and checkpoints (required)")
	o.flags.StringVar(&o.listen, "listen", "127.0.0.1:9420", "address that clients and chunkservers connect to")
	o.chunkSize = cmd.SizeFlag("chunk-size", proto.DefaultChunkSize, "size of chunks, a power of two from 1MiB to 1GiB; fixed at the first start")
	o.flags.Uint32Var(&o.replicas, "replicas", 3, "replicas of each chunk, 1 to 8; fixed at the first start")
	o.flags.Uint32Var(&o.least, "min-replicas", 2, "with fewer replicas a write is refused; fixed at the first start (2, or replicas if less)")
	o.flags.DurationVar(&o.session, "session-timeout", 30*time.Second, "silence after which a client's session ends")
	o.flags.DurationVar(&o.lease, "lease-time", 10*time.Second, "how long a client that is silent may rely on what it has cached, and others wait for it; at most the session time-out; 0: clients cache for a second, without leases")
	o.flags.DurationVar(&o.dead, "dead-after", 10*time.Second, "silence after which a chunkserver is dead")
	o.flags.DurationVar(&o.delay, "repair-delay", 0, "time from a chunkserver's death to the first copy of what it had")
	o.rate = cmd.SizeFlag("repair-rate", 128<<20, "bytes a second that copies for repair take at one chunkserver at most; 0: no limit")
	o.flags.IntVar(&o.streams, "repair-streams", 4, "copies for repair that one chunkserver takes part in at a time")
	o.flags.DurationVar(&o.every, "checkpoint-every", 10*time.Minute, "longest time between checkpoints")
	o.bytes = cmd.SizeFlag("checkpoint-bytes", 64<<20, "most bytes of log between checkpoints")
	o.logging = cli.LogFlags(o.flags)
	cmd.Run = func(ctx context.Context, _ []string) error { return o.run(ctx) }
	return cmd
}

func (o *options) run(ctx context.Context) error {
	if o.dir == "" {
		return cli.Usagef("--dir is missing: the folder of log and checkpoints")
	}
	if o.streams < 1 {
		return cli.Usagef("--repair-streams must be positive")
	}
	if os.Getenv("GOGC") == "" { // GOMEMLIMIT is heeded by the runtime
		debug.SetGCPercent(gcPercent)
	}
	// The port comes first: a refused start changes nothing in the folder.
	listener, err := listen(o.listen)
	if err != nil {
		return err
	}
	log := o.logging.Logger()
	master, err := meta.Open(o.config(log))
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	log.Info("serving", "address", listener.Addr().String())
	served := make(chan error, 1)
	go func() { served <- master.Serve(listener) }()
	select {
	case err = <-served:
	case <-ctx.Done():
		log.Info("stopping")
	}
	return errors.Join(err, master.Close())
}

// config leaves out what the user left out of the properties that are fixed.
func (o *options) config(log *slog.Logger) meta.Config {
	c := meta.Config{
		Dir: o.dir, Logger: log, Version: cli.Version(),
		SessionTimeout: o.session, LeaseTime: o.lease, DeadAfter: o.dead, RepairDelay: o.delay, RepairRate: uint64(*o.rate), RepairStreams: o.streams,
		Heartbeat:       min(3*time.Second, o.dead/3),
		CheckpointEvery: o.every, CheckpointBytes: int64(*o.bytes),
		RootUID: uint32(os.Geteuid()), RootGID: uint32(os.Getegid()),
	}
	if o.flags.Changed("chunk-size") {
		c.ChunkSize = uint64(*o.chunkSize)
	}
	if o.flags.Changed("replicas") {
		c.Replicas = o.replicas
	}
	if o.flags.Changed("min-replicas") {
		c.MinReplicas = o.least
	}
	return c
}

func listen(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, proto.E(proto.InUse, "listen on", address, "another process has the port: stop it, or choose another with --listen")
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w: --listen takes HOST:PORT of this machine, such as 127.0.0.1:9420", address, err)
	}
	return listener, nil
}
