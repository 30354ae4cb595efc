package pipeline

import "testing"

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s went unnoticed", what)
		}
	}()
	f()
}

func TestBufferSizes(t *testing.T) {
	for _, size := range []int{1, 4096, 4097, 100_000, MaxPayload} {
		b := GetBuffer(size)
		if len(b.Bytes) != size {
			t.Errorf("asked for %d, got %d", size, len(b.Bytes))
		}
		b.Release()
	}
	mustPanic(t, "an empty buffer", func() { GetBuffer(0) })
	mustPanic(t, "a buffer over the limit", func() { GetBuffer(MaxPayload + 1) })
}

func TestMisuseOfBuffersIsNoticed(t *testing.T) { // L12
	class := &bufferClass{size: 4096, keep: 1}
	b := class.get()
	kept := b.memory[:16]
	kept[3] = 1
	b.Release()
	if kept[3] != poison {
		t.Error("a released buffer still reads as before")
	}
	mustPanic(t, "a double release", b.Release)
	kept[3] = 2
	mustPanic(t, "a write after the release", func() { class.get() })
}

func TestReleasedBuffersAreBounded(t *testing.T) {
	class := &bufferClass{size: 16, keep: 2}
	buffers := []*Buffer{class.get(), class.get(), class.get()}
	for _, b := range buffers {
		b.Release()
	}
	if len(class.free) != 2 {
		t.Errorf("%d buffers are kept", len(class.free))
	}
}
