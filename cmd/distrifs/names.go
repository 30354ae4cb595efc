package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"syscall"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/cmd/internal/cli"
	"github.com/distrifs/distrifs/proto"
)

// remoteError makes errors of a cluster answer to fs.ErrNotExist and its like, as
// those of this machine do.
func remoteError(err error) error {
	if errors.Is(err, proto.NotFound) {
		return fmt.Errorf("%w%w", err, hidden{fs.ErrNotExist})
	}
	return err
}

// hidden is an error that is found by errors.Is and adds no text.
type hidden struct{ error }

func (hidden) Error() string   { return "" }
func (h hidden) Unwrap() error { return h.error }

func isNotPermitted(err error) bool {
	return errors.Is(err, proto.NotPermitted) || errors.Is(err, proto.Access)
}

func isDir(a client.Attr) bool { return a.Mode&syscall.S_IFMT == syscall.S_IFDIR }

func addRemove(program *cli.Command, master *string) {
	c := program.Sub("rm", "remove files of a cluster")
	c.Args, c.MinArgs, c.MaxArgs = "PATH...", 1, -1
	c.Examples = "distrifs rm :/docs/old.pdf\ndistrifs rm -r :/docs"
	recursive := c.Flags().BoolP("recursive", "r", false, "remove directories with all they hold")
	c.Run = func(ctx context.Context, args []string) error {
		return withRemotes(ctx, "rm", args, *master, func(c *client.Client, at location) error {
			attr, err := c.Lstat(ctx, at.path)
			switch {
			case err != nil:
				return err
			case at.path == "/":
				return fmt.Errorf("%s: the root cannot be removed: name what is in it", at)
			case !isDir(attr):
				return c.Remove(ctx, at.path)
			case !*recursive:
				return fmt.Errorf("%s: is a directory: -r removes directories with all they hold", at)
			}
			return c.RemoveAll(ctx, at.path)
		})
	}
}

func addMkdir(program *cli.Command, master *string) {
	c := program.Sub("mkdir", "make directories in a cluster")
	c.Args, c.MinArgs, c.MaxArgs = "PATH...", 1, -1
	c.Examples = "distrifs mkdir -p :/docs/2026/07"
	parents := c.Flags().BoolP("parents", "p", false, "make missing parents too; a directory that is there is no error")
	c.Run = func(ctx context.Context, args []string) error {
		return withRemotes(ctx, "mkdir", args, *master, func(c *client.Client, at location) error {
			if *parents {
				return c.MkdirAll(ctx, at.path, 0o777)
			}
			return remotePlace{c: c, cred: ownCred()}.mkdir(ctx, at.path, 0o777)
		})
	}
}

func addMove(program *cli.Command, master *string) {
	c := program.Sub("mv", "rename or move files within a cluster")
	c.Args, c.MinArgs, c.MaxArgs = "SRC... DST", 2, -1
	c.Long = "Moves like mv(1): into DST if it is a directory, else onto it. Each move is atomic."
	c.Examples = "distrifs mv :/docs/draft.pdf :/docs/final.pdf\ndistrifs mv :/a :/b :/folder"
	c.Run = func(ctx context.Context, args []string) error {
		last, err := parseRemote(args[len(args)-1], *master)
		if err != nil {
			return err
		}
		sources := args[:len(args)-1]
		return withRemotes(ctx, "mv", sources, *master, func(c *client.Client, from location) error {
			if from.master != last.master {
				return fmt.Errorf("%s and %s are in different clusters: copy with cp -r and then remove with rm -r", from, last)
			}
			return move(ctx, c, from, last, len(sources) > 1)
		})
	}
}

func move(ctx context.Context, c *client.Client, from, to location, several bool) error {
	name := to.path
	attr, err := c.Stat(ctx, to.path)
	switch {
	case err == nil && isDir(attr):
		name = path.Join(to.path, path.Base(from.path))
	case err != nil && !errors.Is(err, proto.NotFound):
		return err
	case several:
		return fmt.Errorf("%s: not a directory: make it first, with mkdir", to)
	case to.folder:
		moved, err := c.Stat(ctx, from.path)
		if err != nil {
			return err
		}
		if !isDir(moved) {
			return fmt.Errorf("%s: not a directory: make it first, with mkdir", to)
		}
	}
	return c.RenamePath(ctx, from.path, name)
}
