package disk

import (
	"path/filepath"
	"slices"
	"syscall"
)

// Op is an operation of a filesystem, as faults and hooks name it.
type Op string

// The operations: those of FS, then those of File. OpStat is File.Size too.
// Close cannot fail.
const (
	OpOpen    Op = "open"
	OpMkdir   Op = "mkdir"
	OpRemove  Op = "remove"
	OpRename  Op = "rename"
	OpReadDir Op = "readdir"
	OpStat    Op = "stat"
	OpSyncDir Op = "syncdir"
	OpLock    Op = "lock"
	OpUsage   Op = "usage"

	OpRead      Op = "read"
	OpWrite     Op = "write"
	OpSync      Op = "sync"
	OpTruncate  Op = "truncate"
	OpAllocate  Op = "allocate"
	OpPunchHole Op = "punchhole"
)

// Fault makes operations of a Mem fail: "the second rename of a checkpoint".
type Fault struct {
	Op      Op     // empty: any
	Path    string // pattern of filepath.Match on the whole name or on its last part; empty: any. Of a rename: the new name
	After   int    // calls that succeed before the first that fails
	Times   int    // calls that fail; 0: all from then on
	Err     error  // nil: EIO
	Partial bool   // a failing write puts half of its bytes into the file
}

// Inject adds a fault; the function that it returns takes it away again.
func (m *Mem) Inject(f Fault) (remove func()) {
	if f.Err == nil {
		f.Err = syscall.EIO
	}
	if f.Times == 0 {
		f.Times = -1
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, &f)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.faults = slices.DeleteFunc(m.faults, func(other *Fault) bool { return other == &f })
	}
}

// SetHook has hook called at the start of each operation with its name (of a
// rename the new one), without a lock held; an error that it returns becomes
// that of the operation. nil takes the hook away.
func (m *Mem) SetHook(hook func(op Op, name string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = hook
}

// Calls counts the operations begun since NewMem or CrashClone, failed ones too.
func (m *Mem) Calls(op Op) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[op]
}

// enter is the start of each operation, without mu.
func (m *Mem) enter(op Op, name string) error {
	m.mu.Lock()
	m.calls[op]++
	hook, err := m.hook, m.fault(op, name)
	m.mu.Unlock()
	if hook != nil {
		if hookErr := hook(op, name); hookErr != nil && err == nil {
			err = pathError(string(op), name, hookErr)
		}
	}
	return err
}

// fault needs mu.
func (m *Mem) fault(op Op, name string) error {
	for _, f := range m.faults {
		if !f.matches(op, name) {
			continue
		}
		if f.After > 0 {
			f.After--
			continue
		}
		if f.Times == 0 {
			continue
		}
		if f.Times > 0 {
			f.Times--
		}
		err := pathError(string(op), name, f.Err)
		if f.Partial && op == OpWrite {
			return &partialError{err}
		}
		return err
	}
	return nil
}

func (f *Fault) matches(op Op, name string) bool {
	if f.Op != "" && f.Op != op {
		return false
	}
	if f.Path == "" {
		return true
	}
	whole, _ := filepath.Match(f.Path, name) // a bad pattern matches nothing
	last, _ := filepath.Match(f.Path, filepath.Base(name))
	return whole || last
}

// partialError has a write put half of its bytes in place and then fail with err.
type partialError struct{ err error }

func (e *partialError) Error() string { return e.err.Error() }
func (e *partialError) Unwrap() error { return e.err }
