package fusefs

import (
	"testing"
	"testing/synctest"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

func readIn(node, off uint64, size uint32, number uint64) *fuse.ReadIn {
	return &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: node, Unique: number}, Offset: off, Size: size}
}

func writeIn(node, off, number uint64) *fuse.WriteIn {
	return &fuse.WriteIn{InHeader: fuse.InHeader{NodeId: node, Unique: number}, Offset: off}
}

// G3: a READ gives what the WRITEs before it brought, in whichever order they get here.
func TestAReadWaitsForWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w writing
		reads := 0
		end := w.begin(writeIn(1, 0, 0), 10)
		go w.read(t.Context(), readIn(1, 5, 10, 0), true, func() { reads++ })
		synctest.Wait()
		if reads != 0 {
			t.Error("it was read beside a WRITE")
		}
		end()
		synctest.Wait()
		if reads != 1 || len(w.writes)+len(w.reads) != 0 {
			t.Errorf("%d reads, %d spans are kept", reads, len(w.writes)+len(w.reads))
		}
	})
}

func TestAReadIsMadeAgainAfterAWriteThatCameLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w writing
		reads := 0
		w.read(t.Context(), readIn(1, 5, 10, 0), true, func() {
			if reads++; reads == 1 {
				w.begin(writeIn(1, 0, 0), 5)()   // before its range
				w.begin(writeIn(2, 0, 0), 100)() // another file
				end := w.begin(writeIn(1, 14, 0), 1)
				go func() { synctest.Wait(); end() }()
			}
		})
		if reads != 2 || len(w.writes)+len(w.reads) != 0 {
			t.Errorf("%d reads, %d spans are kept", reads, len(w.writes)+len(w.reads))
		}
		w.read(t.Context(), readIn(1, 0, 1, 0), true, func() { reads++; w.begin(writeIn(1, 0, 0), 1)() })
		if reads != 2+maxDisturbed+1 {
			t.Errorf("a READ that is disturbed for ever is made %d times", reads-2)
		}
	})
}

func TestAWriteKnowsWhichReadsHaveOvertakenIt(t *testing.T) {
	var w writing
	write := func(node, off, number uint64) span { return w.begin(writeIn(node, off, number), 10)() }
	w.read(t.Context(), readIn(1, 100, 50, 20), true, func() {})
	w.read(t.Context(), readIn(1, 300, 50, 20), false, func() {}) // not through the page cache
	for _, c := range []struct {
		node, off, number uint64
		want              span
	}{
		{1, 100, 18, span{1, 100, 110}}, {1, 91, 18, span{1, 100, 101}}, {1, 145, 18, span{1, 145, 150}},
		{1, 90, 18, span{}}, {1, 150, 18, span{}}, {2, 100, 18, span{}}, {1, 100, 22, span{}}, {1, 300, 18, span{}},
	} {
		if got := write(c.node, c.off, c.number); got != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
	}
	w.read(t.Context(), readIn(1, 145, 3, 24), true, func() {})
	if got := write(1, 140, 18); got != (span{1, 140, 150}) {
		t.Errorf("overtaken by two: %+v", got)
	}
	for range rememberedReads {
		w.read(t.Context(), readIn(7, 0, 1, 30), true, func() {})
	}
	if got := write(1, 100, 18); got != (span{}) {
		t.Errorf("overtaken by one that is forgotten: %+v", got)
	}
}

// G3: the pages of a READ that has overtaken a WRITE go before the WRITE is answered.
func TestPagesOfAReadThatHasOvertakenAreDropped(t *testing.T) {
	f := newFixture(t)
	node, fh := f.create("a", unix.O_RDWR)
	f.write(fh, 0, "old", 0, 0)
	in := readIn(node, 0, 4096, 8)
	in.Fh = fh
	_, status := f.Read(nil, in, make([]byte, 4096))
	f.want("read", status, 0)
	write := func(number uint64, flags uint32) {
		in := writeIn(node, 0, number)
		in.Fh, in.Size, in.WriteFlags = fh, 3, flags
		_, status := f.Write(nil, in, []byte("new"))
		f.want("write", status, 0)
	}
	write(10, 0)
	write(6, fuse.WRITE_CACHE)
	if got := f.kernel.notified(node); len(got) != 0 {
		t.Errorf("notified of %d by WRITEs that were not overtaken, or write back a page that is locked", got)
	}
	write(6, 0)
	if got := f.kernel.notified(node); len(got) != 1 || got[0] != 0 {
		t.Errorf("notified of %d", got)
	}
}
