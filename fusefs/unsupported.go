package fusefs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// The default answer to a request is ENOSYS. To the kernel that means "never ask
// again", and it then does without, or answers in our place:
//
//	ACCESS                permitted; default_permissions checks it in the kernel
//	COPY_FILE_RANGE_64    the kernel asks with COPY_FILE_RANGE, for less than 4 GiB at a time
//
// FICLONE and FICLONERANGE never get here: the kernel answers them EOPNOTSUPP.

// Ioctl implements fuse.RawFileSystem.
func (s *fileSystem) Ioctl(cancel <-chan struct{}, in *fuse.IoctlIn, inbuf []byte, out *fuse.IoctlOut, outbuf []byte) fuse.Status {
	return fuse.Status(syscall.ENOTTY)
}
