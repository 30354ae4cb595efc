// Package meta is the master: it serves names, attributes, chunk locations and
// sessions to clients, and takes registrations, heartbeats and block reports of
// chunkservers. What is true is in the log (meta/wal) and the state behind it
// (meta/state); what is only known, in sessions and meta/registry; the rest of this
// package connects the two with the wire and keeps every chunk at its replicas.
//
// # Words
//
//   - change: a request of a client that becomes a command in the log.
//   - slot: see proto/common.proto; a change that is repeated is answered from it.
//   - turn: a session is told that it has the lock it waited for (meta/locks).
//   - lease, grant, claim, debt: see meta/leases. Recalls are sent, and answered, over the
//     sessions' streams.
//   - behind: changes that a session has answered itself and sends in order (behind.go).
//   - reserved: an inode that a session may make something of; until then an orphan.
//   - frozen: sessions of an earlier start may have leases that are not known yet.
//   - soft state: opens, locks, leases, liveness, presence of replicas, queues. Rebuilt after a start.
//   - open here: by a client that has a lease and did not ask; see openshere.go.
//   - order: a command to a chunkserver whose result is awaited.
//   - survivors: the members a chain goes on with after a failure.
//   - fence: to have replicas refuse requests of other versions than a new one, and be
//     equal to each other at it (resync.go).
//   - base: the replica that the others are made equal to.
//   - renewal: a new version for a chunk whose writer is gone, and equal replicas.
//   - whole: a replica that has every byte that it acknowledged.
//   - ripe: a version that a member has taken on with whom the chain goes on, so that the
//     next may be logged.
//   - orphan: an inode without a name that is open, or not reaped yet.
//   - clone: the chunk that a writer gets in the place of a shared one.
//   - homeless: a replica whose chunk is not live.
//   - safe mode: the time after a start in which too few replicas have reported.
//
// # Invariants
//
//   - Nothing is answered before it is durable (G2); nothing is ordered of a
//     chunkserver before the version it is about is durable (L1).
//   - A version of a chunk is raised by one party at a time (chunkWork), by
//     compare-and-set (L3), to a chain of at least min-replicas (L4).
//   - A location names the whole logged chain. So nobody can write to a part of it
//     and have it acknowledged: to go on with fewer, the chain is changed in the log.
//   - Members of a chain that may be read are equal. Members at the version just before
//     have all that was acknowledged, but nobody reads or writes there.
//   - A version is raised only when it is ripe. So who has all that was acknowledged is
//     at most one version behind, however often master and members die.
//   - The age of a version is raised when acknowledged bytes may be lost by a change (L9).
//   - A replica is deleted only if its chunk was freed by this log, or its version is
//     older than, or its server outside, a chain whose replicas are good (G10, L2).
//   - A request is carried out once: its slot is held while it is under way, and the
//     log keeps the answer. Opens, which are not logged, are counted once likewise.
//   - Before a request takes effect that leases of other sessions exclude, they have been
//     given back: what reads names the inodes it reads, and waits until nobody else has
//     them exclusive; what changes claims them, from before it is logged until its answer
//     is made, and waits until nobody else has a lease (observe, secure). Two things
//     change what may be cached, and recall nobody: access times, and chains.
//   - A change behind is submitted only while its session has all that it changes exclusive;
//     what was submitted is carried out before the session's leases go.
//   - An orphan is reaped when nobody has it open, and nobody has, or owes, a lease on it.
//   - What an answer says of inodes that it grants was read at one moment with the grant.
//   - A session whose leases others wait for is ended when it has not been heard of for
//     the lease time, counted from when its last keepalive was answered (L8); if it keeps
//     alive but does not answer the recall, its keepalives are not answered any more.
//   - The soft state follows the log inside Apply, before anybody can see the change.
//
// # Locks, in order
//
//	slot.busy, chunkWork   held over proposals and orders; of chunks a shared one before its clone
//	a claim                waited for with a slot held, never with chunkWork; held over both
//	sharings               an end is waited for, with neither of the others' ends in between
//	census.mu              held over a look at all chunks
//	machine.mu             read by handlers, written by Apply; never held over anything that blocks
//	locking.mu             the table of locks
//	leasing.mu             the table of leases
//	writers.mu             over sessions.mu
//	changesBehind.mu       held over a wait for the log
//	behindStream.mu        a leaf
//	sessions.mu, feed.mu   in this order; then leaves, as are
//	Registry.mu, deletes.mu, blames.mu, chunkWork.mu, renewals.mu
//
// Where several are needed: machine.mu before the rest. Master.mu is for Serve and
// Close alone.
//
// # What blocks
//
// Reads never wait for the log, but for leases that exclude them. Changes wait for its
// sync and, with their slot held, for leases. A request that waits for a lock holds no
// claim. ReportChainFailure waits
// for chunkservers, for a bounded time. Handlers of streams last as long as these do,
// and end when Close begins.
package meta
