package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/cmd/internal/cli"
	"github.com/distrifs/distrifs/fusefs"
)

func main() {
	cli.StayAwake()
	if helper := helperOf(os.Args[0]); helper != nil {
		os.Exit(runHelper(helper))
	}
	cmd, _ := newCommand(os.Args[1:])
	cmd.Main()
}

// newCommand describes the program. args are what a process in the background is
// started with.
func newCommand(args []string) (*cli.Command, *settings) {
	cmd := cli.New("distrifs-mount", "mounts a DistriFS cluster")
	cmd.Args, cmd.MinArgs, cmd.MaxArgs = "MASTER[:/SUBFOLDER] MOUNTPOINT", 2, 2
	cmd.Long = `Mounts the cluster of MASTER (host:port; the port is 9420 unless given), or a
folder of it, on the folder MOUNTPOINT, and returns when the mount answers.
With -f it stays in the foreground and serves the mount there.

As root no other software is needed. Other users need the program fusermount3
of the package fuse3. A mount that a crash left dead is taken over.

End the mount by umount MOUNTPOINT (fusermount3 -u MOUNTPOINT), SIGTERM or
SIGINT: what was written is then saved first.

Options for -o: ro, rw, noexec, exec, nosuid, suid, nodev, dev, relatime (which is
usual), noatime, strictatime, allow_other, default_permissions, local_locks, no-leases, dirsync,
no-short-circuit, fsname=NAME, subtype=NAME, debug, soft, hard, and the flags below as NAME=VALUE, for example
io-timeout=5m. Those for mount(8) alone (_netdev, nofail, x-...) are ignored, any
other is refused. With local_locks, locks of files are valid within this mount alone.
With dirsync, names are durable when the call that changes them returns. Permissions are always checked. A mount made by root is open to
all users and honours set-id bits and device files unless they are refused; one of
another user does not, and needs user_allow_other in /etc/fuse.conf to be open.

Called as mount.distrifs or mount.fuse.distrifs it is the helper by which mount(8)
mounts and remounts these types, called as umount.fuse.distrifs the one of umount(8).

In the background without --log-file nothing is logged.`
	cmd.Examples = `distrifs-mount localhost:9420 /mnt/distrifs
distrifs-mount -o ro,noatime,io-timeout=5m master.example:9420:/projects /mnt/projects
distrifs-mount -f --log-level debug localhost /mnt/distrifs
umount /mnt/distrifs`
	s := newSettings(cmd)
	cmd.Run = func(ctx context.Context, names []string) error {
		p, err := s.plan(names[0], names[1])
		if err != nil {
			return failBackground(err)
		}
		if *s.foreground || inBackground() {
			return s.serve(ctx, p)
		}
		return background(ctx, args, p.mountpoint)
	}
	return cmd, s
}

// serve mounts, and returns when the mount has ended.
func (s *settings) serve(ctx context.Context, p plan) (err error) {
	ready := takeReadyPipe()
	defer func() { ready.failed(err) }()
	log, closeLog, err := s.openLog(p.options.Debug)
	if err != nil {
		return err
	}
	defer closeLog.Close()
	if err := ready.leaveFolder(); err != nil {
		return err
	}
	p.options.Logger = log
	tuneMemory()
	c, err := s.dial(ctx, p, log)
	if err != nil {
		return err
	}
	server, err := fusefs.Mount(c, p.mountpoint, p.options)
	if err != nil {
		return errors.Join(err, c.Close())
	}
	log.Info("mounted", "source", p.options.FSName, "mountpoint", server.Mountpoint(), "version", cli.Version())
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

func (s *settings) dial(ctx context.Context, p plan, log *slog.Logger) (*client.Client, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return client.Dial(ctx, p.from.master, client.Options{
		Name:           fmt.Sprintf("%s pid %d mount %s", host, os.Getpid(), p.mountpoint),
		Subfolder:      p.from.folder,
		DialTimeout:    *s.dialTimeout,
		IOTimeout:      s.effectiveIOTimeout(),
		ReadAhead:      int64(*s.readAhead),
		WriteBuffer:    int64(*s.writeBuffer),
		KeepSetIDs:     true, // the kernel says which writes take them away
		NoLeases:       p.options.NoLeases,
		NamesBehind:    !p.options.DirSync,
		NoShortCircuit: p.options.NoShortCircuit,
		Logger:         log,

		PermissionsChecked: true, // by the kernel
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
