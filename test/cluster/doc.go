// Package cluster starts whole clusters for tests: real processes, real TCP on
// loopback, real FUSE mounts.
//
// A test calls Start and gets a cluster that is up; every process, mount and
// folder is gone when the test ends. Processes can be killed, stopped, paused
// and started again one by one, on the addresses and folders they had. When a
// test fails, the end of each process's log is printed with it.
//
// The programs under test are built once into bin/test (bin/test-race for a
// test that is itself built with -race, so that the race detector watches the
// servers as well: a report in a log fails the test).
//
// Nothing waits for a fixed time: waits look at a condition and give up at a
// deadline. Before the test binary's own deadline a watchdog kills the
// processes, so that a hanging mount shows its logs instead of a time-out.
package cluster
