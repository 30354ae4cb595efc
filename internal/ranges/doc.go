// Package ranges keeps values for ranges of bytes: what locks are made of, at the
// master and at the client that remembers its own.
//
// # Words
//
//   - range: the bytes from Start to End, both included, so that the last byte of
//     the largest file needs no number above it.
//   - map: disjoint ranges with a value each.
//
// # Invariants
//
// The entries of a Map are in order, disjoint, and as few as possible: of two that
// touch, the values differ. A Map is never changed: With and Without make another
// one, and cost what copying it costs.
//
// Nothing here blocks, and nothing here holds a lock.
package ranges
