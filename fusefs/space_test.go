package fusefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// memRoom is how far a file of memory can be allocated.
const memRoom = 1 << 30

// CreateUnnamed makes a file under a name that nobody can ask for.
func (m *memory) CreateUnnamed(ctx context.Context, cred client.Cred, parent proto.InodeID, mode, flags uint32) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.make(cred, parent, "\x00", unix.S_IFREG|mode)
	if err != nil {
		return nil, err
	}
	dir := m.inodes[parent]
	dir.entries = dir.entries[:len(dir.entries)-1]
	n.attr.Nlink = 0
	return &memFile{m: m, n: n, flags: flags}, nil
}

func (f *memFile) Allocate(ctx context.Context, off, n int64, keepSize bool) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if off+n > memRoom {
		return proto.NoSpace
	}
	if !keepSize {
		f.n.resize(max(f.n.attr.Size, uint64(off+n)))
	}
	f.m.touch(f.n)
	return nil
}

func (f *memFile) ZeroRange(ctx context.Context, off, n int64, keepSize bool) error {
	if err := f.Allocate(ctx, off, n, keepSize); err != nil {
		return err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	size := int64(len(f.n.data))
	clear(f.n.data[min(off, size):min(off+n, size)])
	return nil
}

func (m *memory) CopyRange(ctx context.Context, from, to file, off, toOff, n int64) (int64, error) {
	if from.(*memFile).n == to.(*memFile).n && off < toOff+n && toOff < off+n {
		return 0, proto.Invalid
	}
	p := make([]byte, n)
	k, err := from.ReadAtContext(ctx, p, off)
	if err != nil && err != io.EOF {
		return 0, err
	}
	k, err = to.PlaceAt(ctx, p[:k], toOff)
	return int64(k), err
}

func (f *memFile) SeekData(ctx context.Context, off int64) (int64, error) {
	return f.seek(off, true)
}

func (f *memFile) SeekHole(ctx context.Context, off int64) (int64, error) {
	return f.seek(off, false)
}

func (f *memFile) seek(off int64, data bool) (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	size := int64(len(f.n.data))
	if off < 0 || off >= size {
		return 0, proto.NoData
	}
	for off < size && (f.n.data[off] != 0) != data {
		off++
	}
	if off == size && data {
		return 0, proto.NoData
	}
	return off, nil
}

// Every mode of fallocate(2) is carried out or refused; none is taken for another.
func TestAllocationModes(t *testing.T) { // L14
	const keep, punch, zero = unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_ZERO_RANGE
	good := map[uint32]bool{0: true, keep: true, punch | keep: true, zero: true, zero | keep: true}
	for mode := range uint32(256) {
		if got := allocation(mode) != nil; got != good[mode] {
			t.Errorf("mode %#x is carried out: %v", mode, got)
		}
	}
}

func TestLseekOfOtherKinds(t *testing.T) {
	f := newFixture(t)
	in := &fuse.LseekIn{Whence: unix.SEEK_END}
	if status := f.Lseek(nil, in, &fuse.LseekOut{}); status != fuse.EBADF {
		t.Errorf("without a file: %v", status)
	}
	h, err := f.m.CreateUnnamed(t.Context(), client.Cred{}, f.root, 0o600, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	in.Fh = f.files.add(&fileHandle{file: h})
	if status := f.Lseek(nil, in, &fuse.LseekOut{}); status != fuse.EINVAL {
		t.Errorf("SEEK_END: %v", status)
	}
}

func TestKernelAllocatesAndSeeks(t *testing.T) {
	s := serving(t, "")
	f, err := os.Create(filepath.Join(s.path, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := int(f.Fd())
	if _, err := f.Write([]byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		mode   uint32
		off, n int64
		want   error
		bytes  string
	}{
		{unix.FALLOC_FL_KEEP_SIZE, 5, 100, nil, "0123456789"},
		{unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, 2, 3, nil, "01\x00\x00\x0056789"},
		{unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE, 9, 3, nil, "01\x00\x00\x005678\x00"},
		{unix.FALLOC_FL_ZERO_RANGE, 8, 3, nil, "01\x00\x00\x00567\x00\x00\x00"},
		{0, 0, 12, nil, "01\x00\x00\x00567\x00\x00\x00\x00"},
		{0, 0, 1 << 40, unix.ENOSPC, "01\x00\x00\x00567\x00\x00\x00\x00"},
		{unix.FALLOC_FL_COLLAPSE_RANGE, 0, 4096, unix.EOPNOTSUPP, "01\x00\x00\x00567\x00\x00\x00\x00"},
		{unix.FALLOC_FL_INSERT_RANGE, 0, 4096, unix.EOPNOTSUPP, "01\x00\x00\x00567\x00\x00\x00\x00"},
	} {
		if err := unix.Fallocate(fd, step.mode, step.off, step.n); !errors.Is(err, step.want) {
			t.Errorf("%+v: %v", step, err)
		}
		if got, err := os.ReadFile(f.Name()); string(got) != step.bytes {
			t.Errorf("%+v: %q, %v", step, got, err)
		}
	}
	for _, step := range []struct {
		whence    int
		off, want int64
		err       error
	}{
		{unix.SEEK_DATA, 0, 0, nil}, {unix.SEEK_HOLE, 0, 2, nil}, {unix.SEEK_DATA, 2, 5, nil},
		{unix.SEEK_HOLE, 5, 8, nil}, {unix.SEEK_DATA, 8, 0, unix.ENXIO}, {unix.SEEK_HOLE, 12, 0, unix.ENXIO},
		{unix.SEEK_END, -1, 11, nil}, {unix.SEEK_SET, 3, 3, nil},
	} {
		if at, err := unix.Seek(fd, step.off, step.whence); !errors.Is(err, step.err) || err == nil && at != step.want {
			t.Errorf("%+v: %d, %v", step, at, err)
		}
	}
}

func TestKernelMakesUnnamedFiles(t *testing.T) {
	s := serving(t, "")
	fd, err := unix.Open(s.path, unix.O_TMPFILE|unix.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || stat.Nlink != 0 || stat.Mode != unix.S_IFREG|0o600 {
		t.Errorf("%+v, %v", stat, err)
	}
	if _, err := unix.Pwrite(fd, []byte("hello"), 0); err != nil {
		t.Error(err)
	}
	name := filepath.Join(s.path, "name")
	if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(name); string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	never, err := unix.Open(s.path, unix.O_TMPFILE|unix.O_RDWR|unix.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(never)
	if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", never), unix.AT_FDCWD, name+"2", unix.AT_SYMLINK_FOLLOW); err != unix.ENOENT {
		t.Errorf("a file opened with O_EXCL: %v", err)
	}
}
