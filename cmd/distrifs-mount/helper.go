package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/cmd/internal/cli"
)

// mount(8) and umount(8) call a program of their type's name, if there is one below
// /sbin: mount.TYPE SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE.SUBTYPE].
// This program plays that part under such a name.

// The exit codes of mount(8) and umount(8).
const (
	exitUsage       = 1 // also: not permitted
	exitSystem      = 2 // no process, no memory
	exitInterrupted = 8
	exitFailed      = 32
)

// helperOf gives the helper that a program of this name is; nil if it is none.
func helperOf(program string) *cli.Command {
	switch name := filepath.Base(program); name {
	case "mount.distrifs", "mount.fuse.distrifs":
		return newMountHelper(name)
	case "umount.distrifs", "umount.fuse.distrifs":
		return newUmountHelper(name)
	}
	return nil
}

// runHelper gives the exit code, behind one line on standard error if it is not 0.
func runHelper(cmd *cli.Command) int {
	ctx, stop := cli.SignalContext(context.Background())
	defer stop()
	err := cmd.Execute(ctx, os.Args[1:], os.Stdout, os.LookupEnv)
	var elsewhere *namespaceExit
	if errors.As(err, &elsewhere) {
		return elsewhere.code // it has said why
	}
	if err != nil {
		cli.Complain(err)
	}
	return exitCode(ctx, err)
}

func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		return exitInterrupted
	case cli.IsUsage(err), errors.Is(err, unix.EPERM):
		return exitUsage
	case errors.Is(err, errStart):
		return exitSystem
	}
	return exitFailed
}

// mountCall is how mount(8) calls.
type mountCall struct {
	options                       *[]string
	sloppy, fake, verbose, noMtab *bool
	namespace, fstype             *string
}

func newMountHelper(name string) *cli.Command {
	cmd := cli.New(name, "mounts a DistriFS cluster for mount(8)")
	cmd.Args, cmd.MinArgs, cmd.MaxArgs = "MASTER[:/SUBFOLDER] MOUNTPOINT", 2, 2
	cmd.Long = `Called by mount(8) for the types distrifs and fuse.distrifs. It returns 0 when the
mount answers, and otherwise an exit code of mount(8): 1 for a call that makes no
sense or is not permitted, 2 if no process can be started, 8 if it was interrupted,
32 if the mount failed. See distrifs-mount --help for the options. With the option
remount it changes those that the kernel can: ro, rw, exec, suid, dev, the times of
access and their opposites.`
	cmd.Examples = `mount -t distrifs master.example:9420 /mnt/distrifs -o noatime
mount -o remount,ro /mnt/distrifs`
	flags := cmd.Flags()
	call := mountCall{
		options:   flags.StringArrayP("options", "o", nil, "mount options, separated by commas (may be repeated)"),
		sloppy:    flags.BoolP("sloppy", "s", false, "ignore mount options that are not known"),
		fake:      flags.BoolP("fake", "f", false, "check the call, and mount nothing"),
		verbose:   flags.BoolP("verbose", "v", false, "say what was done"),
		noMtab:    flags.BoolP("no-mtab", "n", false, "has no meaning: there is no other table than the kernel's"),
		namespace: flags.StringP("namespace", "N", "", "do it in the mount namespace of this process, or of this file"),
		fstype:    flags.StringP("type", "t", "", "the filesystem type: fuse.NAME is shown as such"),
	}
	cmd.Run = call.run
	return cmd
}

func (m *mountCall) run(ctx context.Context, names []string) error {
	if *m.namespace != "" {
		return inNamespace(*m.namespace, os.Args)
	}
	done := "mounted on"
	how := m.mount
	if m.isRemount() {
		done, how = "remounted on", m.remount
	}
	if err := how(ctx, names[0], names[1]); err != nil {
		return err
	}
	if *m.verbose && !*m.fake {
		fmt.Printf("%s %s %s.\n", names[0], done, names[1])
	}
	return nil
}

func (m *mountCall) isRemount() bool {
	return slices.ContainsFunc(*m.options, func(list string) bool {
		return slices.Contains(strings.Split(list, ","), "remount")
	})
}

// mount does what distrifs-mount does when it is called by name.
func (m *mountCall) mount(ctx context.Context, source, mountpoint string) error {
	args := []string{"--foreground=false", fmt.Sprintf("--sloppy=%v", *m.sloppy)}
	if subtype, ok := strings.CutPrefix(*m.fstype, "fuse."); ok {
		args = append(args, "-o", "subtype="+subtype)
	}
	for _, list := range *m.options {
		args = append(args, "-o", list)
	}
	args = append(args, "--", source, mountpoint)
	cmd, s := newCommand(args)
	if *m.fake {
		cmd.Run = func(context.Context, []string) error {
			_, err := s.plan(source, mountpoint)
			return err
		}
	}
	return cmd.Execute(ctx, args, os.Stdout, os.LookupEnv)
}
