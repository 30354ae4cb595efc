package client

import (
	"context"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
)

// However long a master was away, it is called so often that nobody waits for long once
// it is back.
func TestAMasterIsCalledAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []time.Time
		refuse := func(context.Context, string) (net.Conn, error) {
			calls = append(calls, time.Now())
			return nil, syscall.ECONNREFUSED
		}
		_, err := Dial(t.Context(), "master:1", Options{
			DialTimeout: time.Minute, DialOptions: []grpc.DialOption{grpc.WithContextDialer(refuse)},
		})
		if err == nil {
			t.Fatal("there is no master")
		}
		if len(calls) < 100 {
			t.Fatalf("called %d times in a minute", len(calls))
		}
		for i, at := range calls[1:] {
			if pause := at.Sub(calls[i]); pause > 500*time.Millisecond {
				t.Fatalf("%v between calls %d and %d", pause, i, i+1)
			}
		}
	})
}
