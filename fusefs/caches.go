package fusefs

import (
	"encoding/binary"
	"os"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
)

// caches are what the kernel keeps of what it was told under leases, for the client to
// have it forgotten.
type caches struct{ s *fileSystem }

// DropAttrs implements client.Caches. The kernel takes no lock for this that a request
// could hold.
func (c caches) DropAttrs(ino proto.InodeID) { c.s.kernel.InodeNotify(c.s.node(ino), -1, 0) }

// DropPages implements client.Caches. The kernel waits for requests that read or write
// the pages, and writes back what was changed through a mapping.
func (c caches) DropPages(ino proto.InodeID) { c.s.kernel.InodeNotify(c.s.node(ino), 0, 0) }

// DropNames implements client.Caches. The kernel takes the lock on the directory for each
// name, which calls hold that change its names, or list them.
func (c caches) DropNames(dir proto.InodeID, names []string) {
	node := c.s.node(dir)
	for _, name := range names {
		c.s.kernel.ExpireEntry(node, name)
	}
}

// link is what notifications go through.
type link struct {
	*fuse.Server
	device *os.File // that requests come from, for what go-fuse does not send
}

// The message that has the time of a name end (fuse.h of Linux: fuse_out_header,
// fuse_notify_inval_entry_out), in the machine's byte order:
//
//	 0  uint32  length of all
//	 4  uint32  3: FUSE_NOTIFY_INVAL_ENTRY
//	 8  uint64  0
//	16  uint64  node of the directory
//	24  uint32  length of the name
//	28  uint32  1: FUSE_EXPIRE_ONLY, what is mounted beneath stays
//	32  the name, and a zero
const (
	expireHeader     = 32
	notifyInvalEntry = 3
	expireOnly       = 1
)

func (l link) ExpireEntry(node uint64, name string) {
	m := make([]byte, expireHeader, expireHeader+len(name)+1)
	order := binary.NativeEndian
	order.PutUint32(m[0:], uint32(cap(m)))
	order.PutUint32(m[4:], notifyInvalEntry)
	order.PutUint64(m[16:], node)
	order.PutUint32(m[24:], uint32(len(name)))
	order.PutUint32(m[28:], expireOnly)
	m = append(append(m, name...), 0)
	conn, err := l.device.SyscallConn()
	if err != nil {
		return // it was closed
	}
	// Not Write: it lets one write go on at a time, and the kernel may have this one wait.
	_ = conn.Control(func(fd uintptr) {
		_, _ = unix.Write(int(fd), m) // ENOENT: it is not known; any other error comes with the unmount
	})
}
