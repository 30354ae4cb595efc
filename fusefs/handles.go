package fusefs

import "sync"

// handleTable maps the numbers that the kernel holds to open files or
// directories. Numbers start at 1 and are never used again.
type handleTable[T any] struct {
	mu   sync.RWMutex
	last uint64
	open map[uint64]T
}

func (t *handleTable[T]) add(value T) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = make(map[uint64]T)
	}
	t.last++
	t.open[t.last] = value
	return t.last
}

func (t *handleTable[T]) get(handle uint64) (T, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	value, ok := t.open[handle]
	return value, ok
}

func (t *handleTable[T]) remove(handle uint64) (T, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	value, ok := t.open[handle]
	delete(t.open, handle)
	return value, ok
}
