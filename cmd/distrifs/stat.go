package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/cmd/internal/cli"
	"github.com/dustin/go-humanize"
)

func addStat(program *cli.Command, master *string) {
	c := program.Sub("stat", "tell all about files of a cluster")
	c.Args, c.MinArgs, c.MaxArgs = "PATH...", 1, -1
	c.Long = "Tells what stat(1) tells; a symlink is not followed."
	c.Examples = "distrifs stat :/docs/notes.txt"
	names := userNames{}
	c.Run = func(ctx context.Context, args []string) error {
		return withRemotes(ctx, "stat", args, *master, func(c *client.Client, at location) error {
			return printStat(ctx, c, at, names)
		})
	}
}

func printStat(ctx context.Context, c *client.Client, at location, names userNames) error {
	a, err := c.Lstat(ctx, at.path)
	if err != nil {
		return err
	}
	name := printable(at.path)
	if a.Mode&syscall.S_IFMT == syscall.S_IFLNK {
		target, err := c.ReadLink(ctx, a.Inode)
		if err != nil {
			return err
		}
		name += " -> " + printable(target)
	}
	const layout = "2006-01-02 15:04:05.000000000 -0700"
	fmt.Printf("  File: %s\n", name)
	fmt.Printf("  Size: %-12d Blocks: %-10d %s\n", a.Size, a.Blocks, kindText(a.Mode))
	fmt.Printf(" Inode: %-12d Links: %d\n", a.Inode, a.Nlink)
	fmt.Printf("Access: (%04o/%s)  Uid: (%d/%s)  Gid: (%d/%s)\n", a.Mode&0o7777, modeText(a.Mode), a.UID, names.user(a.UID), a.GID, names.group(a.GID))
	for _, row := range []struct {
		name string
		t    time.Time
	}{{"Access", a.Atime}, {"Modify", a.Mtime}, {"Change", a.Ctime}, {" Birth", a.Btime}} {
		fmt.Printf("%s: %s\n", row.name, row.t.Local().Format(layout))
	}
	return nil
}

func kindText(mode uint32) string {
	text := map[uint32]string{syscall.S_IFREG: "regular file", syscall.S_IFDIR: "directory", syscall.S_IFLNK: "symbolic link",
		syscall.S_IFIFO: "fifo", syscall.S_IFSOCK: "socket", syscall.S_IFCHR: "character device", syscall.S_IFBLK: "block device"}[mode&syscall.S_IFMT]
	if text == "" {
		return "unknown"
	}
	return text
}

func addDF(program *cli.Command, master *string) {
	c := program.Sub("df", "tell the space of clusters")
	c.Args, c.MaxArgs = "[PATH...]", -1
	c.Long = `Tells the space that files can use: that of the chunkservers divided by the number
of replicas. Without PATH it asks the master of --master.`
	c.Examples = "distrifs df\ndistrifs df localhost:9420:/"
	c.Run = func(ctx context.Context, args []string) error {
		if len(args) == 0 {
			args = []string{":/"}
		}
		table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(table, "Master\tSize\tUsed\tAvail\tUse%\tFiles\t")
		err := withRemotes(ctx, "df", args, *master, func(c *client.Client, at location) error {
			s, err := c.StatFS(ctx)
			if err != nil {
				return err
			}
			used := s.TotalBytes - min(s.FreeBytes, s.TotalBytes)
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t\n", at.master, humanize.IBytes(s.TotalBytes), humanize.IBytes(used),
				humanize.IBytes(s.FreeBytes), percent(used, s.TotalBytes), count(s.Inodes))
			return nil
		})
		if err != nil {
			return err
		}
		return table.Flush()
	}
}

// percent rounds up, as df does: 100 % is full.
func percent(part, whole uint64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", float64(part)/float64(whole)*100+0.4999)
}
