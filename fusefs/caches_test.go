package fusefs

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"github.com/hanwen/go-fuse/v2/fuse"
)

func TestNamesAreExpired(t *testing.T) {
	r, w, err := os.Pipe()
	noError(t, err)
	defer r.Close()
	f := newFixture(t)
	conn, err := w.SyscallConn()
	noError(t, err)
	f.fileSystem.kernel = &device{conn: conn}
	caches{f.fileSystem}.DropNames(7, []string{"name"})
	noError(t, w.Close())
	caches{f.fileSystem}.DropNames(7, []string{"name"}) // the mount is gone
	got := make([]byte, 100)
	n, err := r.Read(got)
	noError(t, err)
	order := binary.NativeEndian
	want := order.AppendUint32(nil, 37)
	want = order.AppendUint32(want, 3)
	want = order.AppendUint64(want, 0)
	want = order.AppendUint64(want, 7)
	want = order.AppendUint32(want, 4)
	want = order.AppendUint32(want, 1)
	want = append(want, "name\x00"...)
	if !bytes.Equal(got[:n], want) {
		t.Errorf("the kernel was told % x, want % x", got[:n], want)
	}
}

// Under leases the kernel is told of a name as the client says, and of an absent one too.
func TestNamesAreTold(t *testing.T) {
	for _, expires := range []bool{false, true} {
		f := newFixture(t)
		f.m.ttl, f.m.leased, f.fileSystem.expires = 0, true, expires
		file, err := f.m.make(client.Cred{}, f.m.root, "file", unix.S_IFREG|0o644)
		noError(t, err)
		told, absent := fuse.EntryOut{}, fuse.EntryOut{}
		found := f.Lookup(nil, &fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID}, "file", &told)
		missed := f.Lookup(nil, &fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID}, "absent", &absent)
		if found != fuse.OK || proto.InodeID(told.NodeId) != file.attr.Inode || (told.EntryValidNsec > 0) != expires {
			t.Errorf("a name that is there: %v, %+v", found, told)
		}
		if want := map[bool]fuse.Status{true: fuse.OK, false: fuse.ENOENT}[expires]; missed != want || absent.NodeId != 0 || (absent.EntryValidNsec > 0) != expires {
			t.Errorf("a name that is absent: %v, %+v", missed, absent)
		}
	}
}
