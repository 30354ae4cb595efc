package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
)

// Files that are open stay, whatever becomes of their names: workers open what the names
// stand for, and read it again and again while others, and they themselves, remove and
// replace the names. In a file there is its inode's number, or nothing yet.

const (
	handlesObject = "handles"
	maxHandles    = 3                // of a worker
	reapTime      = 10 * time.Second // in which what is not open has gone
)

// handle is a file that a worker has open.
type handle struct {
	file   *client.File
	filled bool // its number was read
}

// handleCall opens a file, reads one that is open, or closes it.
func (w *worker) handleCall() {
	if n := len(w.handles); n == 0 || n < maxHandles && w.random.IntN(3) == 0 {
		w.openName(slot(w.random.IntN(slotCount)))
		return
	}
	i := w.random.IntN(len(w.handles))
	h := w.handles[i]
	w.note(fmt.Sprintf("read inode %v", h.file.Inode()), h.read)
	if w.random.IntN(3) == 0 {
		w.handles = append(w.handles[:i], w.handles[i+1:]...)
		w.note(fmt.Sprintf("close inode %v", h.file.Inode()), h.file.Close)
	}
}

// endHandles reads and closes all when what was thought not to be open would have gone.
func (w *worker) endHandles() {
	time.Sleep(reapTime)
	for _, h := range w.handles {
		w.note(fmt.Sprintf("read inode %v", h.file.Inode()), h.read)
		w.note(fmt.Sprintf("close inode %v", h.file.Inode()), h.file.Close)
	}
}

// note puts a call into the history.
func (w *worker) note(what string, fn func() error) {
	noted := w.cluster.history.begin(w.id, handlesObject, what)
	err := fn()
	w.cluster.history.end(noted, nil, err)
}

// openName opens what a name stands for, which may go before it is open.
func (w *worker) openName(s slot) {
	w.note(fmt.Sprintf("open %v", s), func() error {
		ctx := context.Background()
		attr, err := w.mount.client.Lookup(ctx, root, w.dirs[s.dir()], s.name())
		if err == nil {
			var f *client.File
			if f, err = w.mount.client.OpenInode(ctx, root, attr.Inode, unix.O_RDONLY); err == nil {
				w.handles = append(w.handles, &handle{file: f})
			}
		}
		if kind := proto.KindOf(err); kind == proto.NotFound || kind == proto.Stale {
			return nil
		}
		return err
	})
}

// read wants the number of the inode, and may find nothing as long as it was never there.
func (h *handle) read() error {
	p := make([]byte, 100)
	n, err := h.file.ReadAtContext(context.Background(), p, 0)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case n == 0 && !h.filled:
		return nil
	case string(p[:n]) != h.file.Inode().String():
		return fmt.Errorf("it has %q", p[:n])
	}
	h.filled = true
	return nil
}
