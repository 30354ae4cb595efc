// Package leases is the master's table of leases: which session may rely on what it
// knows of which inode, who is about to do what such leases exclude, and who owes an
// answer to a recall.
//
// # Words
//
//   - lease: the right of a session to rely on what it has read of an inode (Shared),
//     or to change it without asking too (Exclusive).
//   - grant: a lease given with an answer, when nobody has to wait for it.
//   - claim: a request's announcement of what it is about to do with some inodes. It is
//     made, waits, is granted when no lease of another session stands against it, and is
//     released when the request is done.
//   - point: where the claims on one inode meet.
//   - debt: the answer that a session owes to a recall.
//
// # Invariants
//
//   - Of one inode, either one session has an exclusive lease, or any number have shared
//     ones.
//   - While a claim is queued, waiting or granted, other sessions are granted no lease
//     that it excludes. Claims that change something go together: the log puts them in
//     order. Only claims that end in a lease (Share, Own) exclude claims.
//   - Claims that exclude each other go in the order in which they came, except that who
//     has a lease on the one inode it claims goes before who has none: so a holder that
//     writes back never waits for those who wait for it, and an upgrade comes first, unless
//     it comes from who has been asked already. A claim of several inodes has no such
//     privilege.
//   - So no claims wait in a circle: a claim waits for answers to recalls, which wait for
//     nothing but what a holder may do (as long as clients keep nothing back for an
//     answer of ours), and for claims before it.
//   - Nobody starves: what is claimed is not granted to others any more, so a claim waits
//     only for those before it.
//   - A session that owes an answer for an inode gets no other lease on it before it
//     gave it. An answer counts for the lease that was recalled, never for a later one
//     (lease.stamp).
//   - What a session gives back of its own accord is recalled from it, for a grant of the
//     same inode may be under way to it.
//   - Who holds a lease, or owes an answer for one, may have the inode open and not have said
//     so. Of inodes without a name they are asked, and nobody is ended for not answering.
//   - Leases are bounded, for a session and in all. At the bound nothing more is granted
//     with answers, and the leases granted longest ago are recalled.
//
// A Table has no goroutine and no lock: its owner calls it from one goroutine at a time,
// delivers the recalls, and ends sessions that do not answer. Nothing here blocks. A call
// costs time in proportion to the leases and claims on the inodes it is about; in the
// common case that is one lease, and it allocates nothing.
package leases
