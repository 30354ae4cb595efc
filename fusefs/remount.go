package fusefs

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"golang.org/x/sys/unix"
)

// DescriptionXattr is an extended attribute of a mount's root by which the process
// that serves the mount says how it was started: Options.Description.
const DescriptionXattr = "system.distrifs.mount"

const maxDescription = 1 << 16 // bytes: no extended attribute is longer

// Running gives the options of the mount at a path, those that the kernel knows and
// the description by the process that serves it. Invalid if none of ours is there.
func Running(mountpoint string) (Options, error) {
	path, err := resolve(mountpoint)
	if err != nil {
		return Options{}, err
	}
	entry, mounted, err := mountAt(path)
	if err != nil {
		return Options{}, err
	}
	description := make([]byte, maxDescription)
	n, err := unix.Getxattr(path, DescriptionXattr, description)
	if !mounted || err != nil {
		return Options{}, &proto.Error{Kind: proto.Invalid, Op: "find mount", Subject: path, Detail: "no living DistriFS mount is there", Err: err}
	}
	opts := Options{FSName: entry.source, Subtype: strings.TrimPrefix(entry.fstype, "fuse."), Description: string(description[:n])}
	opts.setFlags(&entry)
	return opts, nil
}

// setFlags takes over what the kernel's table says.
func (o *Options) setFlags(e *mountEntry) {
	has := func(flag string) bool { return slices.Contains(e.flags, flag) }
	o.ReadOnly = has("ro") || slices.Contains(e.super, "ro")
	o.NoExec, o.NoSuid, o.NoDev = has("noexec"), has("nosuid"), has("nodev")
	o.NoAtime = has("noatime")
	o.StrictAtime = !o.NoAtime && !has("relatime")
}

// Remount sets the kernel's flags of a mount: ro, noatime, strictatime, noexec,
// nosuid, nodev. It needs root. Busy: a file is open for writing and ro was asked for.
func Remount(mountpoint string, opts Options) error {
	path, err := resolve(mountpoint)
	if err != nil {
		return err
	}
	err = unix.Mount("", path, "", unix.MS_REMOUNT|opts.flags(), "")
	if errors.Is(err, unix.EBUSY) {
		return proto.E(proto.Busy, "remount", path, "a file is open for writing: see who has it (fuser -vm "+path+")")
	}
	if err != nil {
		return fmt.Errorf("remount %s: %w", path, err)
	}
	// Has the serving process look at the flags; if it cannot, it does so by itself later.
	_, _ = unix.Getxattr(path, DescriptionXattr, nil)
	return nil
}

// atime is which reads update access times, by the kernel's flags. It leaves that to
// the filesystem, and nothing is written to a mount that is read-only.
func (o *Options) atime() client.Atime {
	switch {
	case o.ReadOnly || o.NoAtime:
		return client.NoAtime
	case o.StrictAtime:
		return client.StrictAtime
	}
	return client.RelAtime
}
