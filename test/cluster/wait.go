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

// FreePort finds a port on loopback that nobody has.
func FreePort(t testing.TB) int {
	t.Helper()
	return FreePorts(t, 1)
}

// FreePorts finds n ports in a row on loopback that nobody has, and gives the first. They lie below
// the range that the kernel takes ports for outgoing connections from, so that they stay free
// while their servers are down. Each of the processes that run tests side by side has a hundred
// of its own, and is given none twice until it has had all: else two could find the same one
// before its server is up.
func FreePorts(t testing.TB, n int) (first int) {
	t.Helper()
	const lowest, processes, each = 10000, 200, 100
	own := lowest + os.Getpid()%processes*each
	for range each {
		last := int(ports.Add(uint32(n)) % each)
		first = own + last - n + 1
		if first >= own && allFree(first, n) {
			return first
		}
	}
	t.Fatalf("no %d free ports in a row on loopback from %d to %d", n, own, own+each-1)
	return 0
}

func allFree(first, n int) bool {
	for port := first; port < first+n; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}
