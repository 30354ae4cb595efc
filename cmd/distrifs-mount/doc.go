// Command distrifs-mount mounts a DistriFS cluster, or a folder of it, through
// FUSE: flags, log, signals and the way into the background; package fusefs does
// the rest.
//
// # Words
//
//   - source: the first argument, MASTER[:/SUBFOLDER].
//   - ready pipe: by which the process in the background tells the one that
//     started it that the mount answers, or why there is none.
//
// # Invariants
//
// Without -f, the program returns 0 only when the mount answers, and 1 behind one
// line that says why when it will not. A mount that ends, for whatever reason but
// a crash, has saved what was written, or says that it could not.
//
// There are no locks. The program blocks until the mount has ended.
package main
