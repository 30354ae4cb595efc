package fusefs

import "github.com/distrifs/distrifs/proto"

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
