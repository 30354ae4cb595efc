package meta

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

func TestSessionIsWelcomed(t *testing.T) {
	inCluster(t, 0, Config{ChunkSize: 1 << 20, Replicas: 2}, func(c *cluster) {
		one := c.connect(&pb.Hello{Client: "test"})
		defer one.vanish()
		w := one.welcome
		if w.Session == 0 || w.ChunkSize != 1<<20 || w.Replicas != 2 || w.MinReplicas != 2 || w.Root != 1 || w.Epoch != 1 || w.TimeoutMs != 30000 || w.Slots == 0 {
			t.Errorf("welcome %v", w)
		}
		time.Sleep(5 * time.Minute) // keepalives keep it
		if s := c.status().Sessions; len(s) != 1 || s[0].Client != "test" {
			t.Errorf("sessions %v", s)
		}
	})
}

func TestSilentSessionExpires(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{Client: "test"})
		f := one.file("f")
		one.vanish()
		time.Sleep(29 * time.Second)
		if s := c.status().Sessions; len(s) != 1 || s[0].OpenFiles != 1 {
			t.Errorf("before the time-out: %v", s)
		}
		time.Sleep(3 * time.Second)
		if s := c.status().Sessions; len(s) != 0 {
			t.Errorf("after the time-out: %v", s)
		}
		_, err := one.api().GetAttr(c.t.Context(), &pb.GetAttrRequest{Caller: one.asks(), Inode: f.Attr.Inode})
		wantKind(t, err, proto.SessionExpired)
		late := c.dial(&pb.Hello{Client: "test", Resume: one.welcome.Session})
		defer late.vanish()
		if event := <-late.events; event.GetExpired() == nil {
			t.Errorf("resuming an expired session: %v", event)
		}
	})
}

func TestGoodbyeEndsTheSession(t *testing.T) {
	inCluster(t, 0, Config{}, func(c *cluster) {
		stream := must[pb.Master_SessionClient](c.t)(pb.NewMasterClient(c.conn).Session(c.t.Context()))
		stream.Send(&pb.SessionRequest{Request: &pb.SessionRequest_Hello{Hello: &pb.Hello{Client: "test"}}})
		must[*pb.SessionEvent](c.t)(stream.Recv())
		stream.Send(&pb.SessionRequest{Request: &pb.SessionRequest_KeepAlive{KeepAlive: &pb.KeepAlive{Goodbye: true}}})
		if _, err := stream.Recv(); err == nil {
			t.Error("the stream goes on after goodbye")
		}
		if s := c.status().Sessions; len(s) != 0 {
			t.Errorf("sessions %v", s)
		}
	})
}

func TestResumeAfterReconnect(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		f := one.file("f")
		one.vanish()
		time.Sleep(20 * time.Second)
		again := c.connect(&pb.Hello{Resume: one.welcome.Session, Cluster: one.welcome.Cluster, Open: []*pb.OpenCount{{Inode: f.Attr.Inode, Count: 1}}})
		defer again.vanish()
		time.Sleep(time.Minute)
		if s := c.status().Sessions; len(s) != 1 || s[0].Session != one.welcome.Session || s[0].OpenFiles != 1 {
			t.Errorf("sessions %v", s)
		}
		stranger := c.dial(&pb.Hello{Resume: one.welcome.Session, Cluster: "01234567-89ab-4def-8123-456789abcdef"})
		defer stranger.vanish()
		if _, more := <-stranger.events; more {
			t.Error("a client of another cluster was let in")
		}
	})
}

func TestUnlinkedWhileOpen(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		f := one.file("f")
		one.write(f)
		time.Sleep(time.Minute)
		reply := must[*pb.UnlinkReply](c.t)(one.api().Unlink(c.t.Context(), &pb.UnlinkRequest{Caller: one.changes(), Parent: 1, Name: []byte("f")}))
		if reply.Inode != f.Attr.Inode || reply.Nlink != 0 {
			t.Errorf("unlink: %v", reply)
		}
		time.Sleep(time.Minute)
		if got := show(one.locate(f)); got[:2] != "1:" {
			t.Errorf("the open file's chunk: %s", got)
		}
		must[*pb.ReleaseReply](c.t)(one.api().Release(c.t.Context(), &pb.ReleaseRequest{Caller: one.changes(), Closed: []*pb.OpenCount{{Inode: f.Attr.Inode, Count: 1}}}))
		time.Sleep(10 * time.Second)
		_, err := one.api().GetAttr(c.t.Context(), &pb.GetAttrRequest{Caller: one.asks(), Inode: f.Attr.Inode})
		wantKind(t, err, proto.Stale)
		for _, n := range c.nodes {
			if n.has(f.Chunk.Chunk) != 0 {
				t.Errorf("node %d still has the freed chunk", n.id)
			}
		}
		if s := c.status(); s.Chunks.Total != 0 || s.Chunks.ToDelete != 0 {
			t.Errorf("chunks %v", s.Chunks)
		}
	})
}

// Who looked a file up opens it, though it loses its name in between, and has it until it
// is closed.
func TestUnlinkedBetweenLookupAndOpen(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		reply := must[*pb.AttrReply](c.t)(one.api().Mknod(c.t.Context(), &pb.MknodRequest{Caller: one.changes(), Parent: 1, Name: []byte("f"), Mode: 0o100644}))
		open := func() error {
			_, err := one.api().Open(c.t.Context(), &pb.OpenRequest{Caller: one.changes(), Inode: reply.Attr.Inode})
			return err
		}
		must[*pb.UnlinkReply](c.t)(one.api().Unlink(c.t.Context(), &pb.UnlinkRequest{Caller: one.changes(), Parent: 1, Name: []byte("f")}))
		if err := open(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		must[*pb.AttrReply](c.t)(one.api().GetAttr(c.t.Context(), &pb.GetAttrRequest{Caller: one.asks(), Inode: reply.Attr.Inode}))
		must[*pb.ReleaseReply](c.t)(one.api().Release(c.t.Context(), &pb.ReleaseRequest{Caller: one.changes(), Closed: []*pb.OpenCount{{Inode: reply.Attr.Inode, Count: 1}}}))
		time.Sleep(10 * time.Second)
		wantKind(t, open(), proto.Stale)
	})
}

// An open orphan survives a crash of the master when its session claims it again.
func TestOrphanIsClaimedAfterRestart(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		f, gone := one.file("f"), one.file("gone")
		one.write(f)
		for _, name := range []string{"f", "gone"} {
			must[*pb.UnlinkReply](c.t)(one.api().Unlink(c.t.Context(), &pb.UnlinkRequest{Caller: one.changes(), Parent: 1, Name: []byte(name)}))
		}
		one.vanish()
		c.crash(1)
		time.Sleep(20 * time.Second)
		again := c.connect(&pb.Hello{Resume: one.welcome.Session, Open: []*pb.OpenCount{{Inode: f.Attr.Inode, Count: 1}}})
		defer again.vanish()
		time.Sleep(time.Minute)
		must[*pb.AttrReply](c.t)(again.api().GetAttr(c.t.Context(), &pb.GetAttrRequest{Caller: again.asks(), Inode: f.Attr.Inode}))
		_, err := again.api().GetAttr(c.t.Context(), &pb.GetAttrRequest{Caller: again.asks(), Inode: gone.Attr.Inode})
		wantKind(t, err, proto.Stale)
	})
}

func TestUnusedChunkIsDropped(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		defer one.vanish()
		kept, left := one.file("kept"), one.file("left")
		must[*pb.ReleaseReply](c.t)(one.api().Release(c.t.Context(), &pb.ReleaseRequest{Caller: one.changes(), Closed: []*pb.OpenCount{{Inode: left.Attr.Inode, Count: 1}}}))
		time.Sleep(50 * time.Second)
		if got := c.status().Chunks.Assigned; got != 2 {
			t.Errorf("within the grace: %d assigned", got)
		}
		time.Sleep(2 * time.Minute)
		if got := c.status().Chunks.Assigned; got != 1 {
			t.Errorf("after the grace: %d assigned", got)
		}
		one.locate(kept)
	})
}

// A request that is sent again is answered, not repeated: while it is under way, when
// it was answered, and after a crash of the master.
func TestRepeatedRequest(t *testing.T) {
	inCluster(t, 3, Config{}, func(c *cluster) {
		one := c.connect(&pb.Hello{})
		req := &pb.MkdirRequest{Caller: one.changes(), Parent: 1, Name: []byte("d"), Mode: 0o755}
		replies := make(chan *pb.AttrReply, 5)
		for range 5 {
			go func() {
				reply, err := one.api().Mkdir(c.t.Context(), req)
				if err != nil {
					t.Error(err)
				}
				replies <- reply
			}()
		}
		first := <-replies
		for range 4 {
			if reply := <-replies; reply.GetAttr().GetInode() != first.GetAttr().GetInode() {
				t.Errorf("answers %v and %v", first, reply)
			}
		}
		one.vanish()
		c.crash(2)
		one = c.connect(&pb.Hello{Resume: one.welcome.Session})
		defer one.vanish()
		if reply := must[*pb.AttrReply](c.t)(one.api().Mkdir(c.t.Context(), req)); reply.Attr.Inode != first.Attr.Inode {
			t.Errorf("after the crash: %v, want %v", reply, first)
		}
		_, err := one.api().Mkdir(c.t.Context(), &pb.MkdirRequest{Caller: &pb.Caller{Session: one.welcome.Session, Slot: 7, Sequence: 1}, Parent: 1, Name: []byte("d")})
		wantKind(t, err, proto.Exists)
		synctest.Wait()
	})
}
