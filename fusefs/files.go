package fusefs

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// fileHandle is an open file.
type fileHandle struct {
	file  file
	flags uint32 // of the open

	incapable atomic.Pointer[incapable] // nil: not known

	lockers lockOwners
}

// Open implements fuse.RawFileSystem.
func (s *fileSystem) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	cred := s.cred(&in.Caller, 0)
	if in.Flags&fuse.FMODE_EXEC != 0 {
		cred = privileged // execve needs no permission to read
	}
	known := s.nowIncapable()
	f, err := s.backend.OpenInode(ctx, cred, s.inode(in.NodeId), in.Flags)
	if err != nil {
		return status(err)
	}
	h := &fileHandle{file: f, flags: in.Flags}
	if in.Flags&unix.O_TRUNC != 0 {
		s.changes.Add(1)
		h.incapable.Store(known) // truncation at the master saw to it
		if err := s.killPrivileges(ctx, h, &in.Caller, in.Mode&fuse.OPEN_KILL_SUIDGID != 0); err != nil {
			s.release(h)
			return status(err)
		}
	}
	// The kernel keeps attributes over an open. If they are not those of the file
	// that was opened, have it ask: its reads go by the size it knows. Only pages
	// would make a notification wait, and these it drops itself at an open.
	if attr := f.Attr(); !s.told.is(&attr) {
		s.kernel.InodeNotify(in.NodeId, -1, 0)
	}
	s.fillOpen(out, h)
	return fuse.OK
}

// Create implements fuse.RawFileSystem.
func (s *fileSystem) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	f, err := s.backend.CreateInode(ctx, s.cred(&in.Caller, in.Umask), s.inode(in.NodeId), name, in.Mode&^unix.S_IFMT, in.Flags)
	if err != nil {
		return status(err)
	}
	s.created(ctx, f, in.Flags, entry{s.inode(in.NodeId), name}, out)
	return fuse.OK
}

// Tmpfile implements fuse.RawFileSystem: O_TMPFILE. The kernel itself sees to it
// that a file opened with O_EXCL gets no name.
func (s *fileSystem) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	f, err := s.backend.CreateUnnamed(ctx, s.cred(&in.Caller, in.Umask), s.inode(in.NodeId), in.Mode&^unix.S_IFMT, in.Flags)
	if err != nil {
		return status(err)
	}
	s.created(ctx, f, in.Flags, entry{}, out)
	return fuse.OK
}

// created answers with a file that is open.
func (s *fileSystem) created(ctx *call, f file, flags uint32, at entry, out *fuse.CreateOut) {
	s.changes.Add(1)
	h := &fileHandle{file: f, flags: flags}
	attr := f.Attr()
	s.notePlain(ctx, &attr)
	s.fillEntry(&out.EntryOut, at, &attr)
	s.fillOpen(&out.OpenOut, h)
}

// fillOpen adds the handle and tells the kernel how to use it.
func (s *fileSystem) fillOpen(out *fuse.OpenOut, h *fileHandle) {
	out.Fh = s.files.add(h)
	if h.file.KeepCache() {
		out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
	}
	if h.flags&unix.O_ACCMODE == unix.O_RDONLY && s.localLocks {
		out.OpenFlags |= fuse.FOPEN_NOFLUSH // nothing of this handle is to be written or unlocked at close
	}
	// An append goes where the file ends, which the kernel does not know for sure:
	// its page cache would keep the bytes at the wrong place. And writes past the
	// cache need not wait for each other.
	if h.flags&(unix.O_APPEND|unix.O_DIRECT) != 0 {
		out.OpenFlags |= fuse.FOPEN_DIRECT_IO | fuse.FOPEN_PARALLEL_DIRECT_WRITES
	}
}

// Read implements fuse.RawFileSystem. The bytes go straight into the buffer of
// the answer. Less than asked for is the end of the file to the kernel, so an
// error is never answered with the bytes that came before it.
func (s *fileSystem) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h, ok := s.files.get(in.Fh)
	if !ok {
		return nil, fuse.EBADF
	}
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	var n int
	var err error
	s.writing.read(ctx, in, (in.Flags|h.flags)&(unix.O_APPEND|unix.O_DIRECT) == 0, func() {
		n, err = h.file.ReadAtContext(ctx, buf[:in.Size], int64(in.Offset))
	})
	s.keepPages(in.NodeId, h)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, status(err)
	}
	return inPlace(buf[:n]), fuse.OK
}

// inPlace are the bytes of an answer that lie where they belong already.
type inPlace []byte

// Bytes implements fuse.ReadResult.
func (b inPlace) Bytes([]byte) ([]byte, fuse.Status) { return b, fuse.OK }

// Size implements fuse.ReadResult.
func (b inPlace) Size() int { return len(b) }

// Done implements fuse.ReadResult.
func (b inPlace) Done() {}

// Readv is what go-fuse has the bytes put into the answer with.
func (b inPlace) Readv(dst [][]byte) (int, fuse.Status) {
	if len(b) == 0 || len(dst) == 1 && &dst[0][0] == &b[0] {
		return len(b), fuse.OK
	}
	n := 0
	for _, part := range dst {
		n += copy(part, b[n:])
	}
	return n, fuse.OK
}

// Write implements fuse.RawFileSystem. The data is go-fuse's again on return.
func (s *fileSystem) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	h, ok := s.files.get(in.Fh)
	if !ok {
		return 0, fuse.EBADF
	}
	end := s.writing.begin(in, len(data))
	defer func() {
		if stale := end(); stale != (span{}) && in.WriteFlags&fuse.WRITE_CACHE == 0 { // a page that is written back was not dropped
			s.waits(in.Unique)
			s.kernel.InodeNotify(in.NodeId, int64(stale.start), int64(stale.end-stale.start))
		}
	}()
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	if err := s.killPrivileges(ctx, h, &in.Caller, in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0); err != nil {
		return 0, status(err)
	}
	n, err := writeTo(ctx, h.file, in, data)
	s.changes.Add(1)
	s.keepPages(in.NodeId, h)
	if err == nil && in.Flags&unix.O_DSYNC&^h.flags != 0 {
		err = h.file.Sync(ctx) // RWF_DSYNC, RWF_SYNC: the file itself was opened without
	}
	if err != nil {
		return 0, status(err)
	}
	if in.Flags&unix.O_APPEND != 0 && h.file.Attr().Size != in.Offset+uint64(n) {
		s.notifier.drop(in.NodeId) // the kernel takes the bytes to be at its offset
	}
	return uint32(n), fuse.OK
}

// writeTo goes by the flags that the file has now, not those it was opened with. What a
// mapping changed comes through any handle of the file.
func writeTo(ctx context.Context, f file, in *fuse.WriteIn, data []byte) (int, error) {
	switch {
	case in.WriteFlags&fuse.WRITE_CACHE != 0:
		return f.WriteMappedAt(ctx, data, int64(in.Offset))
	case in.Flags&unix.O_APPEND != 0:
		return f.AppendContext(ctx, data)
	default:
		return f.PlaceAt(ctx, data, int64(in.Offset))
	}
}

// keepPages has the kernel forget the pages that it is about to be answered with, if
// they are another client's to change already.
func (s *fileSystem) keepPages(node uint64, h *fileHandle) {
	if h.flags&unix.O_DIRECT == 0 && !s.backend.KeepsPages(s.inode(node)) {
		s.notifier.drop(node)
	}
}

// Flush implements fuse.RawFileSystem: it is what close waits for.
func (s *fileSystem) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	return s.write(cancel, &in.InHeader, in.Fh, func(ctx context.Context, h *fileHandle) error {
		err := h.file.Flush(ctx)
		s.closedBy(ctx, h, in.LockOwner)
		return err
	})
}

// Fsync implements fuse.RawFileSystem. fdatasync is the same: the size has to be
// durable either way.
func (s *fileSystem) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return s.write(cancel, &in.InHeader, in.Fh, func(ctx context.Context, h *fileHandle) error { return h.file.Sync(ctx) })
}

// write has a handle's bytes written out.
func (s *fileSystem) write(cancel <-chan struct{}, header *fuse.InHeader, fh uint64, how func(context.Context, *fileHandle) error) fuse.Status {
	h, ok := s.files.get(fh)
	if !ok {
		return fuse.EBADF
	}
	ctx := s.begin(cancel, header)
	defer ctx.end()
	return s.changed(how(ctx, h))
}

// Release implements fuse.RawFileSystem.
func (s *fileSystem) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	s.unlocks.begin(in.NodeId)
	defer s.unlocks.end(in.NodeId)
	s.arrivals.come(in.Unique)
	if h, ok := s.files.remove(in.Fh); ok {
		s.unlockReleased(h, in)
		s.release(h)
	}
}

// release closes a handle that nobody waits for: close(2) has answered already,
// and an error is new only if bytes were written through a mapping after it.
func (s *fileSystem) release(h *fileHandle) {
	if err := h.file.Close(); err != nil {
		s.log.Error("release of a file: data may be lost", "inode", h.file.Attr().Inode, "error", err)
	}
}
