package client

import (
	"time"

	"github.com/distrifs/distrifs/proto"
)

// distrustTime is how long nothing is cached of an inode whose state at the master is in
// doubt: longer than an attempt of a call lasts.
const distrustTime = attemptTimeout + 5*time.Second

// distrusted are inodes of which nothing is cached for a while: a change of theirs was
// not answered, or their lease was given back while grants may be on their way.
type distrusted struct {
	until map[proto.InodeID]time.Time
	order []proto.InodeID // as they were added
}

func (d *distrusted) add(ino proto.InodeID) {
	now := time.Now()
	for len(d.order) > 0 && !now.Before(d.until[d.order[0]]) {
		delete(d.until, d.order[0])
		d.order = d.order[1:]
	}
	if d.until == nil {
		d.until = map[proto.InodeID]time.Time{}
	}
	d.until[ino] = now.Add(distrustTime)
	d.order = append(d.order, ino)
}

func (d *distrusted) has(ino proto.InodeID) bool {
	until, ok := d.until[ino]
	return ok && time.Now().Before(until)
}
