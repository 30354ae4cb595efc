package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
)

var root = client.Cred{Groups: []uint32{}}

// dataFiles are written to at places, appended to is only the last.
var dataFiles = []string{"f0", "f1", "log"}

const logFile = "log"

// workload is what all workers do.
type workload struct {
	cluster *cluster
	dirs    [dirCount]proto.InodeID
	inodes  map[string]proto.InodeID
	numbers map[string]*atomic.Int32 // of writes so far
	pause   time.Duration            // between two calls of a worker, on average
}

// newWorkload makes the files that all share.
func newWorkload(c *cluster, m *mount) (*workload, error) {
	ctx := context.Background()
	w := &workload{cluster: c, inodes: map[string]proto.InodeID{}, numbers: map[string]*atomic.Int32{}, pause: 50 * time.Millisecond}
	for i := range w.dirs {
		attr, err := m.client.Mkdir(ctx, root, proto.RootInode, fmt.Sprint("d", i), 0o777)
		if err != nil {
			return nil, err
		}
		w.dirs[i] = attr.Inode
	}
	for _, name := range dataFiles {
		f, err := m.client.CreateInode(ctx, root, proto.RootInode, name, 0o666, unix.O_RDWR|unix.O_EXCL)
		if err != nil {
			return nil, err
		}
		w.inodes[name], w.numbers[name] = f.Inode(), new(atomic.Int32)
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// open opens the files at a client.
func (w *workload) open(m *mount) error {
	for _, name := range dataFiles {
		flags := uint32(unix.O_RDWR)
		if name == logFile {
			flags |= unix.O_APPEND
		}
		f, err := m.client.OpenInode(context.Background(), root, w.inodes[name], flags)
		if err != nil {
			return err
		}
		m.files[name] = f
	}
	return nil
}

// worker is an application at a client.
type worker struct {
	*workload
	id     int
	mount  *mount
	random *rand.Rand
	seen   []proto.InodeID // of files that had a name once

	handles []*handle
}

func (w *workload) worker(id int, m *mount) *worker {
	return &worker{workload: w, id: id, mount: m, random: rand.New(rand.NewPCG(w.cluster.seed, uint64(100+id)))}
}

// work makes so many calls.
func (w *worker) work(calls int) {
	for range calls {
		time.Sleep(time.Duration(w.random.Int64N(int64(2 * w.pause))))
		switch dice := w.random.IntN(12); {
		case dice < 4:
			w.fileCall(dataFiles[w.random.IntN(len(dataFiles)-1)])
		case dice < 6:
			w.fileCall(logFile)
		case dice < 8:
			w.handleCall()
		default:
			w.nameCall()
		}
	}
	w.endHandles()
}

// together runs workers until all have ended.
func together(workers []*worker, calls int) {
	var all sync.WaitGroup
	for _, w := range workers {
		all.Go(func() { w.work(calls) })
	}
	all.Wait()
}

// lookAtAll reads everything.
func (w *worker) lookAtAll() {
	for _, name := range dataFiles {
		w.makeFileCall(name, fileCall{what: "size"})
		w.makeFileCall(name, fileCall{what: "read", n: 3 * chunkSize})
	}
	w.lookAtNames()
}

func (w *worker) lookAtNames() {
	for dir := range dirCount {
		w.makeNameCall(nameCall{what: "list", from: slot(dir * nameCount)})
	}
	for s := range slot(slotCount) {
		w.makeNameCall(nameCall{what: "stat", from: s})
	}
}

// place is where something happens that could go wrong: borders of blocks and chunks.
func (w *worker) place() int64 {
	places := []int64{0, 4096, 3 * 4096, 64 << 10, chunkSize - 4096, chunkSize}
	at := places[w.random.IntN(len(places))]
	if w.random.IntN(3) > 0 {
		at += int64(w.random.IntN(1200)) - 600
	}
	return max(0, at)
}

func (w *worker) length() int64 {
	switch w.random.IntN(12) {
	case 0:
		return 4096
	case 1:
		return int64(1 + w.random.IntN(100_000))
	case 2, 3:
		return int64(1 + w.random.IntN(10_000))
	}
	return int64(1 + w.random.IntN(900))
}

// draw picks a call on a file.
func (w *worker) draw(name string) (c fileCall) {
	write := "write"
	if name == logFile {
		write = "append"
	}
	switch dice := w.random.IntN(20); {
	case dice == 7 && name != logFile:
		c = fileCall{what: "truncate", n: w.place()}
	case dice < 8:
		c = fileCall{what: write, off: w.place(), n: w.length(), number: uint8(min(maxWrites, w.numbers[name].Add(1)))}
	case dice < 15:
		c = fileCall{what: "read", off: w.place(), n: w.length()}
		if w.random.IntN(6) == 0 {
			c.off, c.n = 0, 3*chunkSize
		}
	case dice < 17:
		c = fileCall{what: "size"}
	default:
		c = fileCall{what: "sync"}
	}
	switch {
	case c.what == write && c.number == maxWrites: // there are no more numbers
		c = fileCall{what: "size"}
	case c.what == "append":
		c.off = appended
	}
	return c
}

// fileCall makes a call on a file.
func (w *worker) fileCall(name string) {
	w.makeFileCall(name, w.draw(name))
}

func (w *worker) makeFileCall(name string, c fileCall) {
	noted := w.cluster.history.begin(w.id, name, c)
	output, err := w.mount.file(name, c)
	w.cluster.history.end(noted, output, err)
}

// buffers are those of reads.
var buffers = sync.Pool{New: func() any { return new([3 * chunkSize]byte) }}

// file carries a call out.
func (m *mount) file(name string, c fileCall) (output any, err error) {
	ctx, f := context.Background(), m.files[name]
	switch c.what {
	case "write", "append":
		return nil, m.write(ctx, f, c)
	case "truncate":
		return nil, f.Truncate(ctx, c.n)
	case "size":
		attr, err := m.client.GetAttr(ctx, f.Inode())
		return int64(attr.Size), err
	case "sync":
		return nil, f.Sync(ctx)
	}
	buffer := buffers.Get().(*[3 * chunkSize]byte)
	defer buffers.Put(buffer)
	p := buffer[:c.n]
	n, err := f.ReadAtContext(ctx, p, c.off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if name == logFile {
		return decode(p[:n], appended), err
	}
	return decode(p[:n], c.off), err
}

func (m *mount) write(ctx context.Context, f *client.File, c fileCall) error {
	n, err := f.WriteAtContext(ctx, pattern(c.number, c.off, int(c.n)), max(0, c.off))
	if err == nil && int64(n) < c.n {
		err = fmt.Errorf("%d bytes of %d were written", n, c.n)
	}
	return err
}
