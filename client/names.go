package client

import (
	"context"
	"time"

	"github.com/distrifs/distrifs/proto"
)

// Cred is on whose behalf a call is made.
type Cred struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
	Umask    uint32   // taken off the mode of what is made
}

// Attr is what stat(2) tells, unwritten data of this client included.
type Attr struct {
	Inode                      proto.InodeID
	Mode                       uint32 // type and permission bits, as st_mode
	Nlink, UID, GID, Rdev      uint32
	Size                       uint64 // bytes
	Blocks                     uint64 // 512-byte units
	Atime, Mtime, Ctime, Btime time.Time
	Change                     uint64 // raised by every change of the inode
}

// SetAttr says which attributes to change: those that are not nil.
type SetAttr struct {
	Mode, UID, GID *uint32
	Size           *uint64 // truncate or extend
	Atime, Mtime   *TimeSet
}

// TimeSet is a time to set: the master's clock, or the one given.
type TimeSet struct {
	Now  bool
	Time time.Time
}

// DirEntry is one name of a directory.
type DirEntry struct {
	Name   string
	Inode  proto.InodeID
	Type   uint32 // S_IFMT bits of the mode
	Cookie uint64 // stable while the entry lives; 3 <= Cookie < 2^63
	Attr   *Attr  // nil unless asked for
}

// DirPage is some of a directory, in cookie order, without "." and "..".
type DirPage struct {
	Entries []DirEntry
	End     bool          // there are no more behind these
	Parent  proto.InodeID // inode of ".."
}

// FSStat is the usable space: raw space divided by the number of replicas.
type FSStat struct {
	TotalBytes, FreeBytes uint64
	Inodes, FreeInodes    uint64
}

// Lookup finds a name in a directory.
func (c *Client) Lookup(ctx context.Context, cred Cred, parent proto.InodeID, name string) (Attr, error) {
	return Attr{}, proto.NotSupported
}

// GetAttr reads the attributes of an inode.
func (c *Client) GetAttr(ctx context.Context, ino proto.InodeID) (Attr, error) {
	return Attr{}, proto.NotSupported
}

// SetAttr changes attributes and returns all of them. A change of the size is
// ordered with the unwritten data of this client.
func (c *Client) SetAttr(ctx context.Context, cred Cred, ino proto.InodeID, set SetAttr) (Attr, error) {
	return Attr{}, proto.NotSupported
}

// ReadDir lists entries behind a cookie (0: from the start), with attributes if asked.
func (c *Client) ReadDir(ctx context.Context, cred Cred, ino proto.InodeID, cookie uint64, attrs bool) (DirPage, error) {
	return DirPage{}, proto.NotSupported
}

// ReadLink reads the target of a symlink.
func (c *Client) ReadLink(ctx context.Context, ino proto.InodeID) (string, error) {
	return "", proto.NotSupported
}

// Mkdir makes a directory.
func (c *Client) Mkdir(ctx context.Context, cred Cred, parent proto.InodeID, name string, mode uint32) (Attr, error) {
	return Attr{}, proto.NotSupported
}

// Mknod makes a regular file, FIFO, socket or device: mode has the type bits.
func (c *Client) Mknod(ctx context.Context, cred Cred, parent proto.InodeID, name string, mode, rdev uint32) (Attr, error) {
	return Attr{}, proto.NotSupported
}

// Symlink makes a symlink that holds target.
func (c *Client) Symlink(ctx context.Context, cred Cred, parent proto.InodeID, name, target string) (Attr, error) {
	return Attr{}, proto.NotSupported
}

// Link gives an inode another name.
func (c *Client) Link(ctx context.Context, cred Cred, ino, parent proto.InodeID, name string) (Attr, error) {
	return Attr{}, proto.NotSupported
}

// Unlink removes the name of what is not a directory.
func (c *Client) Unlink(ctx context.Context, cred Cred, parent proto.InodeID, name string) error {
	return proto.NotSupported
}

// Rmdir removes an empty directory.
func (c *Client) Rmdir(ctx context.Context, cred Cred, parent proto.InodeID, name string) error {
	return proto.NotSupported
}

// Rename moves a name. Flags are those of renameat2(2): RENAME_NOREPLACE and
// RENAME_EXCHANGE; any other is Invalid (L14).
func (c *Client) Rename(ctx context.Context, cred Cred, parent proto.InodeID, name string, newParent proto.InodeID, newName string, flags uint32) error {
	return proto.NotSupported
}

// GetXattr reads an extended attribute; NoAttr if it is not there.
func (c *Client) GetXattr(ctx context.Context, cred Cred, ino proto.InodeID, name string) ([]byte, error) {
	return nil, proto.NotSupported
}

// ListXattr names the extended attributes.
func (c *Client) ListXattr(ctx context.Context, cred Cred, ino proto.InodeID) ([]string, error) {
	return nil, proto.NotSupported
}

// SetXattr sets an extended attribute. Flags are XATTR_CREATE and XATTR_REPLACE.
func (c *Client) SetXattr(ctx context.Context, cred Cred, ino proto.InodeID, name string, value []byte, flags uint32) error {
	return proto.NotSupported
}

// RemoveXattr removes an extended attribute; NoAttr if it is not there.
func (c *Client) RemoveXattr(ctx context.Context, cred Cred, ino proto.InodeID, name string) error {
	return proto.NotSupported
}

// StatFS tells the space of the cluster.
func (c *Client) StatFS(ctx context.Context) (FSStat, error) { return FSStat{}, proto.NotSupported }
