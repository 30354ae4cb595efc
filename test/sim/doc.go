// Package sim runs a whole cluster, the real master, chunkservers and clients, in one
// process, in fake time, over a simulated network and on simulated disks, while clients
// write, read, append, truncate, sync, make, rename and remove, and read what lost its name while it was open, and faults happen to it. What the
// clients saw must be what one filesystem on one machine could have shown them (G3, G4), nothing that was
// acknowledged and synced may be missing (G1, G2), and no application may see an error
// of faults that the cluster is to survive (G7, G8).
//
// # How to run it
//
//	go test ./test/sim                        two thousand seeds, at most a minute, as make test does
//	go test ./test/sim -seeds 5000            more of them
//	go test ./test/sim -for 8h -timeout 0     new seeds for so long
//	go test ./test/sim -seed 4711             one seed; -log shows what the parts log
//	go test ./test/sim -cores 1               in one process, where -cpuprofile shows something
//	go test ./test/sim -faults all            all faults, also those that make test leaves out;
//	                                          or any of break, slow, part, kill, power, flip, sick, blackout
//
// A failing seed prints what was violated and the timeline of calls and faults. The same
// seed gives the same workload, the same faults at the same moments and the same delays; what
// happens at one and the same moment of fake time runs in the order that Go's scheduler
// and select choose, so a rare interleaving may need a few runs of its seed (-count).
//
// # Words
//
//   - host: what the network knows by an address; machine: a host with a disk and a process.
//   - process: a master, a chunkserver or a client. It is killed by cutting it off from its disk
//     and from the network, and closing what then does no harm any more.
//   - power loss: the process is killed, and of its disk is left what was synced and a
//     random part of the rest.
//   - worker: an application, which makes one call after the other at one client.
//   - history: who called what, and what was answered, in the order of fake time.
//
// # Rules
//
// Nothing in a run knows the real clock. Nothing may wait with a sync.Mutex held by
// somebody who waits for fake time to pass, for that would stop it: disks have no delays, and
// locks of the product are not held over the network.
package sim
