package cluster

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// Limits that only a fault reaches, generous for slow machines and race builds.
const (
	StartLimit = 2 * time.Minute
	StopLimit  = 1 * time.Minute
	JobLimit   = 3 * time.Minute
)

// Until repeats the probe until it returns nil. It fails the test, with the
// probe's last error, when that has not happened within the limit.
func Until(t testing.TB, limit time.Duration, what string, probe func() error) {
	t.Helper()
	if err := poll(limit, probe); err != nil {
		t.Fatalf("waited %v until %s: %v", limit, what, err)
	}
}

func poll(limit time.Duration, probe func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := probe()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// ports counts those that this process has been given.
var ports atomic.Uint32

// FreePort finds a port on loopback that nobody has. It lies below the range that
// the kernel takes ports for outgoing connections from, so that it stays free
// while its server is down. Each of the processes that run tests side by side has a hundred of its own:
// else two could find the same one before its server is up.
func FreePort(t testing.TB) int {
	t.Helper()
	const first, processes, each = 10000, 200, 100
	own := first + os.Getpid()%processes*each
	for range each {
		port := own + int(ports.Add(1)%each)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatalf("no free port on loopback from %d to %d", own, own+each-1)
	return 0
}
