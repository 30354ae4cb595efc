package locks

import (
	"github.com/distrifs/distrifs/internal/ranges"
	"github.com/distrifs/distrifs/proto"
)

// Space separates locks that do not see each other.
type Space uint8

// The spaces.
const (
	Record Space = iota // of fcntl(2)
	Flock               // of flock(2)
)

// Mode is how much a lock excludes. A greater one includes a smaller one.
type Mode uint8

// The modes.
const (
	Shared    Mode = 1
	Exclusive Mode = 2
)

// conflicts tells whether two owners may not hold these modes of one byte.
func (m Mode) conflicts(other Mode) bool { return m == Exclusive || other == Exclusive }

// Owner is whom a lock belongs to.
type Owner struct {
	Session proto.SessionID
	ID      uint64
}

// Lock is a lock held or wanted.
type Lock struct {
	Inode   proto.InodeID
	Space   Space
	Owner   Owner
	Mode    Mode
	Range   ranges.Range
	Process uint32 // pid on the host of the session
}

// Turn tells a session that it has what it waited for.
type Turn struct {
	Session proto.SessionID
	Ticket  uint64
}

// Limits bound a table.
type Limits struct {
	Held           int // ranges, of all sessions together
	HeldBySession  int
	Waits          int // waiters, of all sessions together
	WaitsOfSession int
}
