package meta

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// fsck gives the findings in lines, and the summary.
func (c *cluster) fsck(repair bool) (lines []string, summary *pb.FsckSummary) {
	c.t.Helper()
	stream := must[pb.Master_FsckClient](c.t)(pb.NewMasterClient(c.conn).Fsck(c.t.Context(), &pb.FsckRequest{Repair: repair}))
	for {
		finding, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return lines, summary
		}
		if err != nil {
			c.t.Fatal(err)
		}
		if summary = finding.Summary; summary == nil {
			lines = append(lines, fmt.Sprintf("%s[%d] %v: %s: %s", finding.Path, finding.Index, finding.Kind, finding.Detail, finding.Remedy))
		}
	}
}

// Fsck finds each kind of fault, names the file, says what can be done and what it
// loses, and is content with a cluster that is whole.
func TestFsck(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		files := one.files(4)
		time.Sleep(time.Minute)
		lines, summary := c.fsck(false)
		if len(lines) != 0 || summary.Files != 4 || summary.Directories != 1 || summary.Chunks != 4 {
			t.Fatalf("of a cluster that is whole: %v, %v", lines, summary)
		}
		n := c.nodes[0]
		for _, other := range c.nodes { // all of f000
			other.hold(&pb.ReplicaState{Chunk: files[0].Chunk.Chunk, Version: 1, Corrupt: true}, true)
			other.set(func() { // nothing is healed while this looks
				other.refuse = func(*pb.NodeCommand) proto.Kind { return proto.IO }
			})
		}
		n.hold(&pb.ReplicaState{Chunk: files[1].Chunk.Chunk, Version: 1, Corrupt: true}, true)
		n.hold(&pb.ReplicaState{Chunk: files[2].Chunk.Chunk, Version: 9}, true)
		n.hold(&pb.ReplicaState{Chunk: proto.MakeID(500, 0), Version: 3}, true)
		time.Sleep(100 * time.Millisecond)
		lines, summary = c.fsck(false)
		text := strings.Join(lines, "\n")
		for _, want := range []string{
			"/f000[0] FSCK_LOST: no replica is good: chunkserver ",
			"/f001[0] FSCK_UNDER_REPLICATED: ",
			"/f002[0] FSCK_UNDER_REPLICATED: 2 of 3",
			"/f002[0] FSCK_STALE: chunkserver 1 has version 9, newer than the table's 1: it is left alone",
			"[0] FSCK_ORPHANED: chunkserver 1 has version 3 of a chunk that this master never issued: it is left alone",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in\n%s", want, text)
			}
		}
		if strings.Contains(text, "/f003") || summary.Lost != 1 || summary.Orphaned != 1 {
			t.Errorf("%v\n%s", summary, text)
		}
	})
}

// Inodes that are kept for sessions are nobody's loss, and no files: also when their session
// is gone and they are not freed yet.
func TestReservedInodesAreNoFindings(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		one.files(4)
		time.Sleep(time.Minute)
		must[*pb.ReserveReply](c.t)(one.api().Reserve(c.t.Context(), &pb.ReserveRequest{Caller: one.asks(), Files: 8, Others: 8}))
		if st := c.status(); st.Files != 4 {
			t.Errorf("status tells of %d files", st.Files)
		}
		one.vanish()
		c.crash(3)
		time.Sleep(time.Second)
		if lines, summary := c.fsck(false); len(lines) != 0 || summary.Files != 4 {
			t.Errorf("%v, %v", lines, summary)
		}
	})
}

// With repair what can be healed without a loss is; a check after that finds nothing.
func TestFsckRepairs(t *testing.T) {
	inCluster(t, 4, Config{RepairEvery: time.Hour}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		files := one.files(3)
		time.Sleep(time.Minute)
		c.nodes[3].hold(&pb.ReplicaState{Chunk: files[0].Chunk.Chunk, Version: 1}, true)
		lost := c.chainOf(files[1].Chunk)[0]
		lost.set(func() { delete(lost.replicas, proto.ChunkID(files[1].Chunk.Chunk)) })
		lost.restart()
		time.Sleep(time.Second)
		lines, summary := c.fsck(true)
		if len(lines) != 2 || summary.UnderReplicated != 1 || summary.Healed > summary.Stale {
			t.Errorf("%v: %v", summary, lines)
		}
		time.Sleep(time.Minute)
		if lines, _ := c.fsck(true); len(lines) != 0 {
			t.Errorf("after the repair: %v", lines)
		}
	})
}

// Of what was written a moment ago a stale replica stays for now: it is waited for, and "removed" is
// said of what is gone.
func TestFsckRemovesWhatItSays(t *testing.T) {
	inCluster(t, 4, Config{RepairEvery: time.Hour}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.files(1)[0]
		chain, other := c.chainOf(f.Chunk), c.nodes[0]
		for _, n := range c.nodes {
			if !slices.Contains(chain, n) {
				other = n
			}
		}
		other.hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 1}, true)
		time.Sleep(time.Second)
		if !c.master.nodes.Recent(proto.ChunkID(f.Chunk.Chunk)) {
			t.Fatal("it has been quiet: this shows nothing")
		}
		lines, _ := c.fsck(true)
		if len(lines) != 1 || !strings.HasSuffix(lines[0], ": removed; nothing is lost") || other.has(f.Chunk.Chunk) != 0 {
			t.Errorf("version %d is there after %v", other.has(f.Chunk.Chunk), lines)
		}
		if lines, _ := c.fsck(true); len(lines) != 0 {
			t.Errorf("after the repair: %v", lines)
		}
	})
}

func TestFsckInSafeMode(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		one.files(2)
		one.vanish()
		for _, n := range c.nodes {
			n.kill()
		}
		c.nodes = nil
		c.crash(1)
		stream := must[pb.Master_FsckClient](c.t)(pb.NewMasterClient(c.conn).Fsck(c.t.Context(), &pb.FsckRequest{}))
		_, err := stream.Recv()
		wantKind(t, err, proto.Unavailable)
	})
}

// Files that are being deleted while fsck looks are no fault; what stays is.
func TestFsckWhileFilesAreDeleted(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		writer := c.connect(&pb.Hello{})
		writer.files(2)
		writer.vanish()
		time.Sleep(time.Minute)
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		one.unlink("f000")
		if lines, summary := c.fsck(false); len(lines) != 0 || summary.Files != 1 {
			t.Errorf("%v, %v", lines, summary)
		}
		time.Sleep(time.Minute)
		c.nodes[0].set(func() { c.nodes[0].deaf = true })
		one.unlink("f001")
		time.Sleep(10 * time.Second)
		lines, summary := c.fsck(false)
		if len(lines) != 1 || summary.Orphaned != 1 || !strings.Contains(lines[0], "of a chunk of a deleted file: it is being removed") {
			t.Errorf("%v, %v", lines, summary)
		}
	})
}
