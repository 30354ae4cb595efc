package fusefs

import (
	"slices"
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

func TestWhoLosesSetIDs(t *testing.T) {
	stranger := client.Cred{UID: 1, GID: 1, Groups: []uint32{2, 3}}
	for _, c := range []struct {
		mode uint32
		gid  uint32
		by   client.Cred
		want bool
	}{
		{0o4644, 1, stranger, true},
		{0o2755, 1, stranger, true},
		{0o2745, 1, stranger, false}, // the mark of mandatory locking, by a member
		{0o2745, 3, stranger, false},
		{0o2745, 4, stranger, true},
		{0o2745, 4, client.Cred{}, false},
		{0o6745, 1, stranger, true},
	} {
		if got := losesSetID(&client.Attr{Mode: unix.S_IFREG | c.mode, GID: c.gid}, &c.by); got != c.want {
			t.Errorf("mode %o, group %d, written to by %v: %v", c.mode, c.gid, c.by, got)
		}
	}
}

// The master is told who writes: what goes depends on his groups.
func TestSetIDsGoOnTheWritersAccount(t *testing.T) {
	f := newFixture(t)
	f.groups.read = func(uint32) (threadStatus, error) { return threadStatus{groups: []uint32{7}}, nil }
	node, fh := f.create("a", unix.O_RDWR)
	n := f.m.inodes[proto.InodeID(node)]
	user := fuse.InHeader{NodeId: node, Caller: fuse.Caller{Owner: fuse.Owner{Uid: 1000, Gid: 100}, Pid: 42}}
	n.attr.Mode = unix.S_IFREG | 0o6755
	f.want("fallocate", f.Fallocate(nil, &fuse.FallocateIn{InHeader: user, Fh: fh, Length: 10}), 0)
	if c := f.m.lastCred; c.UID != 1000 || !slices.Equal(c.Groups, []uint32{7}) {
		t.Errorf("an allocation took the bits on account of %+v", c)
	}
	set := &fuse.SetAttrIn{}
	set.InHeader, set.Fh, set.Valid = user, fh, fuse.FATTR_SIZE|fuse.FATTR_FH|fuse.FATTR_KILL_SUIDGID
	f.m.lastCred = client.Cred{}
	f.want("ftruncate", f.SetAttr(nil, set, &fuse.AttrOut{}), 0)
	if c := f.m.lastCred; c.UID != 1000 || !slices.Equal(c.Groups, []uint32{7}) {
		t.Errorf("a truncation took the bits on account of %+v", c)
	}
}
