// Package disk is the small filesystem that servers reach their disks through,
// so that a test can pull the plug on one and make any single call of it fail.
//
// # Words
//
//   - FS: directories and names. File: the bytes of one open file.
//   - OS: the machine's filesystem.
//   - Mem: a filesystem in memory, with crashes and faults.
//   - durable: what a crash cannot take away. The bytes and the size of a file
//     are durable after File.Sync; a name (made, removed or renamed) is durable
//     after FS.SyncDir of its directory. Neither implies the other.
//   - sector: 512 bytes, what a disk writes whole or not at all.
//
// # Invariants
//
// A CrashClone of a Mem holds everything durable. Of the rest it holds a random
// part, sector by sector and name by name: code that passes with thousands of
// seeds relies on nothing that it has not synced. After a failed Sync what was
// unsynced stays at the mercy of chance even when a later Sync returns nil, as
// on Linux (L9).
//
// Errors are those of package os (*fs.PathError and the like around an errno),
// except that a held lock is a *proto.Error of kind InUse.
//
// # Locks
//
// Mem has one mutex over everything; hooks run outside it, so that they may take
// a CrashClone. OS has none. Any call may block for as long as the disk does.
package disk
