package client

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/proto/pb"
)

// A user's writing costs a file its set-id bits, by the user's name in the commit. Where the caller
// sees to that himself, who opened the file says nothing of who writes.
func TestOnWhoseAccountSetIDsGo(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	for keep, uid := range map[bool]uint32{false: 1000, true: 0} {
		c := connect(t, cluster, func(o *Options) { o.KeepSetIDs = keep })
		made := create(t, c, "/f")
		f, err := c.OpenInode(t.Context(), Cred{UID: 1000, GID: 1000}, made.Inode(), unix.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, f, []byte("some bytes"), 0)
		must(t, f.Flush(t.Context()))
		must(t, f.Allocate(t.Context(), 0, 100, false))
		if got := cluster.Last("Commit").(*pb.CommitRequest).Caller.GetUid(); got != uid {
			t.Errorf("KeepSetIDs %v: committed by user %d", keep, got)
		}
		if got := cluster.Last("Fallocate").(*pb.FallocateRequest).Caller.GetUid(); got != uid {
			t.Errorf("KeepSetIDs %v: allocated by user %d", keep, got)
		}
		must(t, f.Close())
		must(t, made.Close())
	}
}
