// Package acl is POSIX access control lists as values: what is a valid one, how it
// and the mode bits of a file say the same, what it permits, and what a new file
// inherits. It follows acl(5), that is, POSIX.1e draft 17, and knows neither inodes
// nor logs; package state keeps the lists and asks here what they mean.
//
// # Words
//
//   - entry: a tag, three permission bits, and for a named entry the id it names.
//   - named: an entry for one user or one group besides the owner and the owning group.
//   - group class: the owning group and all named entries. Its rights are limited by
//     the mask, and where there is a mask, it is what the group bits of the mode show.
//   - minimal: a list of three entries, which says what a mode says. It is never kept.
//   - access ACL, default ACL: who may use a file, and what a file that is made in a
//     directory gets for an access ACL (a directory for both).
//
// # Invariants
//
// A List that Parse, FromMode or a method gave is valid and in its one canonical
// form: the owner, named users by id, the owning group, named groups by id, the mask
// if there are named entries (or just so), the others. Equal lists are equal bytes.
//
// Everything is a function of its arguments; nothing blocks, nothing is kept.
package acl
