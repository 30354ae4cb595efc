// Package client is the Go SDK of DistriFS and the intelligence of the mount:
// the session with the master, caching, chunking, read-ahead, gathered writes,
// and retries on other replicas.
//
// # Words
//
//   - session: this client's presence at the master; see session.go.
//   - slot: the right to one change under way at the master; see slots.go.
//   - inode: the state that all open files of one inode of this client share.
//   - piece: an aligned range of 1 MiB, the unit of read-ahead and of runs.
//   - run: a contiguous range of unwritten bytes within one piece of a chunk. It
//     gathers, is sealed, is sent, and is kept until its whole chain has it.
//   - stream: the way of the runs of one inode to one chunk; see writer.go.
//   - window: how many bytes of a stream may be on their way at once.
//   - location: where a chunk is, and at which version.
//   - lease: what makes right what is cached of an inode; see leases.go.
//   - recall: the master wants a lease back; see recall.go.
//   - behind: changes of names that were answered here and are not durable; see behind.go.
//   - here: what is answered here, without the master; see localnames.go, openhere.go and
//     lockshere.go.
//   - pool: inodes reserved at the master, which new names get; see pool.go.
//   - row: files of one directory that are opened one behind the other; see filesahead.go.
//   - pin: a writer's use of a lease, which a recall waits for.
//   - shortcut: a chunk of which a replica on this host is read without its chunkserver;
//     see shortcut.go.
//   - shared: a chunk that other files hold, too. It is read like any other, and never
//     written to: who writes asks for a clone of it; see share.go.
//
// # Invariants
//
//   - A byte taken over by WriteAt is either in a run, or on every replica of
//     its chain, or an error sticks to every file open of its inode (L10).
//   - Runs of one chunk reach the chain in the order in which they were sealed,
//     also after the chain was replaced.
//   - No frame goes to a chunk that is shared. When this client has chunks shared,
//     nothing is on its way to them, and nothing that it knew of them before, or that an
//     answer under way says, leads a write to them afterwards.
//   - A sync never says that bytes are there which a power loss of their whole chain may
//     have taken (L9): the age of the chunk's version tells.
//   - A commit names only bytes and chunks that whole chains have acknowledged.
//   - The size of a file, as seen here, is the greater one of the master's and
//     where unwritten or uncommitted bytes end. Nothing is read beyond it.
//   - A change at the master keeps its slot and sequence through all retries.
//     Whatever its outcome, it is carried out at most once.
//   - An exclusive lock is given up at the master after what was written under it is
//     committed; after a lock is given there nothing is answered from what was known before,
//     if the file has changed.
//   - A file's locks are here only under an exclusive lease, and while the master has none of
//     anybody. They are handed over before that lease is lowered, and before the master is
//     asked about them; while they are, and between a Hello and its Welcome, none changes.
//   - Under leases, nothing is unwritten but under an exclusive lease, nothing is
//     answered without asking but under a valid one, and a recall is answered when
//     everything above has been told to forget and nothing is unwritten any more.
//   - What is open the master counts, or this client has a lease on; with the lease the
//     master hears of it.
//   - What is changed here is what the master will make of it, to the last attribute; it is
//     sent in the order in which it was cached. Nothing asks the master before all of it
//     is carried out there, and no recall is answered before.
//   - Read-ahead and unwritten data never exceed ReadBuffer and WriteBuffer.
//   - A pooled buffer belongs to one run or one piece, which releases it (L12).
//
// # Locks
//
// In this order; what is further down may be taken while what is further up is
// held, never the other way round:
//
//	inode.writing     one write or truncation; held across calls to servers. Of two
//	                  inodes, as a copy needs, the one of the lower id first
//	inode.committing  one sync, commit or change of size or time; likewise
//	a pin of a lease  before inode.writing; whoever waits for a lease holds none of these
//	inode.locking     one request for a lock (never with the two above); likewise
//	accesses.reporting  one report of what was closed and read; likewise
//	Client.inodesMu   which inodes are open
//	inode.mu          all state of one inode; never held while waiting for a
//	                  server (inode.wait lets it go)
//	sessions.mu before leases.mu, heldLocks.mu, locations.mu, health.mu, hedges.mu, race.mu, readAhead.mu,
//	accesses.mu, shortcuts.mu, filesAhead.mu: leaves, but for behind.mu and heldLocks.mu, which are below leases.mu
//
// # What may block
//
// Every call that asks the master blocks while it is away, at most IOTimeout,
// and is interrupted by its context; a change that was sent is answered within a
// second of the interrupt, for it may have been carried out. Writes block when
// WriteBuffer is full, until chains acknowledge. Reads block until a replica
// answers. Streams and read-ahead work in goroutines of their own; a stream has
// one while it has sealed runs, a file has one for each piece being read ahead, a row has
// one while it asks for the files ahead.
//
// All errors are *proto.Error, but for io.EOF.
package client
