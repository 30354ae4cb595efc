package client

import (
	"context"
	"time"

	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// Reading along. Programs ask for names of a directory one by one: a stat of each file, a
// build, rm. Each time that the master has to be asked for one more, some others are read along,
// with attributes, leases and first chunks; twice as many each time. So all names of a
// directory are known after a few questions, and who needs few of them has not paid for
// many. In a directory that is exclusive the files come exclusive, too: they can be renamed and
// removed here then.

const (
	alongPatience = 6                      // where others are at work, it is tried again after 2, 4, ... 64 questions
	alongFrom     = 2                      // questions about names of a directory before others are read
	alongFirst    = 1 << 6                 // entries that are read the first time
	alongMost     = 1 << 10                // and at most, at a time
	maxAlong      = 1 << 14                // entries of one directory: a quarter of all leases
	alongPause    = alongMost / alongFirst // of so many entries that were read in vain, one question is not a sign
)

// along is how far a directory has been read so. Guarded by leases.mu.
type along struct {
	questions int    // to the master, since it was begun
	next      uint64 // cookie that the next entries are behind
	size      int    // of them, the next time
	read      int    // so far
	alone     bool   // with exclusive leases
	busy      bool   // some are being read
	vain      int    // tries of the next ones, most of which others were at work on
	over      bool   // that is of no use here
	taken     bool   // it was asked for with its names once
}

// readAlong is called when the master was asked about a name of a directory; to change it if alone.
func (c *Client) readAlong(ctx context.Context, dir proto.InodeID, alone bool) {
	req := c.leases.beginAlong(dir, alone)
	if req == nil {
		return
	}
	page, err := c.readPage(ctx, Cred{}, req)
	c.leases.endAlong(dir, &page, err)
}

// takeOver is called before a name of a directory is taken away: where this client has just come to
// have others exclusive, as one that removes a whole tree, it asks for this one, and what is in it, at once.
func (c *Client) takeOver(ctx context.Context, dir proto.InodeID) bool {
	if !c.leases.takesOver(dir) {
		return false
	}
	page, err := c.readPage(ctx, Cred{}, &pb.ReadDirRequest{Inode: uint64(dir), MaxEntries: alongMost / 4, Attrs: true, Alone: true, Recall: true})
	c.leases.endAlong(dir, &page, err)
	return err == nil
}

const (
	takeOverAfter = 3           // directories that were asked for,
	takeOverTime  = time.Second // the last one so lately
)

// takesTree tells whether this client seems to remove a tree, and wants what it lists exclusive at
// once; l.mu is held.
func (l *leases) takesTree() bool {
	return l.wantedDirs >= takeOverAfter && time.Since(l.wantedAt) <= takeOverTime
}

// takesOver tells whether that is to be done, and notes it.
func (l *leases) takesOver(dir proto.InodeID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.usable(dir) // exclusive it may be already, as an entry of the one above
	if !l.takesTree() || !l.mayWant(h) || h.along.busy || h.along.taken {
		return false
	}
	l.wantedAt = time.Now()
	h.along = along{busy: true, alone: true, taken: true}
	return true
}

// beginAlong gives what is to be read now; nil: nothing.
func (l *leases) beginAlong(dir proto.InodeID, alone bool) *pb.ReadDirRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.usable(dir)
	if h == nil || h.recall != nil || l.distrusted.has(dir) || alone && !h.writes() || h.along.busy {
		return nil
	}
	a := &h.along
	if a.alone != h.writes() {
		*a = along{questions: a.questions, alone: h.writes(), taken: a.taken}
	}
	if a.questions++; a.questions < alongFrom || a.over {
		return nil
	}
	if a.size = min(2*a.size, alongMost); a.size == 0 {
		a.size = alongFirst
	}
	a.busy = true
	return &pb.ReadDirRequest{Inode: uint64(dir), Cookie: a.next, MaxEntries: uint32(a.size), Attrs: true, Alone: a.alone, Recall: true}
}

// endAlong takes in what was read. When all of the directory has been, and names are asked for all
// the same, leases on them have gone: after a while it is begun again.
func (l *leases) endAlong(dir proto.InodeID, page *DirPage, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held[dir]
	if h == nil {
		return
	}
	a := &h.along
	a.busy = false
	vain := 0 // others are at work on them
	for i := range page.Entries {
		e := &page.Entries[i]
		if got := l.held[e.Inode]; e.Attr == nil || a.alone && (got == nil || !got.writes()) {
			vain++
		}
	}
	a.read += len(page.Entries)
	switch n := len(page.Entries); {
	case err != nil || a.read >= maxAlong:
		a.over = true
	case vain > n/2: // they have been asked for them, and may have given them back the next time
		a.read, a.size = a.read-n, a.size/2
		a.vain = min(a.vain+1, alongPatience)
		a.questions = alongFrom - 1<<a.vain
	case page.End || n == 0:
		*a = along{questions: -a.read / alongPause, alone: a.alone, taken: a.taken}
	default:
		a.next, a.vain = page.Entries[n-1].Cookie, 0
	}
}
