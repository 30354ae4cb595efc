package fusefs

import (
	"context"
	"math"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// mostCopied is how many bytes the answer to a COPY_FILE_RANGE can tell of, in whole
// chunks of any size.
const mostCopied = math.MaxUint32 / (1 << 30) * (1 << 30)

// CopyFileRange implements fuse.RawFileSystem. The kernel has written back what mappings
// changed in both ranges, and drops its pages of the one that was copied to.
func (s *fileSystem) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	from, ok := s.files.get(in.FhIn)
	if !ok {
		return 0, fuse.EBADF
	}
	if in.Flags != 0 {
		return 0, fuse.Status(unix.EINVAL) // L14
	}
	copied := int64(0)
	status := s.write(cancel, &in.InHeader, in.FhOut, func(ctx context.Context, to *fileHandle) (err error) {
		if err := s.killPrivileges(ctx, to, &in.Caller, in.Uid != 0); err != nil { // the request does not tell, unlike WRITE
			return err
		}
		copied, err = s.backend.CopyRange(ctx, from.file, to.file, int64(in.OffIn), int64(in.OffOut), int64(min(in.Len, mostCopied)))
		return err
	})
	return uint32(copied), status
}
