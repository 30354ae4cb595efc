package clienttest

import (
	"context"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc/test/bufconn"
)

const connBuffer = 1 << 20 // bytes on their way in each direction

var errRefused = errors.New("connection refused")

// network connects addresses that are only names.
type network struct {
	mu        sync.Mutex
	listeners map[string]*bufconn.Listener
	conns     map[string]map[net.Conn]struct{}
}

func newNetwork() *network {
	return &network{listeners: map[string]*bufconn.Listener{}, conns: map[string]map[net.Conn]struct{}{}}
}

func (n *network) listen(address string) net.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := bufconn.Listen(connBuffer)
	n.listeners[address] = l
	n.conns[address] = map[net.Conn]struct{}{}
	return l
}

func (n *network) dial(ctx context.Context, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[address]
	n.mu.Unlock()
	if l == nil {
		return nil, errRefused
	}
	conn, err := l.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != l {
		return nil, errors.Join(errRefused, conn.Close())
	}
	n.conns[address][conn] = struct{}{}
	return conn, nil
}

// cut breaks all connections to an address and refuses new ones.
func (n *network) cut(address string) {
	n.mu.Lock()
	conns := n.conns[address]
	l := n.listeners[address]
	delete(n.listeners, address)
	n.conns[address] = map[net.Conn]struct{}{}
	n.mu.Unlock()
	if l != nil {
		_ = l.Close()
	}
	for conn := range conns {
		_ = conn.Close()
	}
}
