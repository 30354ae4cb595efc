package oracle

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sys/unix"
)

var roundsFlag = flag.Int("rounds", 25, "rounds of concurrent calls, for each kind")

// described prints a call and its answer.
func described(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) }

// nameCall is a call on one or two of few names. Some are none of them, since the kernel looks at each name
// before, and another mount may come between: link, which gives another name to what it found; rename
// onto what is there and exchange, which do nothing if both names were found to be one file.
type nameCall struct {
	op       string
	name, to int
}

// nameAnswer is an errno, and the inode where one was made or found.
type nameAnswer struct {
	errno error
	inode uint64
}

// nameState is the inode of each name, 0 for none.
type nameState [3]uint64

var names = object{
	calls:   20,
	prepare: func(string) error { return nil },
	model: porcupine.Model{
		Init: func() any { return nameState{} },
		Step: func(state, input, output any) (bool, any) {
			ok, next := state.(nameState).step(input.(nameCall), output.(nameAnswer))
			return ok, next
		},
		DescribeOperation: described,
	},
	worker: func(folder string, id int, r *rand.Rand) (func() (any, any), error) {
		return func() (any, any) {
			c := nameCall{op: pickOne(r, "create", "create", "unlink", "stat", "stat", "rename", "rename"), name: r.IntN(3)}
			if c.to = (c.name + 1 + r.IntN(2)) % 3; c.op == "create" || c.op == "unlink" || c.op == "stat" {
				c.to = c.name
			}
			return c, c.make(folder)
		}, nil
	},
}

func pickOne[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// step tells whether an answer is right in a state, and gives the next.
func (s nameState) step(c nameCall, a nameAnswer) (bool, nameState) {
	there, toThere := s[c.name] != 0, s[c.to] != 0
	switch a.errno {
	case unix.ENOENT:
		return !there, s
	case unix.EEXIST:
		return toThere, s
	case nil:
	default:
		return false, s
	}
	switch c.op {
	case "create":
		s[c.name] = a.inode
		return !there, s
	case "stat":
		return there && a.inode == s[c.name], s
	case "unlink":
		s[c.name] = 0
		return there, s
	}
	s[c.name], s[c.to] = 0, s[c.name]
	return there && !toThere, s
}

// make makes the call.
func (c nameCall) make(folder string) (a nameAnswer) {
	at := func(name int) string { return filepath.Join(folder, string("abc"[name])) }
	var st unix.Stat_t
	switch c.op {
	case "create":
		fd, err := unix.Open(at(c.name), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
		if err != nil {
			return nameAnswer{errno: err}
		}
		a.errno = unix.Fstat(fd, &st)
		unix.Close(fd)
	case "stat":
		a.errno = unix.Lstat(at(c.name), &st)
	case "unlink":
		a.errno = unix.Unlink(at(c.name))
	case "rename":
		a.errno = unix.Renameat2(unix.AT_FDCWD, at(c.name), unix.AT_FDCWD, at(c.to), unix.RENAME_NOREPLACE)
	}
	a.inode = st.Ino
	return a
}

// wordCall reads (value 0) or writes one word of a file. Each value is written once.
type wordCall struct{ value uint64 }

type wordAnswer struct {
	value uint64
	err   error
}

// register is one word of eight bytes, across which nothing tears.
var register = object{
	calls:   20,
	prepare: func(folder string) error { return os.WriteFile(filepath.Join(folder, "file"), make([]byte, 8), 0o644) },
	model: porcupine.Model{
		Init: func() any { return uint64(0) },
		Step: func(state, input, output any) (bool, any) {
			c, a := input.(wordCall), output.(wordAnswer)
			if c.value != 0 {
				return a.err == nil, c.value
			}
			return a.err == nil && a.value == state.(uint64), state
		},
		DescribeOperation: described,
	},
	worker: wordWorker(unix.O_DIRECT),
}

// cachedRegister is the same through the page cache.
var cachedRegister = object{
	calls: 40, prepare: register.prepare, model: register.model, worker: wordWorker(0), check: regular,
}

func wordWorker(flags int) func(folder string, id int, r *rand.Rand) (func() (any, any), error) {
	return func(folder string, id int, r *rand.Rand) (func() (any, any), error) {
		f, err := os.OpenFile(filepath.Join(folder, "file"), os.O_RDWR|flags, 0)
		n := 0
		return func() (any, any) {
			word := make([]byte, 8)
			if r.IntN(2) == 0 {
				_, err := f.ReadAt(word, 0)
				return wordCall{}, wordAnswer{binary.NativeEndian.Uint64(word), err}
			}
			n++
			c := wordCall{uint64(id+1)*1000 + uint64(n)}
			binary.NativeEndian.PutUint64(word, c.value)
			_, err := f.WriteAt(word, 0)
			return c, wordAnswer{err: err}
		}, err
	}
}

// regular tells whether each read gave what was written last before it began, or by a write that was
// under way meanwhile.
func regular(history []porcupine.Operation) bool {
	writes := map[uint64]porcupine.Operation{0: {Call: -2, Return: -1}}
	for _, op := range history {
		if c := op.Input.(wordCall); c.value != 0 {
			writes[c.value] = op
		}
	}
	for _, op := range history {
		a := op.Output.(wordAnswer)
		if op.Input.(wordCall).value != 0 && a.err == nil {
			continue
		}
		read, ok := writes[a.value]
		if !ok || a.err != nil || read.Call > op.Return {
			return false
		}
		for _, later := range writes {
			if later.Call > read.Return && later.Return < op.Call {
				return false
			}
		}
	}
	return true
}

// The check finds what is wrong: a read of what was overwritten before it, or of what nobody wrote.
func TestRegular(t *testing.T) {
	op := func(call, end int64, in uint64, out uint64) porcupine.Operation {
		return porcupine.Operation{Call: call, Return: end, Input: wordCall{in}, Output: wordAnswer{value: out}}
	}
	for what, c := range map[string]struct {
		want    bool
		history []porcupine.Operation
	}{
		"the last write":         {true, []porcupine.Operation{op(1, 2, 7, 0), op(3, 4, 0, 7)}},
		"one under way":          {true, []porcupine.Operation{op(1, 9, 7, 0), op(3, 4, 0, 7), op(5, 6, 0, 0)}},
		"the beginning, too old": {false, []porcupine.Operation{op(1, 2, 7, 0), op(3, 4, 0, 0)}},
		"overwritten":            {false, []porcupine.Operation{op(1, 2, 7, 0), op(3, 4, 8, 0), op(5, 6, 0, 7)}},
		"not written yet":        {false, []porcupine.Operation{op(1, 2, 0, 7), op(3, 4, 7, 0)}},
		"never written":          {false, []porcupine.Operation{op(1, 2, 0, 7)}},
	} {
		if got := regular(c.history); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

// logCall reads all of a log, or appends one record.
type logCall struct{ record string }

type logAnswer struct {
	all string
	err error
}

var appendLog = object{
	calls:   8,
	prepare: func(folder string) error { return os.WriteFile(filepath.Join(folder, "log"), nil, 0o644) },
	model: porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			c, a := input.(logCall), output.(logAnswer)
			if c.record != "" {
				return a.err == nil, state.(string) + c.record
			}
			return a.err == nil && a.all == state.(string), state
		},
		DescribeOperation: described,
	},
	worker: func(folder string, id int, r *rand.Rand) (func() (any, any), error) {
		f, err := os.OpenFile(filepath.Join(folder, "log"), os.O_RDWR|os.O_APPEND, 0)
		n := 0
		return func() (any, any) {
			if r.IntN(3) == 0 {
				all := make([]byte, 4096)
				n, err := unix.Pread(int(f.Fd()), all, 0)
				if errors.Is(err, io.EOF) {
					err = nil
				}
				return logCall{}, logAnswer{string(all[:max(0, n)]), err}
			}
			n++
			c := logCall{fmt.Sprintf("<%d:%d>", id, n)}
			_, err := f.WriteString(c.record)
			return c, logAnswer{err: err}
		}, err
	},
}
