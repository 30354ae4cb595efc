// Package client is the Go SDK of DistriFS and the intelligence of the mount:
// the session with the master, caching, chunking, read-ahead, gathered writes,
// and retries on other replicas.
//
// # Words
//
//   - session: this client's presence at the master; see session.go.
//   - slot: one change under way at the master; see slots.go.
//   - inode: the state that all open files of one inode of this client share.
//   - run: a contiguous range of unwritten bytes within one 1 MiB piece of a
//     chunk; see runs.go.
//   - piece: an aligned range of 1 MiB, the unit of read-ahead and of runs.
//   - window: how many bytes of a chunk may be on their way at once.
//
// All errors are *proto.Error.
package client
