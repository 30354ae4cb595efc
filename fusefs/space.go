package fusefs

import (
	"context"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Fallocate implements fuse.RawFileSystem. The kernel has written back what a
// mapping changed in a range that is to become zero, and drops its pages afterwards.
func (s *fileSystem) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	how := allocation(in.Mode)
	if how == nil {
		return fuse.Status(unix.EOPNOTSUPP) // L14
	}
	keepSize := in.Mode&unix.FALLOC_FL_KEEP_SIZE != 0
	return s.write(cancel, &in.InHeader, in.Fh, func(ctx context.Context, h *fileHandle) error {
		if err := s.killPrivileges(ctx, h, &in.Caller, in.Uid != 0); err != nil { // the request does not tell, unlike WRITE
			return err
		}
		return how(h.file, ctx, int64(in.Offset), int64(in.Length), keepSize)
	})
}

// allocation is what a mode of fallocate(2) asks for; nil: nothing that there is.
func allocation(mode uint32) func(f file, ctx context.Context, off, n int64, keepSize bool) error {
	switch mode &^ unix.FALLOC_FL_KEEP_SIZE {
	case 0:
		return file.Allocate
	case unix.FALLOC_FL_ZERO_RANGE:
		return file.ZeroRange
	case unix.FALLOC_FL_PUNCH_HOLE:
		if mode&unix.FALLOC_FL_KEEP_SIZE != 0 {
			return file.ZeroRange
		}
	}
	return nil
}

// Lseek implements fuse.RawFileSystem: SEEK_DATA and SEEK_HOLE, all that the
// kernel does not answer itself. It does not know of pages that a mapping has
// changed and nobody has written back yet.
func (s *fileSystem) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	h, ok := s.files.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	ctx := s.begin(cancel, &in.InHeader)
	defer ctx.end()
	seek := file.SeekHole
	switch in.Whence {
	case unix.SEEK_DATA:
		seek = file.SeekData
	case unix.SEEK_HOLE:
	default:
		return fuse.EINVAL
	}
	at, err := seek(h.file, ctx, int64(in.Offset))
	out.Offset = uint64(at)
	return status(err)
}
