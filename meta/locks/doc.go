// Package locks is the master's table of the locks on files: who holds which bytes,
// who waits, and whose turn it is.
//
// # Words
//
//   - space: locks of fcntl(2) (Record) and of flock(2) (Flock) do not see each other.
//   - owner: whom a lock belongs to, a number that its session chose: a process for
//     fcntl, an open file for flock and for open-file-description locks, which
//     look like those of fcntl here.
//   - process: who asked, as session and pid.
//   - waiter: a request that was not met yet; its ticket is the session's name for it.
//   - turn: the news for a session that a waiter has become a holder.
//   - known: there is something held or wanted of a file. Where there is not, a session may
//     keep the file's locks itself, and claims them here before others may have any.
//   - frozen: nothing is given, since not all that is held is known yet.
//
// # Invariants
//
//   - No two owners hold a byte of a file in one space unless both share it.
//   - A waiter who can have his lock has it: turns are dealt by the call that makes
//     them possible.
//   - Waiters are served in the order in which they came: who holds no lock at all does
//     not overtake one who waits for something that conflicts. A process that holds a
//     lock does, as on a local filesystem: whoever it would wait for might be waiting
//     for it. So the order of the queue never closes a circle of waits.
//   - No circle of owners waits in the space Record: the wait that would close it is
//     refused with Deadlock. Nobody else is ever refused so.
//   - What a session holds and waits for is bounded, and so are all together.
//
// A Table has no clock, no goroutine and no lock: its owner calls it from one
// goroutine at a time, and delivers the turns. Nothing here blocks. A call costs time
// in proportion to the owners and waiters of the one file it is about.
package locks
