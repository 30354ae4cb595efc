package client

import (
	"time"

	"github.com/distrifs/distrifs/proto"
)

// contested are directories that another client wanted while this one had them exclusive.
// They are not asked for again for a while: names that several work on are the master's.
type contested map[proto.InodeID]time.Time

const (
	contestedTime = time.Second
	maxContested  = 1 << 10
)

func (c *contested) add(ino proto.InodeID) {
	if *c == nil || len(*c) >= maxContested {
		*c = contested{}
	}
	(*c)[ino] = time.Now().Add(contestedTime)
}

func (c contested) has(ino proto.InodeID) bool {
	until, ok := c[ino]
	return ok && time.Now().Before(until)
}
