// Package chunk is the chunkserver: it keeps replicas of chunks as plain files in
// data folders, checks every byte it gives away, serves the data plane (package
// pipeline), and tells the master what it holds and obeys its orders.
//
// # Words
//
//   - folder: a data folder, one for each disk. It carries a superblock that says
//     which chunkserver of which cluster it belongs to, and a lock.
//   - replica: one chunk's file in a folder, described in footer.go.
//   - table: the checksums of a replica's blocks; entry: one of them.
//   - period: the time from the first write to a replica until it is synced while
//     nobody writes. The footer's flag "being written" is set throughout.
//   - unclean: a replica that was in a period when the process or the machine died.
//     It serves nobody until it was made equal to a good one (Resync), or the master says
//     that its bytes stand (LetStand). It is complete if only the process died: then
//     the page cache still has all that was acknowledged. The master has a replica be unclean
//     at a version that others may have with other bytes (TakeOn).
//   - fence: the version that a replica is being made equal to; from then on requests of
//     lower versions are refused.
//   - broken: a replica at whose version a write was applied here and failed elsewhere in
//     the chain. It is reported, and counts as unclean after a stop.
//   - lease: the right to serve, which ends when no master has answered for too long.
//   - lost: a replica whose bytes cannot be relied upon any more: its disk failed
//     while it was being written or synced (L9), or its file is not what was written.
//   - sick: a folder's disk that is slow or failing; see condition.go.
//   - scrub: reading every replica in the background, one pass in 14 days, to find
//     damage while good replicas are left.
//   - agent: the part that talks to the master.
//
// # Invariants
//
//  1. No byte leaves that does not match its table entry (G5). The entry of a
//     block is the sender's own checksum wherever a whole block arrived.
//  2. A write is answered when data, table and, if the length grew, footer are in
//     the page cache: killing the process loses nothing that was acknowledged.
//     Only a write never acknowledged can leave a block without its entry.
//  3. The flag "being written" is durable before the first write of a period
//     reaches a replica that was synced before, and it is taken away only when
//     everything written is durable. So after a crash an unflagged replica matches
//     its table, and a block that does not is corrupt; it is never "repaired".
//  4. Bytes of a replica at and behind its length are zero.
//  5. A replica's version only grows (L3), and is durable before it is confirmed.
//  6. A file gets its name chunk-<uuid> when it is whole; it loses it by order of
//     the master alone (G10, L2). A file that is damaged stays and is reported.
//  7. Epochs and incarnations only grow, and are durable before they are used.
//
// # Locks, in order
//
//	Store.joining  one change of the place in the cluster at a time
//	replica.mu     one replica: held for writing by writes, for reading by reads
//	Store.mu       the index of replicas
//	cache.mu, folder.mu, changes.mu, dirtySet.mu   leaves
//
// A replica that is being made or copied is locked before it enters the index; only
// then is a second replica.mu taken, that of the one it replaces.
// cache.mu may be held while a replica is tried (never waited for). Syncs run
// without replica.mu, on a pinned file, so that reads and writes go on.
//
// # What blocks
//
// Store methods block for as long as the disk does. The agent's retries are
// budgeted by time alone; the data plane does not wait for it.
package chunk
