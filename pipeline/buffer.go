package pipeline

// Buffer is a pooled piece of memory with one owner (L12), who may hand it over
// and who, or whose successor, calls Release once.
type Buffer struct {
	Bytes []byte
}

// GetBuffer returns a buffer of size bytes (1 to MaxPayload) of undefined content.
func GetBuffer(size int) *Buffer { panic("being written") }

// Release gives the buffer back. The second call panics.
func (b *Buffer) Release() { panic("being written") }
