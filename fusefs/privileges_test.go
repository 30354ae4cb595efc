package fusefs

import (
	"testing"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// For these the kernel does not say that the set-id bits have to go.
func TestWhatTakesSetIDBitsWithoutBeingToldTo(t *testing.T) {
	f := newFixture(t)
	node, fh := f.create("a", unix.O_RDWR)
	n := f.m.inodes[proto.InodeID(node)]
	allocate := func(uid uint32) func() {
		return func() {
			in := &fuse.FallocateIn{InHeader: header(node), Fh: fh, Length: 10}
			in.Uid = uid
			f.want("fallocate", f.Fallocate(nil, in), 0)
		}
	}
	setAttr := func(valid uint32) func() {
		return func() {
			in := &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: header(node), Valid: valid}}
			f.want("setattr", f.SetAttr(nil, in, &fuse.AttrOut{}), 0)
		}
	}
	for _, c := range []struct {
		what string
		call func()
		want uint32
	}{
		{"fallocate by a user", allocate(1000), 0o755},
		{"fallocate by root", allocate(0), 0o6755},
		{"chown to nobody", setAttr(0), 0o755},
		{"a time", setAttr(fuse.FATTR_MTIME | fuse.FATTR_MTIME_NOW), 0o6755},
	} {
		n.attr.Mode = unix.S_IFREG | 0o6755
		c.call()
		if got := n.attr.Mode &^ unix.S_IFMT; got != c.want {
			t.Errorf("%s: mode %o, want %o", c.what, got, c.want)
		}
	}

	dir := &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: header(fuse.FUSE_ROOT_ID)}}
	f.m.lastCred = client.Cred{UID: 7}
	f.want("chown of a folder to nobody", f.SetAttr(nil, dir, &fuse.AttrOut{}), 0)
	if f.m.lastCred.UID != 7 {
		t.Error("a folder keeps its bits: nothing is to be changed")
	}
}
