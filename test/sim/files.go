package sim

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// fileCall is a call on a file's bytes.
type fileCall struct {
	what   string // "write", "append", "truncate", "read", "size", "sync"
	off, n int64
	number uint8 // of a write or append
}

func (c fileCall) String() string {
	switch c.what {
	case "write":
		return fmt.Sprintf("write #%d %d at %d", c.number, c.n, c.off)
	case "append":
		return fmt.Sprintf("append #%d %d", c.number, c.n)
	case "truncate":
		return fmt.Sprintf("truncate to %d", c.n)
	case "read":
		return fmt.Sprintf("read %d at %d", c.n, c.off)
	}
	return c.what
}

// oneLog says which answers are right of a file that is only appended to: those of one file on
// one machine. They are content (read), int64 (size), or nil.
var oneLog = porcupine.Model{
	Init: func() any { return state("") },
	Step: func(before, input, output any) (bool, any) {
		s, c := before.(state), input.(fileCall)
		switch c.what {
		case "append":
			return true, s.content().add(c.n, c.number).state()
		case "read":
			return output.(content).state() == s.content().part(c.off, c.n).state(), s
		case "size":
			return output.(int64) == s.content().size(), s
		}
		return true, s
	},
	DescribeOperation: described,
	DescribeState:     func(s any) string { return s.(state).content().String() },
}

func described(input, output any) string { return fmt.Sprintf("%v: %v", input, output) }
