// Package proto is the vocabulary that all parts of DistriFS share: the typed
// ids, the kinds of error with their one table to errno and gRPC code, and, in
// proto/pb, the messages and services generated from the .proto files here.
//
// The parts meet in this package and nowhere else: the master (meta), the
// chunkserver (chunk) and the client never import one another's internals.
//
// # Words
//
//   - cluster: one master group and its chunkservers, named by a UUID.
//   - inode: a file, directory, symlink, device, FIFO or socket.
//   - chunk: a fixed byte range of a file, 64 MiB unless configured otherwise.
//   - replica: one copy of a chunk on one chunkserver.
//   - chain: the replicas of a chunk in write order, from head to tail.
//   - version: a number that the master raises at every change of a chain; it
//     fences whoever still believes in the old chain.
//   - block: 4 KiB of a chunk, the unit of checksums.
//   - session: one client's presence at the master.
//   - epoch: raised at each start of a master; orders of an older one are refused.
//
// # Invariants
//
// Ids of inodes and chunks are never used again. Versions and epochs only grow.
// Every error that crosses a process boundary carries a Kind.
//
// Nothing here blocks, and nothing here holds a lock.
package proto
