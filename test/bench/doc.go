// Package bench measures a whole cluster through a mount and prints one table:
// sequential and random I/O by fio, and a storm of namespace calls by 1 and by 8
// processes. `make bench` runs it; plain `go test` does not.
//
// Master, three chunkservers (three copies of everything) and the mount run as
// processes of their own on loopback, with default settings and their stores on
// /dev/shm: what is measured is the software, not a disk. Reads are cold: the
// mount was made anew and the kernel's caches were dropped.
//
// BenchmarkStalls measures the longest call of a writer while servers are killed and stopped;
// BenchmarkRedundancy, BenchmarkReadWhileRepairing and BenchmarkScrub how fast what is
// lost is replaced, and what that costs readers. Flags of theirs: -stall.files, -recovery.gib,
// -recovery.replicas, -recovery.disk, -recovery.rate.
//
// The table names, for orientation, what other filesystems reached on two cores in
// the same arrangement (MooseFS 3, and the best of MooseFS 3 and 4, GlusterFS,
// SeaweedFS and JuiceFS, the last with one copy). Machines differ: compare
// ratios, and only of runs on one machine.
package bench
