package client

import (
	"testing"
	"time"

	"github.com/distrifs/distrifs/client/clienttest"
)

// What is written shows in the times of the file, also by a clock that is behind the master's.
func TestAWriteIsLaterThanWhatIsKnown(t *testing.T) {
	c := connect(t, clienttest.New(t, clienttest.Options{}))
	f := create(t, c, "/f")
	ahead := time.Now().Add(time.Hour)
	f.ino.mu.Lock()
	f.ino.attr.Ctime = ahead
	f.ino.mu.Unlock()
	mustWrite(t, f, []byte("some bytes"), 0)
	if a := f.Attr(); !a.Mtime.After(ahead) || !a.Ctime.After(ahead) {
		t.Errorf("after a change at %v it was written at %v, changed at %v", ahead, a.Mtime, a.Ctime)
	}
	must(t, f.Close())
}
