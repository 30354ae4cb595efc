package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
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

// FreePort finds a port on loopback that nobody has. It lies below the range that
// the kernel takes ports for outgoing connections from, so that it stays free
// while its server is down.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 10000 + rand.IntN(20000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port on loopback between 10000 and 30000")
	return 0
}
