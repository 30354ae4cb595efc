package state

import (
	"flag"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/distrifs/distrifs/proto"
)

var folderEntries = flag.Int("folder.entries", 250_000, "names in the folder of TestBigFolder")

// TestBigFolder lists a folder of very many names in pages, while others come and go
// between them: each that is there throughout comes exactly once (L17), and a page takes
// no memory that grows with the folder.
func TestBigFolder(t *testing.T) {
	const page = 4096
	entries := *folderEntries
	f := newFixture(t)
	dir := f.make(root, proto.RootInode, "dir", typeDir|0o755)
	change := func(c Command) {
		if r := f.Apply(0, c); r.Kind != proto.OK {
			t.Fatalf("%T: %v", c, r.Kind)
		}
	}
	for i := range entries {
		change(&Make{Header: Header{Now: f.now}, Parent: dir, Name: fmt.Appendf(nil, "stays-%07d", i), Mode: typeFIFO | 0o644})
	}

	seen := make([]uint8, entries)
	var cookie, offset uint64 // of the last entry, and of one in the middle
	var behind string         // the name behind that offset
	for pages, more := 0, true; more; pages++ {
		for i := range 10 { // what came at the last page goes, and more comes
			if pages > 0 {
				change(&Unlink{Header: Header{Now: f.now}, Parent: dir, Name: fmt.Appendf(nil, "comes-%d-%d", pages-1, i)})
			}
			change(&Make{Header: Header{Now: f.now}, Parent: dir, Name: fmt.Appendf(nil, "comes-%d-%d", pages, i), Mode: typeFIFO | 0o644})
		}
		n := 0
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f.ReadDir(dir, cookie, func(e DirEntry) bool {
			if n == page {
				return false
			}
			if number, ok := strings.CutPrefix(string(e.Name), "stays-"); ok {
				i, err := strconv.Atoi(number)
				if err != nil {
					t.Fatal(err)
				}
				seen[i]++
				if pages == 20 && n > 0 && behind == "" {
					offset, behind = cookie, string(e.Name)
				}
			}
			cookie = e.Cookie
			n++
			return true
		})
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > page*200 {
			t.Fatalf("page %d took %d bytes of memory", pages, took)
		}
		more = n == page
	}
	for i, times := range seen {
		if times != 1 {
			t.Fatalf("entry %d came %d times", i, times)
		}
	}
	f.ReadDir(dir, offset, func(e DirEntry) bool {
		if string(e.Name) != behind {
			t.Errorf("behind offset %d there is %s, and was %s", offset, e.Name, behind)
		}
		return false
	})
}
