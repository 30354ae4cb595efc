// Package pipeline is the data plane: frames over TCP between clients and
// chunkservers, and down the chain of a chunk's replicas. Both ends use it; the
// wire format is specified in frame.go.
//
// # Words
//
//   - frame: what travels; header, meta (hops, checksums or a text) and data.
//   - hop: one replica of a chain, seen from the one before. The hops behind a
//     server are those that its frames still go to.
//   - lane: one of the connections that a Client keeps to a server.
//   - dirty range: applied here, or about to be, and not yet acknowledged from below.
//   - broken: a chunk at a version of which a write was applied at one replica and
//     failed at another.
//   - reading role, writing role: the right to read from, or write to, a connection.
//
// # A request
//
// A call queues its frame at the lane's sender and, if nobody is writing, writes it
// itself, in one attempt that cannot block. At the server, the goroutine with the
// reading role receives it, checks every checksum, gives it a place in its chunk's
// order and queues the same bytes for the next hop; then it serves the request itself
// and replies. At the client, one reading goroutine a connection matches replies to
// calls, and reads data straight into the caller's memory. So a request costs two
// wake-ups of another thread, and requests that arrive together leave together.
//
// # Invariants
//
//   - All replicas apply the writes of a chunk in the order that the head gave them:
//     it is the order of its shard's list, of the lane to the next hop (both under one
//     lock), and of the arrival there. A lane's connection is replaced only after all
//     its calls have heard of its end, so that no later write overtakes a failed one.
//   - A write is acknowledged when it is applied here and acknowledged from below.
//   - A read never shows bytes of a dirty range, nor a failed write's (G3), nor bytes
//     that do not match their checksums (G5).
//   - After a failure the chunk takes no more writes of that version at the servers
//     before the failure: only a later version, which the master gives when the
//     replicas are equal again, ends that.
//   - A buffer has one owner (L12): the request, which frees it when its reply is
//     written. A call ends once its frame's memory is free, never before.
//
// A request whose connection failed may still be applied, later than one that was
// sent again: only another version keeps it out. So do not repeat a failed write at the
// same version while others may write to the same range.
//
// # Time-outs
//
// A peer that owes answers and is silent for ProgressTimeout has failed. A server with
// requests in flight, or in the middle of one, sends alive frames every AliveEvery, a sixth of
// the default of its clients' ProgressTimeout. What was sent is no sign of life, for
// it may be on its way for ever: a network may be cut in one direction. So slow is not failed, and
// a hop that is gone is noticed by its predecessor alone, who names it. Requests that
// are never answered by a server that lives, because its disk hangs, end by
// RequestTimeout.
//
// # No deadlock
//
// A request of class k (k hops behind it; reads are a class of their own) waits only
// for requests of class k-1 on the next server, and reads only for writes. Each class
// has its own budget of memory and its own lanes: so no class can be kept from ending
// by those that wait for it, in whatever direction the chains cross.
//
// # Bounds
//
// Client: bytes in flight on a lane (Window), servers connected to. Server: bytes in
// flight of each class (Budget; it stops reading when that is used up), connections,
// and hence goroutines, of which there is at most one for each request and three for
// each connection. What is broken is remembered for replicas of this server only,
// until a later version or Forget.
//
// # Locks
//
// In this order: shard.mu, Client.mu, clientConn.mu, sender.mu. Server.mu and
// serverConn.mu are taken with none of those held. None is held over a system call,
// save closing a connection and setting its deadline.
//
// # What may block
//
// StartWrite while the window is full; Write, Sync and Read until the end of the
// request or the context; a done callback must not. Store's methods may take their
// time: a request that takes long delays the others of its connection by a millisecond
// or two, and those of its chunk until it has been applied.
package pipeline
