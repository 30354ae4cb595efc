package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/cmd/internal/cli"
	"github.com/distrifs/distrifs/fusefs"
	"github.com/distrifs/distrifs/proto"
)

// The kernel does not tell a FUSE filesystem of a umount before it is done. So that
// umount(8) returns when all is saved, as on a local filesystem, its helper asks for
// that first. A umount without the helper loses nothing either: the process that serves
// the mount saves what is left, and then ends.

// umountCall is how umount(8) calls.
type umountCall struct {
	force, lazy, readOnly, verbose, noMtab *bool
	namespace, fstype                      *string
}

func newUmountHelper(name string) *cli.Command {
	cmd := cli.New(name, "unmounts a DistriFS cluster for umount(8)")
	cmd.Args, cmd.MinArgs, cmd.MaxArgs = "MOUNTPOINT", 1, 1
	cmd.Long = `Called by umount(8). It returns when what was written is on the chunkservers' disks,
and the mount is gone. With -l or -f it does not wait: what is unwritten is saved by
the process that serves the mount, when the last program has left it.`
	flags := cmd.Flags()
	call := umountCall{
		force:     flags.BoolP("force", "f", false, "break off the calls under way"),
		lazy:      flags.BoolP("lazy", "l", false, "take it out of the tree now; it ends when it is not used any more"),
		readOnly:  flags.BoolP("read-only", "r", false, "if it is in use, make it read-only"),
		verbose:   flags.BoolP("verbose", "v", false, "say what was done"),
		noMtab:    flags.BoolP("no-mtab", "n", false, "has no meaning: there is no other table than the kernel's"),
		namespace: flags.StringP("namespace", "N", "", "do it in the mount namespace of this process, or of this file"),
		fstype:    flags.StringP("type", "t", "", "has no meaning: the kernel knows the type"),
	}
	cmd.Run = call.run
	return cmd
}

func (u *umountCall) run(_ context.Context, names []string) error {
	if *u.namespace != "" {
		return inNamespace(*u.namespace, os.Args)
	}
	mountpoint, err := filepath.Abs(names[0])
	if err != nil {
		return err
	}
	var unsaved error
	if !*u.force && !*u.lazy {
		unsaved = saveAll(mountpoint)
	}
	err = unix.Unmount(mountpoint, u.flags())
	if errors.Is(err, unix.EBUSY) && *u.readOnly {
		return makeReadOnly(mountpoint)
	}
	if errors.Is(err, unix.EBUSY) {
		return proto.E(proto.Busy, "unmount", mountpoint, "it is in use: see who has it (fuser -vm "+mountpoint+"), or detach it (umount -l)")
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", mountpoint, err)
	}
	if unsaved != nil {
		return fmt.Errorf("%s is unmounted, but not all that was written could be saved: %w", mountpoint, unsaved)
	}
	if *u.verbose {
		fmt.Printf("%s unmounted.\n", mountpoint)
	}
	return nil
}

func (u *umountCall) flags() int {
	flags := unix.UMOUNT_NOFOLLOW
	if *u.force {
		flags |= unix.MNT_FORCE
	}
	if *u.lazy {
		flags |= unix.MNT_DETACH
	}
	return flags
}

// saveAll has the mount save what is unwritten in any file: the fsync of its root does.
// A mount that is dead has nothing left to save.
func saveAll(mountpoint string) error {
	root, err := os.Open(mountpoint)
	if err != nil {
		return nil
	}
	defer root.Close()
	return root.Sync()
}

func makeReadOnly(mountpoint string) error {
	opts, err := fusefs.Running(mountpoint)
	if err != nil {
		return err
	}
	opts.ReadOnly = true
	return fusefs.Remount(mountpoint, opts)
}
