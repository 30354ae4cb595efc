package meta

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// behindClient is a client that changes names behind, in a folder of its own.
type behindClient struct {
	*client
	folder uint64
	files  []uint64 // reserved
	others []uint64
	stream grpc.BidiStreamingClient[pb.ChangesBehind, pb.DurableBehind]
	heard  *pb.DurableBehind // last
}

func (c *cluster) behind() *behindClient {
	c.t.Helper()
	one := &behindClient{client: c.holder()}
	one.folder = one.mkdir(1, "folder").Attr.Inode
	acquired := must[*pb.AcquireReply](c.t)(one.api().Acquire(c.t.Context(), &pb.AcquireRequest{Caller: one.asks(), Inode: one.folder, Mode: pb.LeaseMode_LEASE_EXCLUSIVE, IfFree: true}))
	if !slices.Contains(acquired.Grants.GetExclusive(), one.folder) {
		c.t.Fatalf("granted %v", acquired.Grants)
	}
	reply := must[*pb.ReserveReply](c.t)(one.api().Reserve(c.t.Context(), &pb.ReserveRequest{Caller: one.asks(), Files: 8, Others: 8}))
	one.files, one.others = reply.Files, reply.Others
	if len(one.files) != 8 || len(one.others) != 8 || len(reply.Chunks) != 8 || len(reply.Grants.Exclusive) != 16 {
		c.t.Fatalf("reserved %v", reply)
	}
	one.begins()
	return one
}

// begins opens a stream, and hears what is durable.
func (one *behindClient) begins() {
	one.c.t.Helper()
	var err error
	if one.stream, err = one.api().ChangeBehind(one.c.t.Context()); err != nil {
		one.c.t.Fatal(err)
	}
	one.sends(&pb.ChangesBehind{Session: one.welcome.Session})
	one.hears(func(*pb.DurableBehind) bool { return true })
}

func (one *behindClient) sends(m *pb.ChangesBehind) {
	one.c.t.Helper()
	if err := one.stream.Send(m); err != nil {
		one.c.t.Fatal(err)
	}
}

// hears waits until the master has said something.
func (one *behindClient) hears(enough func(*pb.DurableBehind) bool) {
	one.c.t.Helper()
	for one.heard = nil; one.heard == nil || !enough(one.heard); {
		heard, err := one.stream.Recv()
		if err != nil {
			one.c.t.Fatal(err)
		}
		one.heard = heard
	}
}

func (one *behindClient) durable(sequence uint64) {
	one.c.t.Helper()
	one.hears(func(d *pb.DurableBehind) bool { return d.Durable >= sequence || d.Failed != 0 })
	if one.heard.Durable != sequence || one.heard.Received < sequence || one.heard.Failed != 0 {
		one.c.t.Fatalf("heard %v, want %d durable", one.heard, sequence)
	}
}

func (one *behindClient) fails(sequence uint64, kind proto.Kind) {
	one.c.t.Helper()
	one.hears(func(d *pb.DurableBehind) bool { return d.Failed != 0 })
	if one.heard.Failed != sequence || proto.Kind(one.heard.Kind) != kind {
		one.c.t.Fatalf("heard %v, want %d failed: %v", one.heard, sequence, kind)
	}
}

// makes is the making of a file in a folder.
func (one *behindClient) makes(folder uint64, name string) *pb.ChangeBehind {
	ino := one.files[0]
	one.files = one.files[1:]
	return &pb.ChangeBehind{Kind: pb.ChangeBehind_MAKE, Sec: 1 << 30, Inode: ino, Parent: folder, Name: []byte(name), Mode: regular | 0o644}
}

func (one *behindClient) names(folder uint64) string {
	return strings.Join(strings.Fields(list(one.c.t, one.c, one.client, folder, 100)), " ")
}

// Changes are carried out in order, at their time; who looks has the holder answer first.
func TestChangesBehind(t *testing.T) {
	inCluster(t, 3, withLeases, func(c *cluster) {
		one, two := c.behind(), c.holder()
		defer one.vanish()
		defer two.vanish()
		file := one.makes(one.folder, "a")
		one.sends(&pb.ChangesBehind{First: 1, Changes: []*pb.ChangeBehind{
			file,
			{Kind: pb.ChangeBehind_MAKE, Inode: one.others[0], Parent: one.folder, Name: []byte("sub"), Mode: directory | 0o755},
			{Kind: pb.ChangeBehind_RENAME, Inode: file.Inode, Parent: one.folder, Name: []byte("a"), NewParent: one.others[0], NewName: []byte("b")},
		}})
		one.sends(&pb.ChangesBehind{First: 4, Changes: []*pb.ChangeBehind{
			{Kind: pb.ChangeBehind_SET_ATTR, Inode: file.Inode, Set: proto.BehindMode | proto.BehindMtime, Mode: 0o600, Mtime: &pb.TimeChange{Sec: 5}, Sec: 1 << 31},
			{Kind: pb.ChangeBehind_MAKE, Inode: one.others[1], Parent: one.folder, Name: []byte("link"), Mode: symlink | 0o777, Target: []byte("to")},
			{Kind: pb.ChangeBehind_UNLINK, Inode: one.others[1], Parent: one.folder, Name: []byte("link")},
			{Kind: pb.ChangeBehind_LINK, Inode: file.Inode, Parent: one.folder, Name: []byte("second"), Sec: 1 << 31},
		}})
		one.durable(7)
		asked := make(chan *pb.AttrReply, 1)
		go func() { asked <- two.lookup(one.others[0], "b") }()
		r := one.recall()
		if !slices.Equal(r.Inodes, []uint64{one.others[0], file.Inode}) && !slices.Equal(r.Inodes, []uint64{file.Inode, one.others[0]}) || r.Keep != keepShared {
			t.Fatalf("recalled %v", r)
		}
		one.answers(r)
		attr := (<-asked).Attr
		if attr.GetInode() != file.Inode || attr.Mode != regular|0o600 || attr.Nlink != 2 || attr.MtimeSec != 5 || attr.CtimeSec != 1<<31 || attr.BtimeSec != 1<<30 {
			t.Errorf("the file is %v", attr)
		}
		if got := one.names(one.folder); got != "second sub" && got != "sub second" {
			t.Errorf("names %q", got)
		}
	})
}

// What a session has not got exclusive it cannot change behind, and nothing behind that is
// carried out. G2, G4
func TestChangeBehindNeedsTheLease(t *testing.T) {
	inCluster(t, 3, withLeases, func(c *cluster) {
		one := c.behind()
		defer one.vanish()
		one.sends(&pb.ChangesBehind{First: 1, Changes: []*pb.ChangeBehind{one.makes(one.folder, "mine"), one.makes(1, "theirs"), one.makes(one.folder, "late")}})
		one.fails(2, proto.Stale)
		one.sends(&pb.ChangesBehind{First: 3, Changes: []*pb.ChangeBehind{one.makes(one.folder, "later")}})
		synctest.Wait()
		if got := one.names(one.folder) + "; " + one.names(1); got != "mine; folder" {
			t.Errorf("names %q", got)
		}
	})
}

// A change that fails ends the stream's succession; the next stream goes on from there. G2
func TestChangesBehindStopAtAFailure(t *testing.T) {
	inCluster(t, 3, withLeases, func(c *cluster) {
		one := c.behind()
		defer one.vanish()
		one.sends(&pb.ChangesBehind{First: 1, Changes: []*pb.ChangeBehind{one.makes(one.folder, "a"), one.makes(one.folder, "a"), one.makes(one.folder, "b")}})
		one.fails(2, proto.Exists)
		one.begins()
		if one.heard.Durable != 1 {
			t.Errorf("heard %v", one.heard)
		}
		one.sends(&pb.ChangesBehind{First: 2, Changes: []*pb.ChangeBehind{one.makes(one.folder, "c")}})
		one.durable(2)
		if got := one.names(one.folder); got != "a c" {
			t.Errorf("names %q", got)
		}
		one.sends(&pb.ChangesBehind{First: 4, Changes: []*pb.ChangeBehind{one.makes(one.folder, "gap")}})
		one.fails(3, proto.Malformed)
	})
}

// A master that was started anew tells from where to go on; what is sent twice is carried
// out once. G2, G8
func TestChangesBehindSurviveTheMaster(t *testing.T) {
	for seed := range uint64(4) {
		inCluster(t, 3, withLeases, func(c *cluster) {
			one := c.behind()
			id := c.status().Cluster
			var changes []*pb.ChangeBehind
			for i := range 6 {
				changes = append(changes, one.makes(one.folder, fmt.Sprint("f", i)))
			}
			one.sends(&pb.ChangesBehind{First: 1, Changes: changes[:3]})
			one.durable(3)
			one.sends(&pb.ChangesBehind{First: 4, Changes: changes[3:5]})
			one.vanish()
			c.crash(seed)
			hello := &pb.Hello{Resume: one.welcome.Session, Cluster: id, Leases: true, Exclusive: append([]uint64{one.folder}, one.files...)}
			for _, change := range changes {
				hello.Exclusive = append(hello.Exclusive, change.Inode)
				hello.Open = append(hello.Open, &pb.OpenCount{Inode: change.Inode, Count: 1})
			}
			one.client = c.connect(hello)
			defer one.vanish()
			one.begins()
			durable := one.heard.Durable
			if durable < 3 || durable > 5 {
				t.Fatalf("%d durable", durable)
			}
			one.sends(&pb.ChangesBehind{First: durable + 1, Changes: changes[durable:]})
			one.durable(6)
			if got := one.names(one.folder); got != "f0 f1 f2 f3 f4 f5" {
				t.Errorf("names %q", got)
			}
		})
	}
}

// When a session ends, what the master had received is carried out before others see what
// it had exclusive, and what it had reserved goes.
func TestSessionWithChangesBehindEnds(t *testing.T) {
	inCluster(t, 3, withLeases, func(c *cluster) {
		one, two := c.behind(), c.holder()
		defer two.vanish()
		one.sends(&pb.ChangesBehind{First: 1, Changes: []*pb.ChangeBehind{one.makes(one.folder, "a"), one.makes(one.folder, "b")}})
		one.durable(2)
		one.vanish()
		if two.lookup(one.folder, "b").Attr == nil {
			t.Error("what was durable is not there")
		}
		time.Sleep(time.Minute)
		if s := c.status(); s.Files != 2 {
			t.Errorf("%d files are left", s.Files)
		}
	})
}

// What the client waits for it hears at once, the rest a little later.
func TestBehindTellsWhoWaits(t *testing.T) {
	inCluster(t, 3, withLeases, func(c *cluster) {
		one := c.behind()
		defer one.vanish()
		sent := uint64(0)
		for _, tell := range []struct {
			message *pb.ChangesBehind
			within  time.Duration
			what    func(*pb.DurableBehind) uint64
		}{
			{&pb.ChangesBehind{TellReceived: true}, 0, (*pb.DurableBehind).GetReceived},
			{&pb.ChangesBehind{TellDurable: true}, 0, (*pb.DurableBehind).GetDurable},
			{&pb.ChangesBehind{}, tellAfter, (*pb.DurableBehind).GetDurable},
		} {
			time.Sleep(2 * tellAfter) // whatever was to be told later
			began := time.Now()
			sent++
			tell.message.First = sent
			tell.message.Changes = []*pb.ChangeBehind{one.makes(one.folder, fmt.Sprint("f", sent))}
			one.sends(tell.message)
			one.hears(func(d *pb.DurableBehind) bool { return tell.what(d) >= sent })
			if took := time.Since(began); took != tell.within {
				t.Errorf("heard of change %d after %v, want %v", sent, took, tell.within)
			}
		}
		one.sends(&pb.ChangesBehind{First: sent + 1, TellDurable: true}) // nothing new
		one.hears(func(d *pb.DurableBehind) bool { return d.Durable == sent })
	})
}
