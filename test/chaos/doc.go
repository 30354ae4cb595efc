// Package chaos has all goes wrong that can, one fault after the other, with a cluster of
// real processes on which programs work through real mounts: servers are killed and
// stopped, disks are filled, chunk files are damaged, hosts are parted in one direction or in
// both. None of the programs may see an error or a wrong byte, and nothing that was
// acknowledged may be lost.
//
//	make chaos T=10m SEED=1
//
// prints a timeline: when what happens to whom, how long it takes until all replicas are there
// again, the longest system call of a program meanwhile, and how many bytes were verified so far.
//
// # Words
//
//   - fault: one thing that goes wrong, from its beginning until it is undone. Of each kind
//     (kinds_test.go) there is one before there is a second of any.
//   - plan: the faults of a seed, in order (plan_test.go). How fast it is gone through depends
//     on the machine: nothing is missing any more when the next fault begins.
//   - stage: the cluster and its workers (stage_test.go).
//   - worker: a program that knows what each byte of its files has to be (worker_test.go).
//
// # Invariants
//
// With three replicas, at most one chunkserver is faulty at a time, unless nothing is lost by
// the fault: a killed process leaves what it acknowledged in the page cache of its machine.
//
// Each host is a network namespace (test/cluster); without root nobody is parted and no disk is filled,
// and the timeline says so.
package chaos
