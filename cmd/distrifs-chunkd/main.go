package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/distrifs/distrifs/chunk"
	"github.com/distrifs/distrifs/cmd/internal/cli"
	"github.com/distrifs/distrifs/proto"
)

func main() {
	cli.StayAwake()
	cmd := cli.New("distrifs-chunkd", "keeps replicas of chunks and serves them")
	cmd.Long = `A chunkserver keeps chunks as plain files in its data folders, one for each disk,
and tells the master what it holds. A folder belongs to one chunkserver of one
cluster for ever; an empty one joins the cluster of the master it is pointed at.
When the master is away the chunkserver goes on serving and waits for it.`
	cmd.Examples = `distrifs-chunkd --dir /srv/disk1 --dir /srv/disk2 --master master:9420 --listen 10.0.0.5:9421`
	config := chunk.Config{Version: cli.Version()}
	flags := cmd.Flags()
	flags.StringArrayVar(&config.Dirs, "dir", nil, "data folder; made if absent; repeat it for more disks (required)")
	flags.StringVar(&config.Master, "master", "127.0.0.1:9420", "host:port of the master")
	listen := flags.String("listen", "127.0.0.1:0", "host:port to serve on; port 0 chooses a free one")
	flags.StringVar(&config.Advertise, "advertise", "", "host:port under which others reach this server, if it is not the one it listens on")
	flags.IntVar(&config.OpenChunks, "open-chunks", 4096, "chunk files kept open")
	tables := cli.Size(256 << 20)
	flags.Var(&tables, "checksum-cache", "memory for the checksums of open chunks")
	scrub := flags.Duration("scrub-period", 14*24*time.Hour, "every replica is verified once in this time, in the background; 0: never")
	logging := cli.LogFlags(flags)
	cmd.Run = func(ctx context.Context, _ []string) error {
		config.TableBytes, config.Logger = int64(tables), logging.Logger()
		if config.ScrubPeriod = *scrub; *scrub <= 0 {
			config.ScrubPeriod = -1
		}
		if len(config.Dirs) == 0 {
			return cli.Usagef("a data folder is required: name it with --dir")
		}
		if config.OpenChunks < 1 || tables < 1 {
			return cli.Usagef("--open-chunks and --checksum-cache must be positive")
		}
		for _, address := range []string{config.Master, *listen} {
			if _, _, err := net.SplitHostPort(address); err != nil {
				return cli.Usagef("%q is not host:port", address)
			}
		}
		return serve(ctx, config, *listen)
	}
	cmd.Main()
}

// serve runs the chunkserver until ctx ends.
func serve(ctx context.Context, config chunk.Config, address string) error {
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return proto.E(proto.InUse, "listen on", address, "another process has the port: stop it, or choose another with --listen")
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	server, err := chunk.Open(config)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err = <-served:
	case <-ctx.Done():
		config.Logger.Info("chunkserver stops")
	}
	return errors.Join(err, server.Close())
}
