// Package cluster runs whole clusters for tests: master, chunkservers and mounts
// as real processes on loopback, to be stopped, killed, paused and started again.
//
//	func TestMain(m *testing.M) { cluster.Main(m) }
//
//	func TestSurvivesAKill(t *testing.T) {
//		c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20})
//		m := c.Mount()
//		c.Shell(m.Path, "echo hello >file")
//		c.Chunkservers[0].Kill()
//		c.Shell(m.Path, `test "$(cat file)" = hello`)
//	}
//
// # Words
//
//   - process: a server or a mount; it keeps address, folder and log from run to run.
//   - job: a process that works on a mount: a command, a shell line, or a function
//     of the test binary itself (Register, Cluster.Job).
//
// # Invariants
//
// The test's own process never touches a mount: a syscall on a mount that hangs
// cannot be given up. Jobs do, and are killed when their time is over.
//
// Nothing waits for a fixed time. Everything waits for a condition, with a limit
// that only a fault reaches.
//
// The programs under test are those that test/run has built for all packages, with the
// race detector unless a package wants none (WithoutRaceDetector). Without test/run a test
// binary builds its own, with the race detector if it has that itself.
// A data race or a panic in any log fails the test. Every process is ended at the end of
// its test, by its own pid; if the test binary itself is killed they die with it.
//
// # Concurrency
//
// Cluster's own methods are for the test's goroutine. Methods of Process and Job may
// be called from any.
package cluster
