package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Network is a network of hosts, which can be parted from each other in one direction or
// in both. Each host is a network namespace whose only cable leads to a router, another
// namespace; a cut is a rule of the router's that drops what one host sends to another,
// and says nothing of it to anybody.
//
// No namespace has a name, and nothing is changed outside of them: the kernel takes them away
// with the last process in them, however the test ends.
//
// A nil Network has no hosts: everything runs beside the test.
type Network struct {
	router *Host

	mu    sync.Mutex
	hosts []*Host
}

// Host is a machine of a Network. The nil Host is where the test itself is.
type Host struct {
	Name    string
	Address string // IPv4

	namespace *os.File
}

// NewNetwork makes a network without hosts. An error says what it lacks: it needs root,
// and the command ip.
func NewNetwork(t testing.TB) (*Network, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("hosts of their own need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, fmt.Errorf("hosts of their own need the package iproute2: %w", err)
	}
	router, err := newHost(t, "router")
	if err != nil {
		return nil, err
	}
	return &Network{router: router}, router.do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	})
}

// newHost makes a host without a cable.
func newHost(t testing.TB, name string) (*Host, error) {
	h := &Host{Name: name}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // for good, as in do
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			h.namespace, err = os.Open("/proc/thread-self/ns/net")
		}
		made <- err
	}()
	if err := <-made; err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	t.Cleanup(func() { h.namespace.Close() })
	return h, h.do(func() error { return ip("link", "set", "lo", "up") })
}

// Host gives the host of a name, and makes it at the first need.
func (n *Network) Host(t testing.TB, name string) *Host {
	t.Helper()
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.IndexFunc(n.hosts, func(h *Host) bool { return h.Name == name }); i >= 0 {
		return n.hosts[i]
	}
	h, err := newHost(t, name)
	if err == nil {
		err = n.connect(h)
	}
	if err != nil {
		t.Fatalf("host %s: %v", name, err)
	}
	n.hosts = append(n.hosts, h)
	return h
}

// connect lays the cable between a new host and the router.
func (n *Network) connect(h *Host) error {
	number := len(n.hosts) + 1
	subnet := fmt.Sprintf("10.77.%d.", number)
	cable := "cable" + strconv.Itoa(number)
	h.Address = subnet + "2"
	err := n.router.do(func() error {
		// Reverse paths are not looked at: a cut in one direction must not cut the other.
		return errors.Join(
			ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.namespace.Fd())),
			ip("addr", "add", subnet+"1/24", "dev", cable),
			ip("link", "set", cable, "up"),
			os.WriteFile("/proc/sys/net/ipv4/conf/"+cable+"/rp_filter", []byte("0"), 0),
			os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("0"), 0))
	})
	if err != nil {
		return err
	}
	return h.do(func() error {
		return errors.Join(
			ip("addr", "add", h.Address+"/24", "dev", "eth0"),
			ip("link", "set", "eth0", "up"),
			ip("route", "add", "default", "via", subnet+"1"))
	})
}

// Cut drops what one host sends to another from now on. Nothing of it is said to either.
func (n *Network) Cut(t testing.TB, from, to *Host) {
	t.Helper()
	n.rule(t, "add", from, to)
}

// Mend undoes a Cut.
func (n *Network) Mend(t testing.TB, from, to *Host) {
	t.Helper()
	n.rule(t, "del", from, to)
}

func (n *Network) rule(t testing.TB, verb string, from, to *Host) {
	t.Helper()
	if err := n.router.do(func() error {
		return ip("rule", verb, "from", from.Address, "to", to.Address, "priority", "10", "blackhole")
	}); err != nil {
		t.Fatalf("%s -> %s: %v", from.Name, to.Name, err)
	}
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %v: %w: %s", args, err, out)
	}
	return nil
}

// enter moves the calling thread, which is locked to its goroutine, to the host.
func (h *Host) enter() error {
	if h == nil {
		return nil
	}
	return unix.Setns(int(h.namespace.Fd()), unix.CLONE_NEWNET)
}

// do runs a function on a thread that is on the host; so are processes and sockets that it makes.
func (h *Host) do(f func() error) error {
	if h == nil {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := h.enter()
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// dial connects from the host.
func (h *Host) dial(ctx context.Context, address string) (conn net.Conn, err error) {
	err = h.do(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", address)
		return err
	})
	return conn, err
}
