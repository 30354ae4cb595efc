package client

import (
	"time"

	"github.com/distrifs/distrifs/proto"
)

// inodesFor remembers inodes for a while.
type inodesFor struct {
	time  time.Duration
	until map[proto.InodeID]time.Time
}

const (
	// contestedTime is for directories that another client wanted while this one had them
	// exclusive. They are not asked for again so long: names that several work on are the master's.
	contestedTime = time.Second
	// restlessTime is for directories that another client has changed: the kernel is told no names
	// of theirs so long.
	restlessTime = 5 * time.Second

	maxInodesFor = 1 << 10
)

func (f *inodesFor) add(ino proto.InodeID) {
	if f.until == nil || len(f.until) >= maxInodesFor {
		f.until = map[proto.InodeID]time.Time{}
	}
	f.until[ino] = time.Now().Add(f.time)
}

func (f *inodesFor) has(ino proto.InodeID) bool {
	until, ok := f.until[ino]
	return ok && time.Now().Before(until)
}
