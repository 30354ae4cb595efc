package fusefs

import (
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// dropped knows of which nodes the kernel was told lately to drop pages. The kernel lets go of a page
// while it is being written; when it is dropped then, a READ may ask for it behind a WRITE that
// has not got here yet.
type dropped struct {
	kernel
	now func() time.Time

	mu    sync.Mutex
	last  map[uint64]time.Time
	swept time.Time
}

// lately is longer than a request takes from the kernel to its handler.
const lately = 10 * time.Second

// InodeNotify implements kernel. Pages go at any time until it is done, which may be long.
func (d *dropped) InodeNotify(node uint64, off, length int64) fuse.Status {
	if off >= 0 {
		d.note(node)
		defer d.note(node)
	}
	return d.kernel.InodeNotify(node, off, length)
}

func (d *dropped) note(node uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if d.last == nil {
		d.last = make(map[uint64]time.Time)
	}
	if now.Sub(d.swept) > lately {
		for node, at := range d.last {
			if now.Sub(at) > lately {
				delete(d.last, node)
			}
		}
		d.swept = now
	}
	d.last[node] = now
}

func (d *dropped) pagesOf(node uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ok := d.last[node]
	return ok && d.now().Sub(at) <= lately
}
