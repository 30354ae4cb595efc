package fusefs

import (
	"log/slog"
	"testing"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

func TestHandlesOfForgottenInodes(t *testing.T) {
	m := newMemory()
	inside, err := m.make(client.Cred{}, m.root, "inside", unix.S_IFDIR|0o755)
	noError(t, err)
	deep, err := m.make(client.Cred{}, inside.attr.Inode, "deep", unix.S_IFDIR|0o755)
	noError(t, err)
	outside, err := m.make(client.Cred{}, m.root, "outside", unix.S_IFDIR|0o755)
	noError(t, err)
	file, err := m.make(client.Cred{}, deep.attr.Inode, "file", unix.S_IFREG|0o644)
	noError(t, err)
	orphan, err := m.make(client.Cred{}, deep.attr.Inode, "orphan", unix.S_IFREG|0o644)
	noError(t, err)
	orphan.attr.Nlink = 0
	m.root = inside.attr.Inode // a folder is mounted
	s := newFileSystem(m, slog.New(slog.DiscardHandler))
	stale := fuse.Status(unix.ESTALE)
	for _, c := range []struct {
		of     proto.InodeID
		name   string
		status fuse.Status
		node   uint64
	}{
		{file.attr.Inode, ".", fuse.OK, uint64(file.attr.Inode)},
		{deep.attr.Inode, ".", fuse.OK, uint64(deep.attr.Inode)},
		{deep.attr.Inode, "..", fuse.OK, fuse.FUSE_ROOT_ID},
		{orphan.attr.Inode, ".", stale, 0},
		{deep.attr.Inode + 1000, ".", stale, 0},
		{outside.attr.Inode, "..", stale, 0}, // would be taken for the mount's root
	} {
		var out fuse.EntryOut
		got := s.Lookup(nil, &fuse.InHeader{NodeId: uint64(c.of)}, c.name, &out)
		if got != c.status || out.NodeId != c.node {
			t.Errorf("look up %q in %v: %v, node %d; want %v, %d", c.name, c.of, got, out.NodeId, c.status, c.node)
		}
		if c.node == fuse.FUSE_ROOT_ID && out.Generation != 0 {
			t.Errorf("the root has generation %d; the kernel takes it to be 0", out.Generation)
		}
	}
}

func TestTheRootDescribesTheMount(t *testing.T) {
	s := newFileSystem(newMemory(), slog.New(slog.DiscardHandler))
	s.description = "source=host,hard"
	value := make([]byte, 100)
	n, status := s.GetXAttr(nil, &fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID}, DescriptionXattr, value)
	if status != fuse.OK || string(value[:n]) != s.description {
		t.Errorf("%q, %v", value[:n], status)
	}
}

func TestFsyncOfTheRootSavesAll(t *testing.T) {
	m := newMemory()
	s := newFileSystem(m, slog.New(slog.DiscardHandler))
	for node, want := range map[uint64]int{fuse.FUSE_ROOT_ID: 1, 77: 0} {
		m.allSyncs = 0
		in := &fuse.FsyncIn{InHeader: fuse.InHeader{NodeId: node}}
		if status := s.FsyncDir(nil, in); status != fuse.OK || m.allSyncs != want {
			t.Errorf("fsync of node %d: %v, %d times", node, status, m.allSyncs)
		}
	}
}
