// Package oracle runs random programs of filesystem calls on a cluster, through two
// mounts, and on a tmpfs beside it, and compares after every call: what it returned, the
// attributes of what it was about, and at the end of each program both trees, byte by byte.
//
//	go test ./test/oracle                           200,000 calls, the same each time
//	go test ./test/oracle -run Random -for 8h       overnight, others each time
//	go test ./test/oracle -run Random -seed N       the programs of a run that failed
//	go test ./test/oracle -run Random -program F    the lines that it printed, from a file
//
// # Words
//
//   - program: a list of calls, drawn from a seed, which starts in an empty folder.
//   - call: one line of a program: a worker, the mount it works through, the mount its
//     effect is looked at through ("-" for not at all), the operation, its operands.
//   - worker: a thread with an identity of its own: user, groups, umask.
//   - process: a thread with a table of open files of its own, to which the kernel gives locks. Two of each
//     mount lock through what workers have opened.
//   - slot: a place for an open file, 0 to 7, named by calls. A path that begins with @3/ is
//     relative to the folder that is open in slot 3. Calls on empty slots are passed over, so
//     that any part of a program is a program.
//   - side: one of the two worlds that a program runs in: the cluster and the local one.
//   - shrinking: taking calls out of a program, and making operands simpler, as long as it
//     fails in the same way.
//
// # Invariants
//
// The calls of one program run one after the other, whatever their worker and mount, so
// that there is exactly one right answer to each. Several programs run at once, each in
// a process and a folder of its own.
//
// Locks are part of the programs. A call that is to wait for one does so where the local side has it to
// give, so that no program stands still; test/locks has waits.
//
// Where filesystems may differ, the operation says so, and a call is passed over or what it
// answers is made comparable (seekHoles). Of times it is compared whether a call changed
// them; access times are left out.
//
// The tests need root, for the tmpfs and for the identities of workers.
package oracle
