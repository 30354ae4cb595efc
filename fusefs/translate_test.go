package fusefs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// fakeKernel records notifications.
type fakeKernel struct {
	mu    sync.Mutex
	nodes map[uint64][]int64 // offsets by node
}

func (k *fakeKernel) InodeNotify(node uint64, off, length int64) fuse.Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.nodes == nil {
		k.nodes = map[uint64][]int64{}
	}
	k.nodes[node] = append(k.nodes[node], off)
	return fuse.ENOENT
}

func (k *fakeKernel) ExpireEntry(uint64, string) {}

func (k *fakeKernel) notified(node uint64) []int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.nodes[node]
}

// fixture is a filesystem over a memory, without a kernel.
type fixture struct {
	*fileSystem
	m      *memory
	kernel *fakeKernel
	t      *testing.T
}

func newFixture(t *testing.T) *fixture {
	m := newMemory()
	f := &fixture{fileSystem: newFileSystem(m, slog.New(slog.DiscardHandler)), m: m, kernel: &fakeKernel{}, t: t}
	f.attach(f.kernel)
	t.Cleanup(f.OnUnmount)
	return f
}

func header(node uint64) fuse.InHeader { return fuse.InHeader{NodeId: node} }

func (f *fixture) want(what string, got fuse.Status, want syscall.Errno) {
	f.t.Helper()
	if syscall.Errno(got) != want {
		f.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// create makes a file in the root and opens it.
func (f *fixture) create(name string, flags uint32) (node, fh uint64) {
	f.t.Helper()
	var out fuse.CreateOut
	f.want("create "+name, f.Create(nil, &fuse.CreateIn{InHeader: header(1), Flags: flags, Mode: unix.S_IFREG | 0o666, Umask: 0o022}, name, &out), 0)
	return out.NodeId, out.Fh
}

func (f *fixture) write(fh uint64, off uint64, text string, flags, writeFlags uint32) {
	f.t.Helper()
	in := &fuse.WriteIn{Fh: fh, Offset: off, Size: uint32(len(text)), Flags: flags, WriteFlags: writeFlags}
	in.NodeId = uint64(f.files.open[fh].file.Attr().Inode)
	n, status := f.Write(nil, in, []byte(text))
	f.want("write", status, 0)
	if int(n) != len(text) {
		f.t.Errorf("wrote %d of %d bytes", n, len(text))
	}
}

func TestEntriesCarryInodeGenerationAndTTL(t *testing.T) {
	f := newFixture(t)
	node, _ := f.create("a", unix.O_RDWR)
	var out fuse.EntryOut
	h := header(1)
	f.want("lookup", f.Lookup(nil, &h, "a", &out), 0)
	ino := proto.InodeID(out.NodeId)
	if out.NodeId != node || out.Generation != uint64(ino.Generation()) || out.Generation == 0 || out.Ino != node {
		t.Errorf("node %d, generation %d, ino %d", out.NodeId, out.Generation, out.Ino)
	}
	if out.EntryTimeout() != time.Second || out.AttrTimeout() != time.Second {
		t.Errorf("timeouts %v and %v", out.EntryTimeout(), out.AttrTimeout())
	}
	if out.Mode != unix.S_IFREG|0o644 {
		t.Errorf("mode %o: the umask is for the master to take off, once", out.Mode)
	}
	out = fuse.EntryOut{}
	f.want("lookup of what is not there", f.Lookup(nil, &h, "b", &out), syscall.ENOENT)
	if out != (fuse.EntryOut{}) {
		t.Errorf("an absent name is to be cached: %+v", out)
	}
}

func TestRootOfASubfolderIsNode1(t *testing.T) {
	m := newMemory()
	sub, err := m.Mkdir(context.Background(), client.Cred{}, 1, "sub", 0o755)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := m.Mkdir(context.Background(), client.Cred{}, sub.Inode, "inner", 0o755)
	if err != nil {
		t.Fatal(err)
	}
	m.root = sub.Inode
	f := newFileSystem(m, slog.New(slog.DiscardHandler))
	var entry fuse.EntryOut
	h := header(1)
	if st := f.Lookup(nil, &h, "inner", &entry); st != fuse.OK || entry.NodeId != uint64(inner.Inode) {
		t.Errorf("lookup in the root: %v, node %d", st, entry.NodeId)
	}
	var attr fuse.AttrOut
	if st := f.GetAttr(nil, &fuse.GetAttrIn{InHeader: header(1)}, &attr); st != fuse.OK || attr.Ino != uint64(sub.Inode) {
		t.Errorf("getattr of the root: %v, inode %d", st, attr.Ino)
	}
	for _, c := range []struct{ node, dot, dotdot uint64 }{
		{1, uint64(sub.Inode), uint64(sub.Inode)}, // ".." does not lead out of the mount
		{uint64(inner.Inode), uint64(inner.Inode), uint64(sub.Inode)},
	} {
		var open fuse.OpenOut
		f.OpenDir(nil, &fuse.OpenIn{InHeader: header(c.node)}, &open)
		list := fuse.NewDirEntryList(make([]byte, 4096), 0)
		if st := f.ReadDir(nil, &fuse.ReadIn{Fh: open.Fh}, list); st != fuse.OK {
			t.Fatal(st)
		}
		entries, err := fuse.ParseDirEntries(list.Bytes())
		if err != nil || entries[0].Name != "." || entries[0].Ino != c.dot || entries[1].Name != ".." || entries[1].Ino != c.dotdot {
			t.Errorf("node %d: %v, %v", c.node, entries, err)
		}
	}
}

func TestErrorsBecomeTheErrnoOfTheirKind(t *testing.T) {
	f := newFixture(t)
	f.create("file", unix.O_RDWR)
	f.want("mkdir", f.Mkdir(nil, &fuse.MkdirIn{InHeader: header(1)}, "dir", &fuse.EntryOut{}), 0)
	root, gone := header(1), header(999)
	f.want("mkdir of a name that is taken", f.Mkdir(nil, &fuse.MkdirIn{InHeader: root}, "file", &fuse.EntryOut{}), syscall.EEXIST)
	f.want("mkdir of a long name", f.Mkdir(nil, &fuse.MkdirIn{InHeader: root}, strings.Repeat("x", 256), &fuse.EntryOut{}), syscall.ENAMETOOLONG)
	f.want("rmdir of a file", f.Rmdir(nil, &root, "file"), syscall.ENOTDIR)
	f.want("unlink of a directory", f.Unlink(nil, &root, "dir"), syscall.EISDIR)
	f.want("getattr of a stale inode", f.GetAttr(nil, &fuse.GetAttrIn{InHeader: gone}, &fuse.AttrOut{}), syscall.ESTALE)
	f.want("open of a stale inode", f.Open(nil, &fuse.OpenIn{InHeader: gone}, &fuse.OpenOut{}), syscall.ESTALE)
	f.want("write to no handle", must(f.Write(nil, &fuse.WriteIn{Fh: 77}, nil)), syscall.EBADF)
	f.want("flush of no handle", f.Flush(nil, &fuse.FlushIn{Fh: 77}), syscall.EBADF)
	f.want("readdir of no handle", f.ReadDir(nil, &fuse.ReadIn{Fh: 77}, nil), syscall.EBADF)
	f.want("ioctl", f.Ioctl(nil, &fuse.IoctlIn{}, nil, nil, nil), syscall.ENOTTY)
	f.want("fallocate of no handle", f.Fallocate(nil, &fuse.FallocateIn{Fh: 77}), syscall.EBADF)
}

func must[T any](_ T, status fuse.Status) fuse.Status { return status }

func TestRenameFlags(t *testing.T) {
	f := newFixture(t)
	a, _ := f.create("a", unix.O_RDWR)
	b, _ := f.create("b", unix.O_RDWR)
	rename := func(flags uint32) fuse.Status {
		return f.Rename(nil, &fuse.RenameIn{InHeader: header(1), Newdir: 1, Flags: flags}, "a", "b")
	}
	// L14: a flag is done or refused.
	f.want("whiteout", rename(unix.RENAME_WHITEOUT), syscall.EINVAL)
	f.want("both", rename(unix.RENAME_EXCHANGE|unix.RENAME_NOREPLACE), syscall.EINVAL)
	f.want("unknown", rename(1<<30), syscall.EINVAL)
	f.want("no replace", rename(unix.RENAME_NOREPLACE), syscall.EEXIST)
	f.want("exchange", rename(unix.RENAME_EXCHANGE), 0)
	var out fuse.EntryOut
	h := header(1)
	if f.Lookup(nil, &h, "a", &out); out.NodeId != b {
		t.Errorf("a is node %d after the exchange, want %d", out.NodeId, b)
	}
	f.want("plain", rename(0), 0)
	if f.Lookup(nil, &h, "b", &out); out.NodeId != b {
		t.Errorf("b is node %d after the rename, want %d, not %d", out.NodeId, b, a)
	}
}

func TestSetAttrTimes(t *testing.T) {
	f := newFixture(t)
	node, _ := f.create("a", unix.O_RDWR)
	before := f.m.inodes[proto.InodeID(node)].attr
	var out fuse.AttrOut
	in := &fuse.SetAttrIn{}
	in.NodeId, in.Valid, in.Mtime, in.Mtimensec = node, fuse.FATTR_MTIME, ^uint64(0)-4, 7 // five seconds before 1970
	f.want("utimens", f.SetAttr(nil, in, &out), 0)
	after := f.m.inodes[proto.InodeID(node)].attr
	if !after.Mtime.Equal(time.Unix(-5, 7)) || !after.Atime.Equal(before.Atime) {
		t.Errorf("mtime %v, atime %v", after.Mtime, after.Atime)
	}
	if int64(out.Mtime) != -5 || out.Mtimensec != 7 {
		t.Errorf("answered mtime %d.%d", int64(out.Mtime), out.Mtimensec)
	}
	in.Valid, in.Atime = fuse.FATTR_ATIME|fuse.FATTR_ATIME_NOW, 1
	f.want("utimens now", f.SetAttr(nil, in, &out), 0)
	if after := f.m.inodes[proto.InodeID(node)].attr; after.Atime.Before(before.Atime) {
		t.Errorf("atime %v is not now", after.Atime)
	}
}

func TestCredentials(t *testing.T) {
	f := newFixture(t)
	f.groups.read = func(thread uint32) (threadStatus, error) {
		if thread != 42 {
			return threadStatus{}, errors.New("gone")
		}
		return threadStatus{groups: []uint32{7, 8}}, nil
	}
	node, fh := f.create("a", unix.O_RDWR)
	user := fuse.InHeader{NodeId: node, Caller: fuse.Caller{Owner: fuse.Owner{Uid: 1000, Gid: 100}, Pid: 42}}
	set := &fuse.SetAttrIn{}
	set.InHeader, set.Valid, set.Mode = user, fuse.FATTR_MODE, unix.S_IFREG|0o600
	f.want("chmod", f.SetAttr(nil, set, &fuse.AttrOut{}), 0)
	if c := f.m.lastCred; c.UID != 1000 || c.GID != 100 || !slices.Equal(c.Groups, []uint32{7, 8}) {
		t.Errorf("chmod was asked for by %+v", c)
	}
	set.Valid, set.Fh, set.Size = fuse.FATTR_SIZE|fuse.FATTR_FH, fh, 5
	f.want("ftruncate", f.SetAttr(nil, set, &fuse.AttrOut{}), 0)
	if c := f.m.lastCred; c.UID != 0 {
		t.Errorf("ftruncate of an open file asked for permission of user %d", c.UID)
	}
	f.want("exec", f.Open(nil, &fuse.OpenIn{InHeader: user, Flags: fuse.FMODE_EXEC}, &fuse.OpenOut{}), 0)
	if c := f.m.lastCred; c.UID != 0 {
		t.Errorf("execve asked for permission to read of user %d", c.UID)
	}
	f.want("open", f.Open(nil, &fuse.OpenIn{InHeader: user}, &fuse.OpenOut{}), 0)
	if c := f.m.lastCred; c.UID != 1000 {
		t.Errorf("open was asked for by user %d", c.UID)
	}
}

func TestReadGivesAllOrAnError(t *testing.T) {
	f := newFixture(t)
	_, fh := f.create("a", unix.O_RDWR)
	f.write(fh, 0, "hello world", 0, 0)
	read := func(off uint64) (string, fuse.Status) {
		buf := make([]byte, 8)
		result, status := f.Read(nil, &fuse.ReadIn{Fh: fh, Offset: off, Size: 8}, buf)
		if status != fuse.OK {
			return "", status
		}
		data, _ := result.Bytes(nil)
		if len(data) > 0 && &data[0] != &buf[0] {
			t.Error("the bytes were copied")
		}
		return string(data), status
	}
	for off, want := range map[uint64]string{0: "hello wo", 8: "rld", 11: "", 99: ""} {
		if got, status := read(off); got != want || status != fuse.OK {
			t.Errorf("read at %d: %q, %v", off, got, status)
		}
	}
	f.m.readErr = proto.DataCorrupt // G5: half the bytes are no answer, the kernel would take the rest for the end of the file
	if got, status := read(0); got != "" || syscall.Errno(status) != syscall.EIO {
		t.Errorf("a read that failed gave %q, %v", got, status)
	}
}

func TestErrorsOfLaterWritingReachFlushAndFsync(t *testing.T) {
	f := newFixture(t)
	_, fh := f.create("a", unix.O_RDWR)
	f.m.writeErr = proto.NoSpace // L10
	f.want("flush", f.Flush(nil, &fuse.FlushIn{Fh: fh}), syscall.ENOSPC)
	f.want("flush", f.Flush(nil, &fuse.FlushIn{Fh: fh}), 0)
	f.m.writeErr = proto.TooFewReplicas
	f.want("fsync", f.Fsync(nil, &fuse.FsyncIn{Fh: fh}), syscall.EIO)
	f.Release(nil, &fuse.ReleaseIn{Fh: fh})
	f.want("flush after release", f.Flush(nil, &fuse.FlushIn{Fh: fh}), syscall.EBADF)
	if f.m.syncs != 1 || f.m.flushes != 3 {
		t.Errorf("%d syncs, %d flushes", f.m.syncs, f.m.flushes)
	}
}

func TestSyncOfASingleWrite(t *testing.T) {
	f := newFixture(t)
	_, fh := f.create("a", unix.O_RDWR)
	f.write(fh, 0, "x", unix.O_RDWR, 0)
	if f.m.syncs != 0 {
		t.Error("a plain write was synced")
	}
	f.write(fh, 0, "x", unix.O_RDWR|unix.O_DSYNC, 0) // pwritev2 with RWF_DSYNC; G1
	if f.m.syncs != 1 {
		t.Error("a write with RWF_DSYNC was not synced")
	}
	_, fh = f.create("b", unix.O_RDWR|unix.O_SYNC)
	f.write(fh, 0, "x", unix.O_RDWR|unix.O_SYNC, 0)
	if f.m.syncs != 1 {
		t.Error("a file opened with O_SYNC syncs by itself")
	}
}

func TestAppendGoesToTheEndAndTheKernelLearnsOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		node, fh := f.create("log", unix.O_WRONLY|unix.O_APPEND)
		f.write(fh, 0, "one", unix.O_APPEND, 0)
		synctest.Wait()
		if f.kernel.notified(node) != nil {
			t.Error("the kernel was right, and was notified")
		}
		f.m.inodes[proto.InodeID(node)].resize(5) // another mount
		f.write(fh, 3, "two", unix.O_APPEND, 0)
		f.write(fh, 1, "N", 0, fuse.WRITE_CACHE) // through a mapping
		_, later := f.create("plain", unix.O_RDWR)
		f.write(later, 0, "1234", 0, 0)
		f.write(later, 0, "56", unix.O_APPEND, 0) // O_APPEND set by fcntl
		_, once := f.create("once", unix.O_RDWR|unix.O_APPEND)
		f.write(once, 0, "1234", unix.O_APPEND, 0)
		f.write(once, 0, "56", 0, 0) // O_APPEND taken away by fcntl
		synctest.Wait()
		if got := string(f.files.open[once].file.(*memFile).n.data); got != "5634" {
			t.Errorf("the file that is not appended to any more is %q", got)
		}
		if got := string(f.m.inodes[proto.InodeID(node)].data); got != "oNe\x00\x00two" {
			t.Errorf("the file is %q", got)
		}
		if got := string(f.files.open[later].file.(*memFile).n.data); got != "123456" {
			t.Errorf("the other file is %q", got)
		}
		if got := f.kernel.notified(node); !slices.Equal(got, []int64{0}) {
			t.Errorf("the kernel's pages and size were dropped %d times", len(got))
		}
		f.OnUnmount()
	})
}

func TestOpenFlags(t *testing.T) {
	f := newFixture(t)
	node, _ := f.create("a", unix.O_RDWR)
	const direct = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_PARALLEL_DIRECT_WRITES
	for flags, want := range map[uint32]uint32{
		unix.O_RDONLY:                 fuse.FOPEN_KEEP_CACHE, // its close may have to unlock
		unix.O_RDWR:                   fuse.FOPEN_KEEP_CACHE,
		unix.O_WRONLY | unix.O_TRUNC:  0,
		unix.O_WRONLY | unix.O_APPEND: fuse.FOPEN_KEEP_CACHE | direct,
		unix.O_RDWR | unix.O_DIRECT:   fuse.FOPEN_KEEP_CACHE | direct,
	} {
		var out fuse.OpenOut
		f.want("open", f.Open(nil, &fuse.OpenIn{InHeader: header(node), Flags: flags}, &out), 0)
		if out.OpenFlags != want {
			t.Errorf("open with %#x: flags %#x, want %#x", flags, out.OpenFlags, want)
		}
	}
	f.localLocks = true
	var out fuse.OpenOut
	f.want("open", f.Open(nil, &fuse.OpenIn{InHeader: header(node)}, &out), 0)
	if want := uint32(fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH); out.OpenFlags != want {
		t.Errorf("with local locks: flags %#x, want %#x", out.OpenFlags, want)
	}
}

func TestAnOpenOfAChangedFileMakesTheKernelAsk(t *testing.T) {
	f := newFixture(t)
	node, _ := f.create("a", unix.O_RDWR)
	open := func() { f.want("open", f.Open(nil, &fuse.OpenIn{InHeader: header(node)}, &fuse.OpenOut{}), 0) }
	open()
	if got := f.kernel.notified(node); got != nil {
		t.Fatalf("the kernel knew the file, and was notified: %v", got)
	}
	f.m.touch(f.m.inodes[proto.InodeID(node)]) // another mount
	open()
	if got := f.kernel.notified(node); !slices.Equal(got, []int64{-1}) {
		t.Fatalf("notified %v, want attributes (-1) once", got)
	}
	f.want("getattr", f.GetAttr(nil, &fuse.GetAttrIn{InHeader: header(node)}, &fuse.AttrOut{}), 0)
	open()
	if got := f.kernel.notified(node); len(got) != 1 {
		t.Errorf("the kernel had asked, and was notified again")
	}
}

func TestXattrSizes(t *testing.T) {
	f := newFixture(t)
	node, _ := f.create("a", unix.O_RDWR)
	h := header(node)
	set := &fuse.SetXAttrIn{InHeader: h, Flags: unix.XATTR_CREATE}
	f.want("set", f.SetXAttr(nil, set, "user.a", []byte("value")), 0)
	f.want("set again with CREATE", f.SetXAttr(nil, set, "user.a", nil), syscall.EEXIST)
	set.Flags = unix.XATTR_REPLACE
	f.want("replace what is not there", f.SetXAttr(nil, set, "user.b", nil), syscall.ENODATA)
	set.Flags = 0
	f.want("set an empty one", f.SetXAttr(nil, set, "user.b", nil), 0)
	for _, c := range []struct {
		name   string
		room   int
		size   uint32
		status syscall.Errno
	}{
		{"user.a", 0, 5, syscall.ERANGE}, {"user.a", 4, 5, syscall.ERANGE}, {"user.a", 5, 5, 0}, {"user.a", 100, 5, 0},
		{"user.b", 0, 0, 0}, {"user.c", 0, 0, syscall.ENODATA},
	} {
		dest := make([]byte, c.room)
		n, status := f.GetXAttr(nil, &h, c.name, dest)
		f.want(fmt.Sprintf("get %s into %d bytes", c.name, c.room), status, c.status)
		if n != c.size || status == fuse.OK && !bytes.Equal(dest[:n], []byte("value")[:n]) {
			t.Errorf("get %s into %d bytes: %d, %q", c.name, c.room, n, dest)
		}
	}
	dest := make([]byte, 14)
	if n, status := f.ListXAttr(nil, &h, dest); status != fuse.OK || string(dest[:n]) != "user.a\x00user.b\x00" {
		t.Errorf("list: %v, %q", status, dest[:n])
	}
	if n, status := f.ListXAttr(nil, &h, dest[:13]); status != fuse.ERANGE || n != 14 {
		t.Errorf("list into 13 bytes: %v, %d", status, n)
	}
	f.want("remove", f.RemoveXAttr(nil, &h, "user.a"), 0)
	f.want("remove again", f.RemoveXAttr(nil, &h, "user.a"), syscall.ENODATA)
}

func TestWritesTakePrivileges(t *testing.T) {
	f := newFixture(t)
	now := time.Now()
	f.now = func() time.Time { return now }
	node, _ := f.create("a", unix.O_RDWR)
	n := f.m.inodes[proto.InodeID(node)]
	arm := func(mode uint32) {
		now = now.Add(time.Minute) // long enough for another mount to have done this
		n.attr.Mode = unix.S_IFREG | mode
		n.xattrs[capabilityXattr] = []byte("caps")
	}
	expect := func(what string, mode uint32) {
		t.Helper()
		if _, ok := n.xattrs[capabilityXattr]; ok || n.attr.Mode != unix.S_IFREG|mode {
			t.Errorf("%s left mode %o, capabilities %v", what, n.attr.Mode, ok)
		}
	}
	open := func(flags uint32, in fuse.OpenIn) uint64 {
		var out fuse.OpenOut
		in.NodeId, in.Flags = node, flags
		f.want("open", f.Open(nil, &in, &out), 0)
		return out.Fh
	}
	arm(0o6755)
	f.write(open(unix.O_RDWR, fuse.OpenIn{}), 0, "x", 0, 0)
	expect("a privileged write", 0o6755)
	arm(0o6755)
	f.write(open(unix.O_RDWR, fuse.OpenIn{}), 0, "x", 0, fuse.WRITE_KILL_SUIDGID)
	expect("an unprivileged write", 0o755)
	fh := open(unix.O_RDWR, fuse.OpenIn{})
	f.write(fh, 0, "x", 0, 0)
	in := &fuse.SetXAttrIn{}
	in.NodeId = node
	f.want("set capabilities", f.SetXAttr(nil, in, capabilityXattr, []byte("caps")), 0)
	f.write(fh, 0, "x", 0, 0)
	expect("a write after this mount gave capabilities", 0o755)
	arm(0o755)
	f.write(fh, 0, "x", 0, 0)
	expect("a write after another mount gave capabilities", 0o755)
	f.m.xattrs = 0
	f.write(fh, 0, "x", 0, 0)
	if f.m.xattrs != 0 {
		t.Error("the master was asked again at once")
	}
	arm(0o6755)
	open(unix.O_RDWR|unix.O_TRUNC, fuse.OpenIn{Mode: fuse.OPEN_KILL_SUIDGID})
	expect("an open that truncates", 0o755)
	arm(0o6745) // set-group-id without group execution marks mandatory locking
	set := &fuse.SetAttrIn{}
	set.NodeId, set.Valid = node, fuse.FATTR_SIZE|fuse.FATTR_KILL_SUIDGID
	var attr fuse.AttrOut
	f.want("truncate", f.SetAttr(nil, set, &attr), 0)
	expect("a truncation", 0o2745)
	if attr.Mode != n.attr.Mode {
		t.Errorf("a truncation answered mode %o", attr.Mode)
	}
}

// What the kernel asks by itself for each inode reaches the master only where
// there may be something to tell.
func TestPlainInodesAreKnown(t *testing.T) {
	f := newFixture(t)
	now := time.Now()
	f.now = func() time.Time { return now }
	node, fh := f.create("a", unix.O_RDWR)
	h := header(node)
	get := func(name string, want syscall.Errno, asked int) {
		t.Helper()
		f.m.xattrs = 0
		_, status := f.GetXAttr(nil, &h, name, make([]byte, 10))
		f.want("get "+name, status, want)
		if f.m.xattrs != asked {
			t.Errorf("%s: the master was asked %d times, want %d", name, f.m.xattrs, asked)
		}
	}
	stat := func() {
		t.Helper()
		var out fuse.AttrOut
		f.want("getattr", f.GetAttr(nil, &fuse.GetAttrIn{InHeader: h}, &out), 0)
	}
	const list = "system.posix_acl_access"
	get(capabilityXattr, syscall.ENODATA, 0) // a new file
	get(list, syscall.ENODATA, 0)
	get("user.a", syscall.ENODATA, 1) // its permissions are the master's to check
	f.write(fh, 0, "x", 0, 0)
	now = now.Add(time.Second)
	get(list, syscall.ENODATA, 1)
	stat()
	get(list, syscall.ENODATA, 0)
	f.want("set", f.SetXAttr(nil, &fuse.SetXAttrIn{InHeader: h}, list, []byte("list")), 0)
	get(list, 0, 1)
	stat()
	get(list, 0, 1)
	get(capabilityXattr, syscall.ENODATA, 1)
	f.want("remove", f.RemoveXAttr(nil, &h, list), 0)
	stat()
	get(list, syscall.ENODATA, 0)
	f.m.inodes[proto.InodeID(node)].xattrs[list] = []byte("list") // by another mount
	now = now.Add(time.Second)
	get(list, 0, 1)
}

// An answer that was overtaken by an attribute being set does not hide it.
func TestPlainIsForgottenByWhatWasUnderWay(t *testing.T) {
	var table plainTable
	now := time.Now()
	attr := client.Attr{Inode: 5, Plain: true}
	asked := table.sets.Load()
	table.set(5)
	table.note(asked, &attr, now.Add(time.Second))
	if table.has(5, now) {
		t.Error("the answer to an earlier question was remembered")
	}
	table.note(table.sets.Load(), &attr, now.Add(time.Second))
	if !table.has(5, now) || table.has(5, now.Add(time.Second)) || table.has(5+plainSlots, now) {
		t.Error("a plain inode is to be known for a second, and no other")
	}
	table.set(5)
	if table.has(5, now) {
		t.Error("it is plain after an attribute was set")
	}
}

func TestStatFsAndStatx(t *testing.T) {
	f := newFixture(t)
	h := header(1)
	var out fuse.StatfsOut
	f.want("statfs", f.StatFs(nil, &h, &out), 0)
	if out.Blocks*uint64(out.Frsize) != 1<<40 || out.Bavail*uint64(out.Frsize) != 1<<39 || out.Files != 100 || out.Ffree != 90 || out.NameLen != 255 {
		t.Errorf("%+v", out)
	}
	var statx fuse.StatxOut
	f.want("statx", f.Statx(nil, &fuse.StatxIn{InHeader: h}, &statx), 0)
	if statx.Mask&unix.STATX_BTIME == 0 || statx.Btime.Sec != 1000 || statx.Btime.Nsec != 5 || statx.Ino != 1 {
		t.Errorf("%+v", statx)
	}
}
