package cluster

import (
	"context"
	"net"
	"testing"
	"time"
)

// Who is cut off hears nothing, not even a refusal; the other direction goes on.
func TestCutIsOneWay(t *testing.T) {
	n, err := NewNetwork(t)
	if err != nil {
		t.Skip(err)
	}
	a, b := n.Host(t, "a"), n.Host(t, "b")
	if n.Host(t, "a") != a {
		t.Fatal("a second host of the same name")
	}
	receive := func(h *Host) *net.UDPConn {
		var conn *net.UDPConn
		if err := h.do(func() error {
			conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(h.Address), Port: 1000})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	atA, atB := receive(a), receive(b)
	arrives := func(from, to *net.UDPConn, within time.Duration) bool {
		t.Helper()
		if _, err := from.WriteTo([]byte("x"), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if err := to.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		_, _, err := to.ReadFrom(make([]byte, 1))
		return err == nil
	}
	if !arrives(atA, atB, StopLimit) || !arrives(atB, atA, StopLimit) {
		t.Fatal("hosts do not reach each other")
	}
	n.Cut(t, a, b)
	if arrives(atA, atB, 200*time.Millisecond) {
		t.Error("what was cut off arrives")
	}
	if !arrives(atB, atA, StopLimit) {
		t.Error("the other direction is cut, too")
	}
	n.Mend(t, a, b)
	if !arrives(atA, atB, StopLimit) {
		t.Error("what was mended does not arrive")
	}
	ctx, cancel := context.WithTimeout(context.Background(), StopLimit)
	defer cancel()
	if conn, err := a.dial(ctx, b.Address+":1"); err == nil {
		conn.Close()
		t.Error("a connection to a port that nobody listens on")
	}
}
