// Command distrifs-mount mounts a DistriFS cluster, or a folder of it, through
// FUSE: flags, log, signals and the way into the background; package fusefs does
// the rest. Under the names of helpers of mount(8) and umount(8) it plays their part.
//
// # Words
//
//   - source: the first argument, MASTER[:/SUBFOLDER].
//   - helper: the program that mount(8) or umount(8) runs for a type; see helper.go.
//   - ready pipe: by which the process in the background tells the one that
//     started it that the mount answers, or why there is none.
//
// # Invariants
//
// Without -f, the program returns 0 only when the mount answers, and 1 behind one
// line that says why when it will not; a helper then returns an exit code of mount(8).
// What a flag or a mount option asks for is done or refused, never passed over. A mount that ends, for whatever reason but
// a crash, has saved what was written, or says that it could not.
//
// There are no locks. The program blocks until the mount has ended.
package main
