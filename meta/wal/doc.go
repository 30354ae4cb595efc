// Package wal is everything between a command and "durable and applied": the
// write-ahead log, group commit, checkpoints and recovery. It knows nothing of
// what a command means: that is the Machine's business.
//
// # Words
//
//   - record: one command in the log, with its index and term.
//   - index: the position of a record; the first is 1, and there are no gaps.
//   - term: raised at every change of leader; 1 in a group of one.
//   - batch: the records that share one write and one sync.
//   - durable: synced, so that no crash can take it away.
//   - segment: one file of the log, master-<first index>.log.
//   - checkpoint: the Machine's state after one index, checkpoint-<index>.
//   - damage: bytes that were durable and are not what was written. Not damage
//     is a torn tail, the remains of a batch whose sync never returned.
//
// # Invariants
//
//   - A proposal is answered after its record is durable and applied (L7).
//   - Records are applied in order of index, each exactly once, on one goroutine.
//   - At most one batch is not yet durable, and it is the last in the log. Each
//     record carries the index that was durable when it was written: so recovery
//     tells a torn tail, which it cuts off, from damage, which it refuses (G8).
//   - After a failed write or sync of the log nothing more is written to it: the
//     group fails for good, and a new start reads what is really there (L9).
//   - A full disk is met before a batch is written (room.go): that one is refused, and
//     the group goes on, and by itself when there is room again.
//   - The two newest checkpoints are kept, and the log from the older of them on;
//     with one checkpoint or none, the whole log. So one checkpoint may be
//     damaged and nothing is lost.
//   - A file appears under its name when it is whole and synced, and the folder
//     is synced before anything builds upon the name.
//   - A refused start changes nothing in the folder.
//
// Nothing acknowledged is lost by a crash at any moment. What a disk loses of the
// last batch after it said that it was synced cannot be told from a torn tail.
//
// A folder with a checkpoint and no log at all starts from the checkpoint, with a
// warning: that is how an operator goes on after losing the log.
//
// # Goroutines and locks
//
// The appender takes batches from the queue, writes and syncs them; the applier
// applies them, answers the proposers, and takes snapshots in between; the
// checkpointer writes these to disk. They hand each other work over channels.
// queue.mu, log.mu and Group.mu are leaves: held for a few instructions, never
// two at a time, never over a call to the disk or the Machine.
//
// Propose blocks while the queue is full and until its batch is applied. A disk
// that hangs blocks Propose until its context ends.
package wal
