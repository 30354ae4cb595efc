package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"github.com/distrifs/distrifs/proto/pb"
)

// isDead tells whether a chunkserver is away that ought to be there.
func isDead(n *pb.NodeStatus) bool { return !n.Alive && n.Maintenance == 0 && !isEmptied(n) }

// isEmptied tells whether a chunkserver has given up all it had, and may go.
func isEmptied(n *pb.NodeStatus) bool { return n.Decommissioned && n.ToMove == 0 }

func printNodes(w io.Writer, nodes []*pb.NodeStatus) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "\nchunkserver\taddress\tstate\theard\tspace\tused\tfree\tchunks\tversion\n")
	for _, n := range nodes {
		used := n.TotalBytes - min(n.FreeBytes, n.TotalBytes)
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.Node, n.Address, nodeState(n), ago(n.LastHeardMs),
			humanize.IBytes(n.TotalBytes), percent(used, n.TotalBytes), humanize.IBytes(n.FreeBytes), count(n.Chunks), n.Version)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, n := range nodes {
		for _, fault := range diskFaults(n) {
			fmt.Fprintf(w, "chunkserver %d: %s\n", n.Node, fault)
		}
	}
	return nil
}

func nodeState(n *pb.NodeStatus) string {
	states := []string{"alive"}
	switch {
	case isDead(n):
		states[0] = "DEAD"
	case !n.Alive:
		states[0] = "away"
	case n.Reporting:
		states = append(states, "reporting what it has")
	}
	switch {
	case isEmptied(n):
		states = append(states, "decommissioned: it may go")
	case n.Decommissioned:
		states = append(states, fmt.Sprintf("being decommissioned: %s %s left", count(n.ToMove), english.PluralWord(int(n.ToMove), "chunk", "")))
	}
	if n.Maintenance != 0 {
		states = append(states, "in maintenance until "+time.Unix(n.Maintenance, 0).Format("15:04:05 on January 2"))
	}
	if faults := diskFaults(n); len(faults) > 0 {
		states = append(states, fmt.Sprintf("%d of %d disks OUT OF SERVICE", len(faults), len(n.Disks)))
	}
	if n.ToMove > 0 && !n.Decommissioned {
		states = append(states, fmt.Sprintf("%s chunks of sick disks are to go elsewhere", count(n.ToMove)))
	}
	return strings.Join(states, ", ")
}

// diskFaults says of each disk of a chunkserver that is out of service why it is.
func diskFaults(n *pb.NodeStatus) (list []string) {
	for _, d := range n.Disks {
		if d.Fault != "" {
			list = append(list, fmt.Sprintf("%s OUT OF SERVICE: %s", d.Path, d.Fault))
		}
	}
	return list
}

func printDisks(w io.Writer, nodes []*pb.NodeStatus, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "\nchunkserver\tdisk\tspace\tfree\tsync\tscrub\tlast pass ended\n")
	for _, n := range nodes {
		for _, d := range n.Disks {
			ended := "never"
			if d.ScrubFinished != 0 {
				ended = ago(uint64(now.Sub(time.Unix(d.ScrubFinished, 0)).Milliseconds()))
			}
			fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s of %s\t%s\n", n.Node, d.Path, humanize.IBytes(d.TotalBytes), humanize.IBytes(d.FreeBytes),
				time.Duration(d.LatencyUs)*time.Microsecond, humanize.IBytes(d.ScrubDone), humanize.IBytes(d.ScrubBytes), ended)
		}
	}
	return table.Flush()
}

// repairText tells how far the copying is that gives chunks their replicas back.
func repairText(r *pb.RepairStatus) string {
	if r.GetWaiting()+r.GetActive() == 0 {
		return "nothing to do"
	}
	limit := "no limit"
	if r.Limit > 0 {
		limit = fmt.Sprintf("at most %s/s for each chunkserver", humanize.IBytes(r.Limit))
	}
	moving := ""
	if r.Moving > 0 {
		moving = fmt.Sprintf(" (%s of them only to move)", count(r.Moving))
	}
	text := fmt.Sprintf("%s %s waiting%s, %s being copied, %s left, at %s/s (%s)", count(r.Waiting), english.PluralWord(int(r.Waiting), "chunk", ""), moving, count(r.Active),
		humanize.IBytes(r.BytesLeft), humanize.IBytes(r.BytesPerSecond), limit)
	if r.SecondsLeft > 0 {
		text += fmt.Sprintf(", about %v to go", time.Duration(r.SecondsLeft)*time.Second)
	}
	return text
}
