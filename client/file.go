package client

import (
	"context"

	"github.com/distrifs/distrifs/proto"
)

// File is an open file. It is safe for concurrent use; all files of one inode
// of one Client share size and unwritten data.
type File struct{}

// OpenInode opens a file by inode. Flags are those of open(2): access mode,
// O_TRUNC, O_APPEND, O_SYNC, O_DSYNC; others are ignored.
func (c *Client) OpenInode(ctx context.Context, cred Cred, ino proto.InodeID, flags uint32) (*File, error) {
	return nil, proto.NotSupported
}

// CreateInode makes a regular file and opens it, or opens the file of that name
// unless flags have O_EXCL. Mode holds permission bits.
func (c *Client) CreateInode(ctx context.Context, cred Cred, parent proto.InodeID, name string, mode, flags uint32) (*File, error) {
	return nil, proto.NotSupported
}

// Attr is what this client knows of the file without asking: as of the open, a
// later answer of the master, or a write.
func (f *File) Attr() Attr { return Attr{} }

// Inode that is open.
func (f *File) Inode() proto.InodeID { return 0 }

// KeepCache tells whether what the kernel cached at an earlier open of this
// inode through this client is still right.
func (f *File) KeepCache() bool { return false }

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	return f.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext reads like ReadAt: io.EOF with less than len(p) bytes at the
// end of the file.
func (f *File) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	return 0, proto.NotSupported
}

// WriteAt implements io.WriterAt. With O_APPEND, off is ignored.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	return f.WriteAtContext(context.Background(), p, off)
}

// WriteAtContext writes like WriteAt. It returns when p has been taken over,
// not when it is written: errors of that come with a later write, Sync, Flush
// or Close, once per File. With O_SYNC or O_DSYNC it includes a Sync.
func (f *File) WriteAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	return 0, proto.NotSupported
}

// Flush is what close(2) waits for: every write has reached every replica of
// its chain, and the master has size and chunks.
func (f *File) Flush(ctx context.Context) error { return proto.NotSupported }

// Sync is fsync(2): Flush, and the bytes are on stable storage on every replica.
func (f *File) Sync(ctx context.Context) error { return proto.NotSupported }

// Truncate cuts or extends the file to size bytes.
func (f *File) Truncate(ctx context.Context, size int64) error { return proto.NotSupported }

// Close flushes and gives the open file back, whatever the flush says.
func (f *File) Close() error { return proto.NotSupported }

// Read implements io.Reader at the file's own position.
func (f *File) Read(p []byte) (int, error) { return 0, proto.NotSupported }

// Write implements io.Writer at the file's own position.
func (f *File) Write(p []byte) (int, error) { return 0, proto.NotSupported }

// Seek implements io.Seeker.
func (f *File) Seek(offset int64, whence int) (int64, error) { return 0, proto.NotSupported }
