package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/cmd/internal/cli"
	"github.com/distrifs/distrifs/proto/pb"
	"github.com/dustin/go-humanize"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func addStatus(program *cli.Command, master *string) {
	c := program.Sub("status", "tell how a cluster is")
	c.Long = `Tells what the master knows: itself, its chunkservers, space, files, chunks and how
many of them lack replicas, and who has it mounted. --json prints all of it with the
names of the protocol: chunks.under_replicated, nodes[].alive, ...`
	c.Examples = "distrifs status\ndistrifs status --master otherhost:9420 --json"
	disks := c.Flags().Bool("disks", false, "list the disks of the chunkservers, and how far their scrubs are")
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.Run = func(ctx context.Context, _ []string) error {
		return withRemotes(ctx, "status", []string{":/"}, *master, func(c *client.Client, _ location) error {
			reply, err := c.Status(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				encoder := json.NewEncoder(os.Stdout)
				encoder.SetIndent("", "  ")
				return encoder.Encode(plain(reply.ProtoReflect()))
			}
			if err := printStatus(os.Stdout, reply); err != nil || !*disks {
				return err
			}
			return printDisks(os.Stdout, reply.Nodes, time.Now())
		})
	}
}

// plain turns a message into what encoding/json prints with the names of the
// .proto file, every field present, and numbers as numbers (protojson prints
// 64-bit ones as strings).
func plain(m protoreflect.Message) map[string]any {
	object := map[string]any{}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		value := m.Get(field)
		if !field.IsList() {
			object[field.TextName()] = plainValue(field, value)
			continue
		}
		list := make([]any, value.List().Len())
		for n := range list {
			list[n] = plainValue(field, value.List().Get(n))
		}
		object[field.TextName()] = list
	}
	return object
}

func plainValue(field protoreflect.FieldDescriptor, value protoreflect.Value) any {
	if field.Kind() == protoreflect.MessageKind {
		return plain(value.Message())
	}
	return value.Interface()
}

// printStatus writes the report for people.
func printStatus(w io.Writer, s *pb.StatusReply) error {
	head := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(head, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	dead := 0
	for _, n := range s.Nodes {
		if isDead(n) {
			dead++
		}
	}
	used := s.TotalBytes - min(s.FreeBytes, s.TotalBytes)
	row("cluster", "%s", s.Cluster)
	row("master", "%s, version %s, up %v, epoch %d, %s of memory", s.Address, s.Version,
		time.Duration(s.UptimeSeconds)*time.Second, s.Epoch, humanize.IBytes(s.MemoryBytes))
	row("log", "at record %s, checkpoint at %s", count(s.LogIndex), count(s.CheckpointIndex))
	if s.LogFault != "" {
		row("log", "TAKES NO CHANGES: %s", s.LogFault)
	}
	if s.SafeMode {
		row("safe mode", "yes: too few chunks have been reported; no repair and no deletion until then")
	}
	row("chunkservers", "%d, %s", len(s.Nodes), flag(dead, "dead"))
	row("space", "%s, %s used (%s), %s free, before replication", humanize.IBytes(s.TotalBytes), humanize.IBytes(used), percent(used, s.TotalBytes), humanize.IBytes(s.FreeBytes))
	row("files", "%s, %s directories, %s others", count(s.Files), count(s.Directories), count(s.OtherInodes))
	chunks := s.Chunks
	if chunks == nil {
		chunks = &pb.ChunkStatus{}
	}
	row("chunks", "%s of up to %s, %d replicas each, at least %d", count(chunks.Total), humanize.IBytes(s.ChunkSize), s.Replicas, s.MinReplicas)
	row("  under-replicated", "%s", flag(int(chunks.UnderReplicated), "have too few replicas"))
	row("  missing", "%s", flag(int(chunks.Missing), "have no good replica"))
	row("  corrupt replicas", "%s", flag(int(chunks.CorruptReplicas), "wait to be replaced"))
	row("  repair", "%s", repairText(s.Repair))
	if s.Rebalancing {
		row("  rebalancing", "until chunkservers are about equally full; 'distrifs rebalance --cancel' ends it")
	}
	row("  being written", "%s for the first time, or kept ready for it", count(chunks.Assigned))
	row("  being deleted", "%s", count(chunks.ToDelete))
	row("leases", "%s held, %s recalls sent, %s requests wait for leases", count(s.Leases), count(s.Recalls), count(s.Claims))
	if err := head.Flush(); err != nil {
		return err
	}
	if err := printNodes(w, s.Nodes); err != nil {
		return err
	}
	return printSessions(w, s.Sessions)
}

func printSessions(w io.Writer, sessions []*pb.SessionStatus) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "\nsession\tclient\theard\topen files\n")
	for _, s := range sessions {
		fmt.Fprintf(table, "%d\t%s\t%s\t%d\n", s.Session, printable(s.Client), ago(s.LastHeardMs), s.OpenFiles)
	}
	return table.Flush()
}

func count(n uint64) string { return humanize.Comma(int64(n)) }

// flag makes a number that ought to be 0 stand out when it is not.
func flag(n int, what string) string {
	if n == 0 {
		return "none " + what
	}
	return fmt.Sprintf("%s %s  <---", humanize.Comma(int64(n)), what)
}

// ago rounds a time in milliseconds to what people read.
func ago(ms uint64) string {
	d := time.Duration(ms) * time.Millisecond
	if d < time.Minute {
		return fmt.Sprintf("%.1f s ago", d.Seconds())
	}
	return d.Round(time.Second).String() + " ago"
}
