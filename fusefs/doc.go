// Package fusefs mounts a cluster: it translates the kernel's FUSE requests to
// calls of package client, and the answers back. Nothing is decided here that
// another mount could notice: what may be cached, and for how long, package
// client says.
//
// # Words
//
//   - node: what the kernel calls an inode; its number is the InodeID, except
//     that the root of the mount is always 1.
//   - handle: an open file or directory, named by a number that is never used again.
//   - call: one request under way; see call.go.
//   - cookie: the offset of a directory entry: 0 the start, 1 behind ".", 2 behind
//     "..", from 3 the entry's own.
//
// # Invariants
//
//   - An answer is never made up: what the client cannot tell is an error (L11).
//   - The bytes of a WRITE belong to the reader (reader.go) and are not touched after the handler
//     has returned; those of a READ are written straight into its answer.
//   - A handler runs in the goroutine that has read the request, and who is about to wait for
//     somebody says so, by asking the call for Done or Hint: somebody else looks for requests then (device.go).
//   - A request is broken off only when its process is being killed (call.go), so
//     no program sees EINTR from a call that may have been carried out. The wait for
//     a lock alone ends at any signal.
//   - The kernel's WRITEBACK_CACHE stays off: with it the kernel, which never hears
//     of other mounts, would own sizes and times.
//   - An open sees what was closed before it on any mount: when the kernel was told
//     other attributes than those the open found, it is made to ask again (told.go).
//   - Under leases the kernel keeps attributes, pages and names while the client says so.
//     When the client has it forget them (caches.go), a READ under way may leave
//     old pages behind: those are dropped after its answer.
//   - A READ gives what the WRITEs sent before it brought, or leaves no page behind (writing.go).
//   - Notifications to the kernel that may wait, for a page or a directory's lock, are sent
//     by the notifier's goroutine and the client's, which hold no lock; and before the answer to a request for a
//     lock (locks.go), or to a WRITE that a READ has overtaken (writing.go), when nothing is held either.
//   - Locks are the master's, unless the mount was told to leave them to the kernel;
//     flock on a directory always is the kernel's, which passes it to no filesystem.
//   - Which reads update access times, the kernel's flags of the mount say (flags.go),
//     which a remount changes; the client keeps the times.
//   - A lock is answered after the kernel has dropped what it cached of the file, if
//     that has changed.
//
// # Locks
//
// handleTable.mu, dirHandle.mu, lockOwners.mu, call.mu, notifier.mu, releasing.mu,
// device.mu and groupCache.mu are leaves:
// none is held while another is taken. Only dirHandle.mu is held during a call to
// the client, so that a directory handle is read by one request at a time.
//
// Every handler may block as long as the client does: up to its I/O time-out.
package fusefs
