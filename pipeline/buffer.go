package pipeline

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
)

// Buffer is a pooled piece of memory with one owner (L12), who may hand it over
// and who, or whose successor, calls Release once.
type Buffer struct {
	Bytes []byte // what was asked for

	memory   []byte // of the class's size
	class    *bufferClass
	free     atomic.Bool
	poisoned bool // memory is all poison; the pool's, while free
}

// bufferClass keeps the released buffers of one size. A sync.Pool would be
// emptied by every garbage collection, and fresh memory costs a page fault for
// each 4 KiB.
type bufferClass struct {
	size int // bytes
	keep int // buffers
	mu   sync.Mutex
	free []*Buffer
}

var bufferClasses = [...]*bufferClass{
	{size: 4 << 10, keep: 1024},
	{size: 16 << 10, keep: 256},
	{size: 64 << 10, keep: 128},
	{size: 256 << 10, keep: 64},
	{size: MaxPayload, keep: 64},
}

const poison = 0xDB

var poisoning atomic.Bool

// PoisonBuffers makes Release overwrite the buffer, and GetBuffer panic when
// somebody wrote to it after that. For tests.
func PoisonBuffers(on bool) { poisoning.Store(on) }

// GetBuffer returns a buffer of size bytes (1 to MaxPayload) of undefined content.
func GetBuffer(size int) *Buffer {
	for _, class := range bufferClasses {
		if 0 < size && size <= class.size {
			b := class.get()
			b.Bytes = b.memory[:size]
			return b
		}
	}
	panic(fmt.Sprintf("pipeline: a buffer of %d bytes was asked for", size))
}

func (c *bufferClass) get() *Buffer {
	c.mu.Lock()
	last := len(c.free) - 1
	if last < 0 {
		c.mu.Unlock()
		return &Buffer{memory: make([]byte, c.size), class: c}
	}
	b := c.free[last]
	c.free[last] = nil
	c.free = c.free[:last]
	c.mu.Unlock()
	if b.poisoned && bytes.Count(b.memory, []byte{poison}) != len(b.memory) {
		panic("pipeline: a buffer was written to after its release")
	}
	b.poisoned = false
	b.free.Store(false)
	return b
}

// Release gives the buffer back. The second call panics.
func (b *Buffer) Release() {
	if b.free.Swap(true) {
		panic("pipeline: a buffer was released twice")
	}
	b.Bytes = nil
	if poisoning.Load() {
		b.memory[0] = poison
		for n := 1; n < len(b.memory); n *= 2 {
			copy(b.memory[n:], b.memory[:n])
		}
		b.poisoned = true
	}
	c := b.class
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.free) < c.keep {
		c.free = append(c.free, b)
	}
}
