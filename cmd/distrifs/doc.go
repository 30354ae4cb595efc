// Command distrifs is the user's tool: a whole cluster on one machine (up, down),
// a look at it (status, df), and files without a mount (cp, ls, cat, rm, mkdir, mv, stat).
//
// # Words
//
//   - supervisor: the `distrifs up` process that started the servers and the
//     mount, restarts those that die, and takes them down.
//
//   - cluster folder: --dir of up and down. It holds
//
//     cluster.json        who runs where, and the settings of the cluster
//     lock                held by the supervisor while it lives
//     log/<role>-<n>.log  what each process printed (and .log.1, the part before)
//     master/             of distrifs-master
//     chunkserver-<n>/    of distrifs-chunkd
//
//   - remote path: HOST:PORT:/path, or :/path at the master of --master.
//
// # Invariants
//
// A process is signalled only when its pid and its start time are those in
// cluster.json: never one that merely got the pid of ours.
//
// cluster.json is replaced atomically, lists exactly the processes believed to
// run, and is written by the holder of the lock alone. Processes of a supervisor
// that was killed are found through it and taken down by the next up or down.
//
// The mount is the first to go and the last to come, so that it can flush.
//
// # Concurrency
//
// The supervisor is one goroutine (supervisor.keepUp) that owns all its state;
// others only wait for something and send it one message. The mount is looked at
// from goroutines that may be left behind, since a stat of a mount may block.
package main
