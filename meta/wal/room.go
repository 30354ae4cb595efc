package wal

import (
	"errors"
	"syscall"
	"time"

	"github.com/distrifs/distrifs/proto"
)

// noRoom is the failure of something that was only to make room for records: nothing
// that counts was written.
type noRoom struct{ error }

func (e noRoom) Unwrap() error { return e.error }

// roomFor marks err as a noRoom if it says that the disk is full.
func roomFor(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return noRoom{err}
	}
	return err
}

// roomAgain is how long after the disk was found full it is tried again.
const roomAgain = 500 * time.Millisecond

// fullness remembers that the disk is full, so that not every batch tries to fill it.
type fullness struct {
	since time.Time // when it was tried last; zero: it is not full
}

// retry tells whether a batch may be tried.
func (f *fullness) retry(now time.Time) bool {
	return f.since.IsZero() || now.Sub(f.since) >= roomAgain
}

// noteRoom takes note of how an append ended, and tells whether it found the disk full.
func (g *Group) noteRoom(err error) (full bool) {
	full = errors.As(err, new(noRoom))
	was := !g.full.since.IsZero()
	g.full.since = time.Time{}
	if full {
		g.full.since = time.Now()
	}
	if full == was {
		return full
	}
	var why error
	if full {
		why = &proto.Error{Kind: proto.NoSpace, Op: "append to log", Subject: g.log.path, Detail: "nothing is changed until there is room on the master's disk", Err: err}
		g.opts.Logger.Error("the disk of the log is full: changes are refused until there is room", "file", g.log.path, "error", err)
	} else if err == nil {
		g.opts.Logger.Info("the disk of the log has room again", "file", g.log.path)
	}
	g.mu.Lock()
	g.status.Full = why
	g.mu.Unlock()
	return full
}

// refuse answers proposals for which there is no room. None of them was logged.
func (g *Group) refuse(batch []*proposal) {
	g.mu.Lock()
	why := g.status.Full
	g.mu.Unlock()
	for _, p := range batch {
		g.queue.answer(p, nil, why)
	}
}
