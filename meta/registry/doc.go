// Package registry is what the master knows of its chunkservers: who is alive,
// which replicas they confirmed, what they were ordered to do, and where a new
// chunk goes best. All of it is soft state, rebuilt from registrations, heartbeats
// and block reports after every start of the master; nothing here is logged.
//
// # Words
//
//   - good replica: on a live chunkserver of the chunk's chain, at the current
//     version, neither unclean nor corrupt, and not accused by a reader.
//   - presence: a byte for each chunk slot whose bit i says that member i of the
//     chain has a sound replica of the current version.
//   - strays: all else that a chunkserver holds: replicas of another version,
//     unsound ones, replicas of chunks whose chain it is not in or that are gone.
//   - known: a chunkserver whose block report has been complete since it
//     registered with this master. Of others, absence of a replica means nothing.
//   - arrival: the registration of a start of a chunkserver. What an earlier start of it has
//     told a client says nothing of the present one.
//   - doubt: a replica that counts as held and that a report lacks which may be older.
//   - order: a command to a chunkserver that waits for its result.
//
// # Invariants
//
//   - For each chunkserver and bucket, digest and count are those of exactly the
//     replicas in presence and strays, so a report that agrees changes nothing.
//   - A message that is not newer than what is known changes nothing (L5): it is
//     compared by incarnation, sequence, and for reports bucket by bucket.
//   - A chunkserver is placed upon, and given orders, only while its stream stands.
//
// # Time
//
// There is no goroutine here and no clock but the function given to New. Tick
// declares the dead.
//
// # Locks and blocking
//
// Registry.mu protects everything and is a leaf: nothing is called with it held but
// the Chunks view that a caller passes in, which must not take locks. Only Order
// blocks, until the result is there, its context ends or the stream breaks.
package registry
