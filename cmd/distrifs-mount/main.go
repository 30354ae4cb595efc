package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/cmd/internal/cli"
	"github.com/distrifs/distrifs/fusefs"
)

// settings are the values of the flags.
type settings struct {
	foreground  *bool
	options     *[]string
	dialTimeout *time.Duration
	ioTimeout   *time.Duration
	readAhead   *cli.Size
	writeBuffer *cli.Size
	logFile     *string
	logging     *cli.Logging
}

func main() { newCommand().Main() }

func newCommand() *cli.Command {
	cmd := cli.New("distrifs-mount", "mounts a DistriFS cluster")
	cmd.Args, cmd.MinArgs, cmd.MaxArgs = "MASTER[:/SUBFOLDER] MOUNTPOINT", 2, 2
	cmd.Long = `Mounts the cluster of MASTER (host:port; the port is 9420 unless given), or a
folder of it, on the folder MOUNTPOINT, and returns when the mount answers.
With -f it stays in the foreground and serves the mount there.

As root no other software is needed. Other users need the program fusermount3
of the package fuse3. A mount that a crash left dead is taken over.

End the mount by umount MOUNTPOINT (fusermount3 -u MOUNTPOINT), SIGTERM or
SIGINT: what was written is then saved first.

Options for -o: ro, rw, noatime, atime, noexec, exec, suid, nosuid, dev, nodev,
allow_other, default_permissions, local_locks, fsname=NAME, subtype=NAME, debug.
With local_locks, locks of files are valid within this mount alone. Permissions
are always checked; suid, dev and a mount open to all users need root (for the
last, user_allow_other in /etc/fuse.conf is enough), who has the last always.

In the background without --log-file nothing is logged.`
	cmd.Examples = `distrifs-mount localhost:9420 /mnt/distrifs
distrifs-mount -o ro,noatime master.example:9420:/projects /mnt/projects
distrifs-mount -f --log-level debug localhost /mnt/distrifs
umount /mnt/distrifs`
	flags := cmd.Flags()
	s := &settings{
		foreground:  flags.BoolP("foreground", "f", false, "serve in the foreground"),
		options:     flags.StringArrayP("options", "o", nil, "mount options, separated by commas (may be repeated)"),
		dialTimeout: flags.Duration("dial-timeout", 10*time.Second, "how long to wait for the master's first answer"),
		ioTimeout:   flags.Duration("io-timeout", time.Minute, "how long a call waits for servers that are away before it fails"),
		readAhead:   cmd.SizeFlag("read-ahead", 8<<20, "bytes read ahead of an open file, at most"),
		writeBuffer: cmd.SizeFlag("write-buffer", 64<<20, "bytes written by programs and not yet by all servers, at most"),
		logFile:     flags.String("log-file", "", "append the log to this file instead of standard error"),
		logging:     cli.LogFlags(flags),
	}
	cmd.Run = func(ctx context.Context, args []string) error {
		if *s.foreground || inBackground() {
			return s.serve(ctx, args[0], args[1])
		}
		return background()
	}
	return cmd
}

// serve mounts, and returns when the mount has ended.
func (s *settings) serve(ctx context.Context, source, mountpoint string) (err error) {
	ready := takeReadyPipe()
	defer func() { ready.failed(err) }()
	from, err := parseSource(source)
	if err != nil {
		return err
	}
	opts := fusefs.Options{FSName: source}
	for _, list := range *s.options {
		if err := opts.Parse(list); err != nil {
			return err
		}
	}
	if mountpoint, err = filepath.Abs(mountpoint); err != nil {
		return err
	}
	log, closeLog, err := s.openLog(opts.Debug)
	if err != nil {
		return err
	}
	defer closeLog.Close()
	if err := ready.leaveFolder(); err != nil {
		return err
	}
	opts.Logger = log
	tuneMemory()
	c, err := s.dial(ctx, from, mountpoint, log)
	if err != nil {
		return err
	}
	server, err := fusefs.Mount(c, mountpoint, opts)
	if err != nil {
		return errors.Join(err, c.Close())
	}
	log.Info("mounted", "source", source, "mountpoint", server.Mountpoint(), "version", cli.Version())
	ready.ok()
	return end(ctx, server, c, log)
}

// end waits for the end of the mount, or brings it about, and saves what was written.
func end(ctx context.Context, server *fusefs.Server, c *client.Client, log *slog.Logger) error {
	select {
	case <-server.Ended():
		log.Info("unmounted")
	case <-ctx.Done():
		log.Info("unmounting", "cause", context.Cause(ctx))
		if err := server.Unmount(); err != nil {
			// Programs still use it. What they have written is saved below; their
			// descriptors die with this process.
			log.Warn("the mount is in use, and goes nevertheless", "error", err)
			if err := server.Detach(); err != nil {
				log.Error("detach", "error", err)
			}
		}
	}
	if err := c.Close(); err != nil {
		return fmt.Errorf("%s is unmounted, but not all that was written could be saved: %w", server.Mountpoint(), err)
	}
	return nil
}

func (s *settings) dial(ctx context.Context, from source, mountpoint string, log *slog.Logger) (*client.Client, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return client.Dial(ctx, from.master, client.Options{
		Name:        fmt.Sprintf("%s pid %d mount %s", host, os.Getpid(), mountpoint),
		Subfolder:   from.folder,
		DialTimeout: *s.dialTimeout,
		IOTimeout:   *s.ioTimeout,
		ReadAhead:   int64(*s.readAhead),
		WriteBuffer: int64(*s.writeBuffer),
		Logger:      log,
	})
}

// openLog gives the log and what is to be closed at the end.
func (s *settings) openLog(debug bool) (*slog.Logger, io.Closer, error) {
	if debug {
		s.logging.SetLevel(slog.LevelDebug)
	}
	if *s.logFile == "" {
		return s.logging.Logger(), io.NopCloser(nil), nil
	}
	f, err := os.OpenFile(*s.logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("log file: %w", err)
	}
	return s.logging.LoggerTo(f), f, nil
}
