package fusefs

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// kernel is what notifications need of the FUSE server.
type kernel interface {
	InodeNotify(node uint64, off, length int64) fuse.Status
	ExpireEntry(dir uint64, name string)
}

// notifier drops what the kernel cached of inodes, from a goroutine of its own:
// within a handler that could wait for a page which waits for the handler.
// Nodes that wait are remembered once each.
type notifier struct {
	kernel kernel

	mu      sync.Mutex
	waiting map[uint64]struct{}
	wake    chan struct{} // capacity 1
	stop    chan struct{}
	once    sync.Once
}

func newNotifier(k kernel) *notifier {
	n := &notifier{kernel: k, waiting: make(map[uint64]struct{}), wake: make(chan struct{}, 1), stop: make(chan struct{})}
	go n.run()
	return n
}

// drop has attributes and pages of a node forgotten soon. It does not block.
func (n *notifier) drop(node uint64) {
	n.mu.Lock()
	n.waiting[node] = struct{}{}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *notifier) run() {
	for {
		select {
		case <-n.stop:
			return
		case <-n.wake:
		}
		n.mu.Lock()
		nodes := n.waiting
		n.waiting = make(map[uint64]struct{})
		n.mu.Unlock()
		for node := range nodes {
			// ENOENT says that nothing was cached; any other error comes with the unmount.
			n.kernel.InodeNotify(node, 0, 0)
		}
	}
}

// close ends the goroutine; nodes that wait are let go, for the mount is gone.
func (n *notifier) close() { n.once.Do(func() { close(n.stop) }) }
