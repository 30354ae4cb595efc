package client

import (
	"testing"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// reservedHere gives a client that has reserved nothing, and counts inodes as if it had.
func reservedHere(t *testing.T, inodes ...proto.InodeID) *Client {
	t.Helper()
	c := connect(t, leasing(t), checked)
	c.sessions.mu.Lock()
	defer c.sessions.mu.Unlock()
	for _, ino := range inodes {
		c.sessions.opens[ino] = 1
	}
	return c
}

// isOpen wants these inodes to be open at the master soon, and no others.
func isOpen(t *testing.T, c *Client, inodes ...proto.InodeID) {
	t.Helper()
	eventually(t, "what is not needed is released, and only that", func() bool {
		c.sessions.mu.Lock()
		defer c.sessions.mu.Unlock()
		for _, ino := range inodes {
			if c.sessions.opens[ino] != 1 {
				return false
			}
		}
		return len(c.sessions.opens) == len(inodes)
	})
}

// What was reserved and is asked for is given back, with the open: else it would be there as long
// as this client.
func TestReservedInodesAreGivenBack(t *testing.T) {
	c := reservedHere(t, 1001, 1002, 1003, 1004)
	l := c.leases
	l.mu.Lock()
	l.pool.files, l.pool.others = []reservedFile{{ino: 1001}, {ino: 1002}}, []proto.InodeID{1003, 1004}
	l.mu.Unlock()
	l.recalled(&pb.Recall{Number: 1, Inodes: []uint64{1001, 1004}, Unnamed: true})
	isOpen(t, c, 1002, 1003)
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.pool; len(p.files) != 1 || p.files[0].ino != 1002 || len(p.others) != 1 || p.others[0] != 1003 {
		t.Errorf("the pool has %v", l.pool)
	}
}

// So is what was asked for before the answer came that it was reserved, and what came with an answer
// of a master that is no more.
func TestReservedInodesThatCannotBeUsed(t *testing.T) {
	reply := &pb.ReserveReply{
		Files: []uint64{1001, 1002}, Chunks: []*pb.ChunkLocation{{}, {}}, Others: []uint64{1003, 1004},
		Grants: &pb.Grants{Exclusive: []uint64{1001, 1002, 1003}},
	}
	c := reservedHere(t, 1001, 1002, 1003, 1004)
	c.leases.recalled(&pb.Recall{Number: 1, Inodes: []uint64{1001}, Unnamed: true})
	c.leases.mu.Lock()
	c.leases.stock(reply, true)
	c.leases.mu.Unlock()
	isOpen(t, c, 1002, 1003)
	c = reservedHere(t, 1001, 1002, 1003, 1004)
	c.leases.mu.Lock()
	c.leases.stock(reply, false)
	c.leases.mu.Unlock()
	isOpen(t, c)
}

// droppedAttrs is a kernel that tells what it was told to forget.
type droppedAttrs chan proto.InodeID

func (d droppedAttrs) DropAttrs(ino proto.InodeID)     { d <- ino }
func (droppedAttrs) DropPages(proto.InodeID)           {}
func (droppedAttrs) DropNames(proto.InodeID, []string) {}

// What was made of a reserved inode that the master asks for has a name here: the kernel
// forgets it before the lease goes.
func TestReservedInodeThatHasANameByNow(t *testing.T) {
	cluster := leasing(t)
	c := connect(t, cluster, checked)
	f := create(t, c, "/f")
	must(t, f.Close())
	ino := f.Inode()
	eventually(t, "it is closed", func() bool { return c.lookupOpen(ino) == nil })
	dropped := make(droppedAttrs, 10)
	c.SetCaches(dropped)
	c.leases.recalled(&pb.Recall{Number: 1, Inodes: []uint64{uint64(ino)}, Unnamed: true})
	eventually(t, "the lease is given back", func() bool { return !c.leases.covers(ino) })
	select {
	case got := <-dropped:
		if got != ino {
			t.Errorf("the kernel forgets inode %d", got)
		}
	default:
		t.Error("the kernel has forgotten nothing")
	}
}
