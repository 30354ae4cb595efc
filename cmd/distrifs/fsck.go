package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/cmd/internal/cli"
	"github.com/distrifs/distrifs/proto/pb"
)

// fsckPatience is how long a repair may go on without getting anywhere.
const fsckPatience = 30 * time.Second

func addFsck(program *cli.Command, master *string) {
	c := program.Sub("fsck", "check that all files are whole")
	c.Long = `Checks the tree against the table of chunks, and the table against what all
chunkservers have reported, while the cluster serves. It prints a line for everything
that is wrong, by file: lost, under-replicated, stale, orphaned or damaged; with what is
being done about it, or what could be done and what that would lose. It exits with 0 when
all is well, else with 1.

--repair heals what nothing is lost by, waits until that is done, and checks again.`
	c.Examples = "distrifs fsck\ndistrifs fsck --repair"
	repair := c.Flags().Bool("repair", false, "heal what nothing is lost by")
	c.Run = func(ctx context.Context, _ []string) error {
		return withRemotes(ctx, "fsck", []string{":/"}, *master, func(c *client.Client, _ location) error {
			return fsck(ctx, c, *repair)
		})
	}
}

func fsck(ctx context.Context, c *client.Client, repair bool) error {
	summary, err := c.Fsck(ctx, repair, printFinding)
	if err != nil {
		return err
	}
	if repair && findings(summary) > 0 {
		fmt.Println("waiting for repair, then checking again")
		if err := awaitRepair(ctx, c); err != nil {
			return err
		}
		if summary, err = c.Fsck(ctx, repair, printFinding); err != nil {
			return err
		}
	}
	fmt.Printf("%s files, %s directories, %s chunks: %s lost, %s under-replicated, %s stale, %s orphaned\n",
		count(summary.Files), count(summary.Directories), count(summary.Chunks),
		count(summary.Lost), count(summary.UnderReplicated), count(summary.Stale), count(summary.Orphaned))
	if n := findings(summary); n > 0 {
		return fmt.Errorf("%s findings: the cluster is not whole", count(n))
	}
	return nil
}

func findings(s *pb.FsckSummary) uint64 { return s.Lost + s.UnderReplicated + s.Stale + s.Orphaned }

func printFinding(f *pb.FsckFinding) {
	path := "(no name)"
	if f.Path != "" {
		path = printable(f.Path)
	}
	kind := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(f.Kind.String(), "FSCK_")), "_", "-")
	if f.Chunk != 0 {
		fmt.Printf("%s: %s: chunk %d of the file, id %016x: %s: %s\n", path, kind, f.Index, f.Chunk, f.Detail, f.Remedy)
	} else {
		fmt.Printf("%s: %s: %s: %s\n", path, kind, f.Detail, f.Remedy)
	}
}

// awaitRepair waits while repair gets on.
func awaitRepair(ctx context.Context, c *client.Client) error {
	var left uint64
	for since := time.Now(); time.Since(since) < fsckPatience; {
		status, err := c.Status(ctx)
		if err != nil {
			return err
		}
		lacking := status.Chunks.GetUnderReplicated() + status.Chunks.GetMissing() + status.Chunks.GetToDelete()
		if lacking == 0 && status.Repair.GetWaiting()+status.Repair.GetActive() == 0 {
			return nil
		}
		if now := lacking + status.Repair.GetBytesLeft(); now != left {
			left, since = now, time.Now()
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
