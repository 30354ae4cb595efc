// Package state is the master's metadata as a deterministic state machine: the
// namespace, the inodes, the chunk table, and the sessions with their last
// answers. It has no goroutine, clock, disk or socket. What changes it is a
// Command; Apply carries it out and answers.
//
// # Words
//
//   - slab: a table of records of one type in pages without pointers. A record is
//     named by its slot, a 32-bit index; slot 0 is never used.
//   - arena: blocks of bytes in pages, for what varies in size: directory entries,
//     trie nodes, symlink targets, attribute values, addresses, answers.
//   - trie: a path-compressed radix trie of 64-way nodes that are as large as their
//     children are many. It orders 63-bit keys: the entries of a directory by
//     cookie, the chunks of a file by index, sessions, slots and orphans by number.
//   - cookie: what names a directory entry for ever within its directory: 55 bits of
//     a seeded hash of the name and 8 that tell apart names whose 55 bits agree.
//   - orphan: an inode without a name left, alive until it is reaped.
//   - assigned, committed: a chunk is assigned to a file and index when a writer
//     asks for it, and committed when the writer says that its chain holds data.
//   - shared: a chunk that stands in several places, of one file or of many, is shared,
//     and stays so; a reference is one of its places, a clone the chunk that is to
//     stand there instead because somebody writes.
//   - checkpoint: the whole state in a byte stream that knows nothing of memory.
//
// # Invariants
//
//   - The same commands give the same state, the same answers and the same ids, also
//     when some of them came in the form of a checkpoint (L6). Nothing depends on
//     time, randomness or the order of a Go map.
//   - A command that fails changes nothing but the slot that keeps its answer.
//   - Ids of inodes and chunks are never used again: a slot that is freed raises its
//     generation. The version of a chunk only grows (L3).
//   - Every inode but the root has as many names as its nlink says; a directory has one.
//   - The permission bits of a mode and an access ACL agree; an ACL that says no more
//     than the bits is not kept.
//   - A chunk belongs to exactly one inode and index, unless it is shared: then it has a
//     reference for each of its places, and goes with the last of them. What is shared
//     is committed, and never becomes a chunk that may be written to.
//   - Only Apply changes anything.
//
// # Memory
//
// A file with a name of 16 bytes and one chunk takes 96 bytes, and few records have a
// word that is mostly zero:
//
//	inode           40   inodes.go; seldom 32 more (cold, times.go)
//	chunk           24   chunks.go, with the ids of three nodes
//	entry           24   directories.go: 7 bytes, the name, and up to a multiple of 8
//	share of tries   8   trie.go; less in folders of few entries
//
// A cold record has what is too large for an inode's own: sizes from 4 GiB, 65,536 and more
// changes, attributes, and times that are more than two (a file unpacked from an archive).
// Users and groups are pairs with numbers (owners.go). All of it lies in pages without
// pointers, so that a garbage collection has nothing to look at.
//
// # Concurrency
//
// One goroutine applies. Reads may run beside each other but not beside Apply or
// Snapshot: the owner holds a read-write lock around them. A Snapshot is read by any
// goroutine without that lock: pages it shares are copied by Apply before they are
// written to. There are no locks to order, and nothing blocks but a Snapshot's
// WriteTo in its writer.
package state
