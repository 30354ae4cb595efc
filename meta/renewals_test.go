package meta

import (
	"syscall"
	"testing"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// When a session ends without a goodbye, the chunks of the files that it had open for
// writing get another version, which its client does not know, and are made equal.
func TestChunksOfAVanishedWriterAreRenewed(t *testing.T) { // L8, G3
	inCluster(t, 3, Config{}, func(c *cluster) {
		one, other := c.connect(&pb.Hello{}), c.connect(&pb.Hello{})
		defer other.vanish()
		f, read := one.file("f"), one.file("read")
		one.write(f)
		one.write(read)
		must[*pb.ReleaseReply](c.t)(one.api().Release(c.t.Context(), &pb.ReleaseRequest{
			Caller: one.changes(), Closed: []*pb.OpenCount{{Inode: read.Attr.Inode, Count: 1}},
		}))
		for i, n := range c.nodes { // it was in the middle of a write
			n.hold(&pb.ReplicaState{Chunk: f.Chunk.Chunk, Version: 1, Length: uint64(i)}, false)
		}
		c.take()
		one.vanish()
		time.Sleep(2 * time.Minute)
		story(c.t, c.take(), `
			master -> 1: set version 2 = ok

			master -> 2: copy version 2 from [1] = ok
			master -> 3: copy version 2 from [1] = ok`)
		if got := show(other.locate(f)); got != "2: 1 2 3" {
			c.t.Errorf("location %s", got)
		}
		for _, n := range c.nodes {
			if length := n.replica(f.Chunk.Chunk).Length; length != 0 {
				c.t.Errorf("node %d has the bytes %d", n.id, length)
			}
		}
	})
}

// A client that says goodbye has finished its writes.
func TestGoodbyeRenewsNothing(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		f := one.file("f")
		one.write(f)
		c.take()
		if err := one.send(&pb.SessionRequest{Request: &pb.SessionRequest_KeepAlive{KeepAlive: &pb.KeepAlive{Goodbye: true}}}); err != nil {
			c.t.Fatal(err)
		}
		time.Sleep(time.Second)
		one.vanish()
		time.Sleep(2 * time.Minute)
		story(c.t, c.take(), "")
	})
}

// Until a chunk has been renewed nobody is told where it is.
func TestLocationBeforeTheRenewal(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		done, _ := c.master.work.try(proto.ChunkID(f.Chunk.Chunk))
		c.master.abandoned(proto.InodeID(f.Attr.Inode))
		if got := show(one.locate(f)); got != "1: (1) (2) (3)" {
			c.t.Errorf("location before it: %s", got)
		}
		done()
		time.Sleep(time.Second)
		if got := show(one.locate(f)); got != "2: 1 2 3" {
			c.t.Errorf("location after it: %s", got)
		}
	})
}

// A client is stopped, the master is started anew, and the client's session ends before it
// has resumed: nobody knows what it was writing to. Its late writes are refused wherever
// another client may be writing.
func TestChunksOfAForgottenWriterAreRenewed(t *testing.T) { // L8
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		open, later, read := one.file("open"), one.file("later"), one.file("read")
		for _, f := range []*pb.CreateReply{open, later, read} {
			one.write(f)
		}
		time.Sleep(time.Minute)
		one.vanish()
		c.crash(1)
		other := c.connect(&pb.Hello{})
		defer other.vanish()
		opens := func(f *pb.CreateReply, flags uint32) {
			must[*pb.OpenReply](c.t)(other.api().Open(c.t.Context(), &pb.OpenRequest{Caller: other.changes(), Inode: f.Attr.Inode, Flags: flags}))
		}
		opens(open, syscall.O_RDWR)
		if got := show(other.locate(open)); got != "1: 1 2 3" {
			c.t.Errorf("before the session has ended: location %s", got)
		}
		for range 60 {
			time.Sleep(time.Second)
			if err := other.send(&pb.SessionRequest{Request: &pb.SessionRequest_KeepAlive{KeepAlive: &pb.KeepAlive{}}}); err != nil {
				c.t.Fatal(err)
			}
		}
		done, _ := c.master.work.try(proto.ChunkID(later.Chunk.Chunk))
		opens(later, syscall.O_WRONLY)
		opens(read, syscall.O_RDONLY)
		if got := show(other.locate(later)); got != "1: (1) (2) (3)" {
			c.t.Errorf("before the renewal: location %s", got)
		}
		done()
		time.Sleep(time.Second)
		opens(later, syscall.O_WRONLY) // once is enough
		time.Sleep(time.Second)
		for f, want := range map[*pb.CreateReply]string{open: "2: 1 2 3", later: "2: 1 2 3", read: "1: 1 2 3"} {
			if got := show(other.locate(f)); got != want {
				c.t.Errorf("chunk %d: location %s, want %s", f.Chunk.Chunk, got, want)
			}
		}
	})
}
