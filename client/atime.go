package client

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Access times. What is read is noted here and shown in attributes at once; the
// master hears of it with the next Release, or after accessDelay. No read waits for
// that, and a crash loses no more than the times noted since.

// Atime says which reads update the time of the last access.
type Atime int32

// The modes, as of mount(8).
const (
	NoAtime     Atime = iota // none; the default of programs that use the SDK
	RelAtime                 // the first after a change, and one a day
	StrictAtime              // each
)

const (
	accessDelay = 30 * time.Second // after which a file still open is reported
	maxAccesses = 1 << 14          // noted at a time; what is read beyond is not
	accessDay   = 24 * time.Hour   // RelAtime updates times older than that
)

// accesses are the reads that the master has not heard of.
type accesses struct {
	mode      atomic.Int32 // an Atime
	reporting token        // held while the master is being told

	mu      sync.Mutex
	pending map[proto.InodeID]access
}

// access is a read. It stays until the report behind the one that told it, for
// attributes that were asked for before are answered without it.
type access struct {
	at   time.Time
	told bool
}

// SetAtime chooses which reads update access times from now on.
func (c *Client) SetAtime(mode Atime) { c.accesses.mode.Store(int32(mode)) }

// due tells whether a read at that time updates the attributes.
func (m Atime) due(attr *Attr, at time.Time) bool {
	switch m {
	case NoAtime:
		return false
	case RelAtime:
		return !attr.Atime.After(attr.Mtime) || !attr.Atime.After(attr.Ctime) || at.Sub(attr.Atime) >= accessDay
	}
	return true
}

// note remembers a read of an inode. Where attr is nil, it is not known whether an
// update is due: the first read is noted, and the master decides.
func (a *accesses) note(ino proto.InodeID, attr *Attr, now time.Time) {
	mode := Atime(a.mode.Load())
	if mode == NoAtime {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.pending) >= maxAccesses {
		a.dropTold()
	}
	last, noted := a.pending[ino]
	switch {
	case !noted && len(a.pending) >= maxAccesses:
		return
	case attr != nil && !mode.due(last.shown(*attr, noted), now):
		return
	case attr == nil && noted && !last.told && mode == RelAtime:
		return
	}
	a.pending[ino] = access{at: now}
}

// show puts a read that the master has not heard of into attributes.
func (a *accesses) show(attr Attr) Attr {
	mode := Atime(a.mode.Load())
	if mode == NoAtime {
		return attr
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if read, noted := a.pending[attr.Inode]; noted && mode.due(&attr, read.at) {
		return *read.shown(attr, noted)
	}
	return attr
}

// shown puts a read, if it was noted, into attributes.
func (read access) shown(attr Attr, noted bool) *Attr {
	if noted && read.at.After(attr.Atime) {
		attr.Atime = read.at
	}
	return &attr
}

// forget is called before the time is set explicitly: reads before that are void. It
// waits for a report under way that may be about the inode.
func (a *accesses) forget(ctx context.Context, ino proto.InodeID) error {
	if !a.noted(ino) {
		return nil
	}
	if err := a.reporting.acquire(ctx, "set access time"); err != nil {
		return err
	}
	defer a.reporting.release()
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pending, ino)
	return nil
}

func (a *accesses) noted(ino proto.InodeID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.pending[ino]
	return ok
}

// accessed puts reads that the master has heard of into what is cached under leases that
// were held all the while: no answer brings them. began is when the report began.
func (l *leases) accessed(began uint64, mode Atime, batch []*pb.Access) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, access := range batch {
		h, at := l.held[proto.InodeID(access.Inode)], time.Unix(access.Sec, int64(access.Nsec))
		if h != nil && h.hasAttr && h.granted <= began && h.since <= began && mode.due(&h.attr, at) && at.After(h.attr.Atime) {
			h.attr.Atime = at
		}
	}
}

// untold tells whether there is a read of an inode that the master should hear of.
func (a *accesses) untold(ino proto.InodeID) bool {
	if Atime(a.mode.Load()) == NoAtime {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	read, noted := a.pending[ino]
	return noted && !read.told
}

// batch gives up to a number of accesses for the master.
func (a *accesses) batch(limit int) (list []*pb.Access) {
	relative := Atime(a.mode.Load()) != StrictAtime
	a.mu.Lock()
	defer a.mu.Unlock()
	for ino, read := range a.pending {
		if len(list) == limit {
			break
		}
		if at := read.at; !read.told {
			list = append(list, &pb.Access{Inode: uint64(ino), Sec: at.Unix(), Nsec: uint32(at.Nanosecond()), Relative: relative})
		}
	}
	return list
}

// dropTold forgets what the master knows; a.mu is held.
func (a *accesses) dropTold() {
	maps.DeleteFunc(a.pending, func(_ proto.InodeID, read access) bool { return read.told })
}

// reported is called when the master has heard of a batch. What was read again since
// is for the next one.
func (a *accesses) reported(batch []*pb.Access) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dropTold()
	for _, access := range batch {
		ino := proto.InodeID(access.Inode)
		if read := a.pending[ino]; read.at.Equal(time.Unix(access.Sec, int64(access.Nsec))) {
			read.told = true
			a.pending[ino] = read
		}
	}
}
