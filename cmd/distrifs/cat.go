package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/cmd/internal/cli"
)

// catBuffer is how much is read and printed at once, in bytes.
const catBuffer = 1 << 20

func addCat(program *cli.Command, master *string) {
	c := program.Sub("cat", "print files of a cluster")
	c.Args, c.MinArgs, c.MaxArgs = "PATH...", 1, -1
	c.Examples = "distrifs cat :/docs/notes.txt"
	c.Run = func(ctx context.Context, args []string) error {
		return withRemotes(ctx, "cat", args, *master, func(c *client.Client, at location) error {
			return cat(ctx, c, at.path, os.Stdout)
		})
	}
}

func cat(ctx context.Context, c *client.Client, name string, out io.Writer) error {
	attr, err := c.Stat(ctx, name)
	if err != nil {
		return err
	}
	if isDir(attr) {
		return fmt.Errorf("%s: is a directory: ls lists it", name)
	}
	f, err := c.Open(ctx, name)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, catBuffer)
	for off := int64(0); ; {
		n, err := f.ReadAtContext(ctx, buf, off)
		off += int64(n)
		if _, failed := out.Write(buf[:n]); failed != nil {
			return failed
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
