package wal

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/distrifs/distrifs/internal/disk"
)

// maxBatch is how many bytes share one sync, unless a single record has more.
const maxBatch = 1 << 20

// prepareStep is how many bytes of zeros are written ahead at a time.
const prepareStep = 4 << 20

// segmentLog is the end of the log, where batches are appended. It belongs to
// the appender, but for segments.
type segmentLog struct {
	fsys disk.FS
	dir  string
	size int64 // of a segment, bytes

	file     disk.File  // the newest segment
	path     string     // of file
	end      int64      // offset for the next record
	prepared int64      // zeros are durable from end to here
	ahead    chan error // result of the preparation under way; nil: none is
	next     int64      // what prepared will then be
	last     uint64     // index of the newest durable record

	mu       sync.Mutex // protects segments
	segments []uint64   // first index of each, oldest first; the last is file
}

// append writes a batch and makes it durable. last is the index of its last
// record. A batch only overwrites zeros that are on disk already, so a full disk is met
// before any of it is written: then the error is a noRoom, and all is as it was. After
// any other error nothing may be appended ever again (L9).
func (l *segmentLog) append(batch []byte, last uint64) error {
	n := int64(len(batch))
	if l.end > segmentHeader && l.end+n > l.size {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	if err := l.prepare(n); err != nil {
		return err
	}
	if _, err := l.file.WriteAt(batch, l.end); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	l.end, l.last = l.end+n, last
	return nil
}

// rotate begins a new segment. All that is in the old one is durable.
func (l *segmentLog) rotate() error {
	if err := l.awaitAhead(); err != nil {
		return err
	}
	first := l.last + 1
	prepared := min(prepareStep, l.size-segmentHeader)
	f, err := createSegment(l.fsys, l.dir, first, prepared)
	if err != nil {
		return err
	}
	old := l.file
	l.file, l.path = f, filepath.Join(l.dir, segmentName(first))
	l.end, l.prepared = segmentHeader, segmentHeader+prepared
	l.mu.Lock()
	l.segments = append(l.segments, first)
	l.mu.Unlock()
	return old.Close()
}

// prepare sees to it that n more bytes overwrite zeros that are on disk already,
// and has the next zeros written in the background when few are left.
func (l *segmentLog) prepare(n int64) error {
	select {
	case err := <-l.ahead: // never ready when nil
		if err := l.aheadDone(err); err != nil {
			return err
		}
	default:
	}
	if l.end+n > l.prepared {
		if err := l.awaitAhead(); err != nil {
			return err
		}
	}
	if l.end+n > l.prepared { // a large batch, or a slow disk
		l.prepareAhead(l.end + n)
		if err := l.awaitAhead(); err != nil {
			return err
		}
	}
	if l.ahead == nil && l.prepared-l.end-n < prepareStep/2 && l.prepared < l.size {
		l.prepareAhead(l.prepared)
	}
	return nil
}

// prepareAhead prepares one step more, up to least if that is further. It writes through
// a descriptor of its own: Linux tells each one of a failed write, but once, and the
// news must not be lost to the sync of a batch.
func (l *segmentLog) prepareAhead(least int64) {
	from, to, done := l.prepared, max(least, min(l.prepared+prepareStep, l.size)), make(chan error, 1)
	l.next, l.ahead = to, done
	path := l.path
	go func() {
		f, err := l.fsys.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			err = roomFor(writeZeros(f, from, to))
			if err == nil {
				err = f.Sync()
			}
			err = errors.Join(err, f.Close())
		}
		done <- err
	}()
}

func (l *segmentLog) awaitAhead() error {
	if l.ahead == nil {
		return nil
	}
	return l.aheadDone(<-l.ahead)
}

func (l *segmentLog) aheadDone(err error) error {
	l.ahead = nil
	if err == nil {
		l.prepared = l.next
	}
	return err
}

// close needs the appender to have ended.
func (l *segmentLog) close() error {
	// What failed ahead of the records concerns none of them: the sync of each
	// batch has had its own answer.
	_ = l.awaitAhead()
	return l.file.Close()
}

// trim removes the segments that hold no record beyond index, oldest first.
func (l *segmentLog) trim(index uint64) error {
	l.mu.Lock()
	segments := slices.Clone(l.segments)
	l.mu.Unlock()
	for i := 0; i+1 < len(segments) && segments[i+1] <= index+1; i++ {
		if err := l.fsys.Remove(filepath.Join(l.dir, segmentName(segments[i]))); err != nil {
			return err
		}
		l.mu.Lock()
		l.segments = l.segments[1:]
		l.mu.Unlock()
	}
	return nil
}

// span is the first index of the log and its number of segments.
func (l *segmentLog) span() (first uint64, count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[0], len(l.segments)
}
