package client

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// File is an open file. It is safe for concurrent use; all files of one inode
// of one Client share size and unwritten data.
type File struct {
	ino   *inode
	cred  Cred   // of who opened it
	flags uint32 // of open(2)
	keep  bool
	ahead *readAhead // nil: none

	seen   uint64 // failures of the inode that were reported here; ino.mu
	closed atomic.Bool

	posMu sync.Mutex
	pos   int64 // of Read, Write and Seek
}

// OpenInode opens a file by inode. Flags are those of open(2): access mode,
// O_TRUNC, O_APPEND, O_SYNC, O_DSYNC; others are ignored.
func (c *Client) OpenInode(ctx context.Context, cred Cred, ino proto.InodeID, flags uint32) (*File, error) {
	i := c.acquire(ino)
	f, err := c.openHeld(ctx, cred, i, flags)
	if err != nil {
		c.giveBack(i)
	}
	return f, err
}

func (c *Client) openHeld(ctx context.Context, cred Cred, i *inode, flags uint32) (*File, error) {
	if f := c.openHere(cred, i, flags); f != nil {
		return f, nil
	}
	truncate := flags&unix.O_TRUNC != 0
	if truncate {
		if err := i.writing.acquire(ctx, "open"); err != nil {
			return nil, err
		}
		defer i.writing.release()
		if err := i.committing.acquire(ctx, "open"); err != nil {
			return nil, err
		}
		defer i.committing.release()
	}
	var own *ownChange
	if truncate {
		own = c.leases.changing(i.id)
	}
	began := c.leases.begin()
	asked := c.locations.asking()
	reply, err := c.sendOpen(ctx, cred, i.id, flags)
	if own != nil {
		own.ended(reply.GetGrants(), err)
	}
	if err != nil {
		return nil, err
	}
	attr := attrOf(reply.Attr)
	if own != nil {
		own.attr(reply.Grants, &attr)
	} else {
		c.leases.admit(began, reply.Grants)
		c.leases.noteAttr(began, reply.Grants, &attr)
	}
	same := c.locations.saw(i.id, attr.Change, asked)
	f := i.attach(cred, flags, attr, same && !truncate)
	if truncate {
		i.emptied()
	}
	for _, chunk := range reply.Chunks {
		c.locations.putAsked(asked, i.id, chunk.Index, locationOf(chunk))
	}
	return f, nil
}

// sendOpen asks the master to count an open. With O_TRUNC it changes the file.
func (c *Client) sendOpen(ctx context.Context, cred Cred, ino proto.InodeID, flags uint32) (*pb.OpenReply, error) {
	ticket := c.sessions.ticket()
	reply, on, err := change(ctx, c, cred, "open", inodeName(ino), func(ctx context.Context, who *pb.Caller) (*pb.OpenReply, error) {
		return c.master.Open(ctx, &pb.OpenRequest{Caller: who, Inode: uint64(ino), Flags: flags, Locations: openLocations})
	})
	if err != nil {
		c.openFailed(err)
		return nil, err
	}
	c.sessions.opened(on, ino, ticket)
	return reply, nil
}

// openFailed sets the master's counts right if it may have counted an open
// whose answer was lost.
func (c *Client) openFailed(err error) {
	if transient(proto.KindOf(err)) {
		c.sessions.again()
	}
}

// CreateInode makes a regular file and opens it, or opens the file of that name
// unless flags have O_EXCL. Mode holds permission bits.
func (c *Client) CreateInode(ctx context.Context, cred Cred, parent proto.InodeID, name string, mode, flags uint32) (*File, error) {
	if f := c.createHere(ctx, cred, parent, name, mode, flags); f != nil {
		return f, nil
	}
	ticket := c.sessions.ticket()
	own := c.leases.changing(append(c.leases.known(parent, name), parent)...)
	reply, on, err := c.sendCreate(ctx, cred, parent, name, mode, flags)
	own.ended(reply.GetGrants(), err)
	if err != nil {
		c.openFailed(err)
		return nil, err
	}
	attr := attrOf(reply.Attr)
	own.attr(reply.Grants, &attr)
	own.name(reply.Grants, parent, name, attr.Inode, reply.ParentChange)
	i := c.acquire(attr.Inode)
	c.sessions.opened(on, attr.Inode, ticket)
	same := false
	if reply.Created {
		c.locations.begin(attr.Inode, attr.Change)
	} else {
		same = c.locations.saw(attr.Inode, attr.Change, c.locations.asking())
	}
	truncate := !reply.Created && flags&unix.O_TRUNC != 0
	f := i.attach(cred, flags, attr, same && !truncate)
	if reply.Created {
		i.begins()
		c.wantDir(ctx, parent)
	}
	if reply.Created && reply.Chunk.GetChunk() != 0 {
		c.locations.put(i.id, 0, locationOf(reply.Chunk))
	}
	if truncate {
		if err := i.empty(ctx, cred); err != nil {
			return nil, errorAfterClose(f, err)
		}
	}
	return f, nil
}

// CreateUnnamed makes a regular file without a name in a directory and opens it, as
// O_TMPFILE does. It goes when it is closed, unless Link has given it a name by then.
func (c *Client) CreateUnnamed(ctx context.Context, cred Cred, parent proto.InodeID, mode, flags uint32) (*File, error) {
	ticket := c.sessions.ticket()
	began := c.leases.begin()
	reply, on, err := change(ctx, c, cred, "create", "a file without a name in "+inodeName(parent), func(ctx context.Context, who *pb.Caller) (*pb.CreateReply, error) {
		return c.master.CreateUnnamed(ctx, &pb.CreateUnnamedRequest{Caller: who, Parent: uint64(parent), Mode: mode, Flags: flags})
	})
	if err != nil {
		c.openFailed(err)
		return nil, err
	}
	c.leases.admit(began, reply.Grants)
	attr := attrOf(reply.Attr)
	c.leases.noteAttr(began, reply.Grants, &attr)
	i := c.acquire(attr.Inode)
	c.sessions.opened(on, attr.Inode, ticket)
	c.locations.begin(attr.Inode, attr.Change)
	f := i.attach(cred, flags, attr, false)
	if reply.Chunk.GetChunk() != 0 {
		c.locations.put(i.id, 0, locationOf(reply.Chunk))
	}
	return f, nil
}

// sendCreate makes or finds the file. A new one gets its first chunk with it,
// so that writing a small file costs no more calls than create and commit. One that was
// there is not truncated with it, since that takes the tokens of the inode that it turns out to be.
func (c *Client) sendCreate(ctx context.Context, cred Cred, parent proto.InodeID, name string, mode, flags uint32) (*pb.CreateReply, *session, error) {
	return change(ctx, c, cred, "create", inDir(parent, name), func(ctx context.Context, who *pb.Caller) (*pb.CreateReply, error) {
		return c.master.Create(ctx, &pb.CreateRequest{
			Caller: who, Parent: uint64(parent), Name: []byte(name), Mode: mode,
			Exclusive: flags&unix.O_EXCL != 0,
			Open:      true, Flags: flags, Assign: flags&unix.O_ACCMODE != unix.O_RDONLY,
		})
	})
}

func errorAfterClose(f *File, err error) error {
	if closeErr := f.Close(); closeErr != nil {
		f.ino.c.opts.Logger.Warn("closing after a failed open", "error", closeErr)
	}
	return err
}

// attach makes a File of a held inode.
func (i *inode) attach(cred Cred, flags uint32, attr Attr, keep bool) *File {
	i.mu.Lock()
	defer i.mu.Unlock()
	f := &File{ino: i, cred: cred, flags: flags, keep: keep, seen: i.failures}
	if i.c.opts.ReadAhead >= pieceSize {
		f.ahead = i.newReadAhead()
	}
	i.absorb(attr, keep)
	if !keep {
		i.content++
		i.durable = false
	}
	i.files[f] = struct{}{}
	return f
}

func (i *inode) newReadAhead() *readAhead {
	c := i.c
	return &readAhead{
		load:    i.load,
		reserve: func() bool { return c.background.Err() == nil && c.readBudget.TryAcquire(pieceSize) },
		release: func() { c.readBudget.Release(pieceSize) },
		spawn:   c.workers.Go,
		max:     c.opts.ReadAhead,
	}
}

// Inode that is open.
func (f *File) Inode() proto.InodeID { return f.ino.id }

// Attr is what this client knows of the file without asking: as of the open, a
// later answer of the master, or a write.
func (f *File) Attr() Attr {
	f.ino.mu.Lock()
	defer f.ino.mu.Unlock()
	return f.ino.c.accesses.show(f.ino.merge(f.ino.attr))
}

// KeepCache tells whether what the kernel cached at an earlier open of this
// inode through this client is still right.
func (f *File) KeepCache() bool { return f.keep }

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	return f.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext reads like ReadAt: io.EOF with less than len(p) bytes at the
// end of the file.
func (f *File) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if err := f.check("read", unix.O_WRONLY); err != nil {
		return 0, err
	}
	n, err := f.ino.read(ctx, f.ahead, p, off)
	if (err == nil || err == io.EOF) && f.flags&unix.O_NOATIME == 0 {
		f.ino.accessed()
	}
	return n, err
}

// WriteAt implements io.WriterAt. With O_APPEND, off is ignored.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	return f.WriteAtContext(context.Background(), p, off)
}

// WriteAtContext writes like WriteAt. It returns when p has been taken over,
// not when it is written: errors of that come with a later write, Sync, Flush
// or Close, once per File. With O_SYNC or O_DSYNC it includes a Sync.
func (f *File) WriteAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if f.flags&unix.O_APPEND != 0 {
		return f.write(ctx, p, 0, atEnd)
	}
	return f.write(ctx, p, off, atOffset)
}

// AppendContext and PlaceAt are WriteAtContext with O_APPEND and without, whatever the
// file was opened with: fcntl(2) may have changed that since.
func (f *File) AppendContext(ctx context.Context, p []byte) (int, error) {
	return f.write(ctx, p, 0, atEnd)
}

// PlaceAt writes at off: see AppendContext.
func (f *File) PlaceAt(ctx context.Context, p []byte, off int64) (int, error) {
	return f.write(ctx, p, off, atOffset)
}

// WriteMappedAt writes what was changed through a mapping of the file: like
// PlaceAt, but it does not wait for a recall that has the kernel write mapped pages back.
func (f *File) WriteMappedAt(ctx context.Context, p []byte, off int64) (int, error) {
	return f.write(ctx, p, off, fromMapping)
}

func (f *File) write(ctx context.Context, p []byte, off int64, place placement) (int, error) {
	if err := f.check("write", unix.O_RDONLY); err != nil {
		return 0, err
	}
	n, err := f.ino.write(ctx, f, p, off, place)
	if err == nil && f.flags&(unix.O_SYNC|unix.O_DSYNC) != 0 {
		err = f.Sync(ctx)
	}
	return n, err
}

// check refuses a closed file and one opened with the access mode that forbids op.
func (f *File) check(op string, forbidden uint32) error {
	if f.closed.Load() || f.flags&unix.O_ACCMODE == forbidden {
		return proto.E(proto.BadHandle, op, inodeName(f.ino.id), "the file is not open for this")
	}
	return nil
}

// Flush is what close(2) waits for: every write has reached every replica of
// its chain, and the master has size and chunks.
func (f *File) Flush(ctx context.Context) error { return f.finish(ctx, false) }

// Sync is fsync(2): Flush, and the bytes are on stable storage on every replica.
func (f *File) Sync(ctx context.Context) error { return f.finish(ctx, true) }

func (f *File) finish(ctx context.Context, sync bool) error {
	interrupt := f.ino.flush(ctx, sync)
	if interrupt == nil {
		interrupt = f.ino.arrive(ctx, sync)
	}
	f.ino.mu.Lock()
	defer f.ino.mu.Unlock()
	if err := f.takeError(); err != nil {
		return err
	}
	return interrupt
}

// takeError returns an error of writing that this File has not reported yet,
// once (L10); ino.mu is held.
func (f *File) takeError() error {
	if f.seen == f.ino.failures {
		return nil
	}
	f.seen = f.ino.failures
	return f.ino.failure
}

// Truncate cuts or extends the file to size bytes.
func (f *File) Truncate(ctx context.Context, size int64) error {
	if err := f.check("truncate", unix.O_RDONLY); err != nil {
		return err
	}
	if size < 0 {
		return proto.E(proto.Invalid, "truncate", inodeName(f.ino.id), "negative size")
	}
	want := uint64(size)
	_, err := f.ino.truncate(ctx, f.cred, SetAttr{Size: &want})
	return err
}

// Close flushes and gives the open file back, whatever the flush says.
func (f *File) Close() error {
	if f.closed.Swap(true) {
		return proto.E(proto.BadHandle, "close", inodeName(f.ino.id), "the file is closed already")
	}
	i := f.ino
	err := f.finish(context.Background(), false)
	if f.ahead != nil {
		f.ahead.close()
	}
	i.mu.Lock()
	delete(i.files, f)
	i.mu.Unlock()
	i.c.giveBack(i)
	return err
}

// Read implements io.Reader at the file's own position.
func (f *File) Read(p []byte) (int, error) {
	f.posMu.Lock()
	defer f.posMu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// Write implements io.Writer at the file's own position.
func (f *File) Write(p []byte) (int, error) {
	f.posMu.Lock()
	defer f.posMu.Unlock()
	n, err := f.WriteAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

// Seek implements io.Seeker.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	f.posMu.Lock()
	defer f.posMu.Unlock()
	base := int64(0)
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		base = f.pos
	case io.SeekEnd:
		base = int64(f.Attr().Size)
	default:
		return 0, proto.E(proto.Invalid, "seek", inodeName(f.ino.id), "whence")
	}
	if base+offset < 0 {
		return 0, proto.E(proto.Invalid, "seek", inodeName(f.ino.id), "before the start of the file")
	}
	f.pos = base + offset
	return f.pos, nil
}
