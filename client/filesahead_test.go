package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/pipeline"
	"github.com/distrifs/distrifs/proto"
)

const smallFile = 5000

// watchedData is a data plane whose reads are counted, and those ahead held up or failed.
type watchedData struct {
	dataPlane
	reads, ahead atomic.Int64
	hold         chan struct{} // not nil: until it is closed
	fail         bool
}

func (d *watchedData) Read(ctx context.Context, r pipeline.ReadRequest, dst []byte) (int, error) {
	d.reads.Add(1)
	return d.dataPlane.Read(ctx, r, dst)
}

func (d *watchedData) ReadEach(ctx context.Context, list []pipeline.ReadRequest, into [][]byte, done func(k, n int, err error)) {
	d.ahead.Add(int64(len(list)))
	d.dataPlane.ReadEach(ctx, list, into, func(k, n int, err error) {
		go func() {
			if d.hold != nil {
				<-d.hold
			}
			if d.fail {
				n, err = 0, proto.E(proto.Unavailable, "read", "", "a test has it so")
			}
			done(k, n, err)
		}()
	})
}

// rowOfFiles gives two clients and a directory of files that the first has made, which the second has
// listed.
func rowOfFiles(t *testing.T, files int) (a, b *Client, data *watchedData) {
	t.Helper()
	return mixedFiles(t, files, 1)
}

// mixedFiles is rowOfFiles where each file is listed so many behind the one before by name.
func mixedFiles(t *testing.T, files, step int) (a, b *Client, data *watchedData) {
	t.Helper()
	cluster := leasing(t)
	a, b = connect(t, cluster, checked), connect(t, cluster, checked)
	must(t, a.MkdirAll(t.Context(), "/d", 0o755))
	for i := range files {
		k := i * step % files
		f := create(t, a, inRow(k))
		mustWrite(t, f, noise(uint64(k), smallFile), 0)
		must(t, f.Close())
	}
	data = &watchedData{dataPlane: b.data}
	b.data, b.ahead.patience = data, time.Minute // a machine with much to do is no reason to read twice
	listRow(t, b, files)
	return a, b, data
}

func inRow(k int) string { return fmt.Sprintf("/d/%03d", k) }

func listRow(t *testing.T, c *Client, files int) {
	t.Helper()
	dir, err := c.Stat(t.Context(), "/d")
	must(t, err)
	listed, cookie := 0, uint64(0)
	for {
		page, err := c.ReadDir(t.Context(), root, dir.Inode, cookie, true)
		must(t, err)
		if listed += len(page.Entries); page.End {
			break
		}
		cookie = page.Entries[len(page.Entries)-1].Cookie
	}
	if listed != files {
		t.Fatalf("%d names of %d", listed, files)
	}
}

// wantFile wants a file to hold that, and reads it at once.
func wantFile(t *testing.T, c *Client, name string, want []byte) {
	t.Helper()
	f := open(t, c, name, unix.O_RDONLY)
	defer f.Close()
	got := make([]byte, 2*smallFile)
	n, err := f.ReadAt(got, 0)
	if err != io.EOF || !bytes.Equal(got[:n], want) {
		t.Fatalf("%s has %d bytes (%v), or others than the %d that were written", name, n, err, len(want))
	}
}

func wantRow(t *testing.T, c *Client, from, to int) {
	t.Helper()
	for k := from; k < to; k++ {
		wantFile(t, c, inRow(k), noise(uint64(k), smallFile))
	}
}

func wantNothingHeld(t *testing.T, c *Client) {
	t.Helper()
	eventually(t, "all memory is given back", func() bool {
		if !c.readBudget.TryAcquire(c.opts.ReadBuffer) {
			return false
		}
		c.readBudget.Release(c.opts.ReadBuffer)
		return true
	})
}

func TestFilesOfARowAreReadAhead(t *testing.T) {
	const files = 60
	_, b, data := rowOfFiles(t, files)
	wantRow(t, b, 0, files)
	if direct, ahead := data.reads.Load(), data.ahead.Load(); direct != 2 || ahead != files-2 {
		t.Errorf("%d files were read by themselves and %d ahead, want 2 and %d", direct, ahead, files-2)
	}
	wantNothingHeld(t, b)
	wantRow(t, b, 0, files)
	if ahead := data.ahead.Load(); ahead != files-2 {
		t.Errorf("files that were read before were read ahead: %d", ahead-files+2)
	}
}

func TestARowHasGaps(t *testing.T) {
	const files = 60
	_, b, data := rowOfFiles(t, files)
	for k := 0; k < files; k += 2 {
		wantRow(t, b, k, k+1)
	}
	if direct := data.reads.Load(); direct > 4 {
		t.Errorf("%d files of %d were read by themselves", direct, files/2)
	}
	if held := b.ahead.bytes; held > files*smallFile {
		t.Errorf("%d bytes are held", held)
	}
}

func TestFilesInTheOrderOfNamesAreReadAhead(t *testing.T) {
	const files = 100
	_, b, data := mixedFiles(t, files, 37)
	wantRow(t, b, 0, 10)
	first, err := b.Stat(t.Context(), inRow(10))
	must(t, err)
	second, err := b.Stat(t.Context(), inRow(11))
	must(t, err)
	eventually(t, "the names are sorted", func() bool {
		b.leases.mu.Lock()
		defer b.leases.mu.Unlock()
		return b.leases.held[first.Inode].row.next == second.Inode
	})
	before := data.reads.Load()
	wantRow(t, b, 10, files)
	if direct := data.reads.Load() - before; direct > 3 {
		t.Errorf("%d files were read by themselves", direct)
	}
}

func TestNoRowNothingAhead(t *testing.T) {
	const files, step = 500, 31 // who is opened within 64 of one another is far away in the row
	_, b, data := rowOfFiles(t, files)
	for k := range files {
		wantRow(t, b, k*step%files, k*step%files+1)
	}
	if ahead := data.ahead.Load(); ahead > 0 {
		t.Errorf("%d files were read ahead of nobody", ahead)
	}
}

func TestWhatOthersWriteMeanwhileIsRead(t *testing.T) {
	for _, held := range []bool{false, true} { // under way, or there
		a, b, data := rowOfFiles(t, 20)
		if held {
			data.hold, b.ahead.patience = make(chan struct{}), aheadWait
		}
		wantRow(t, b, 0, 4)
		late := noise(99, smallFile)
		for k := 4; k < 20; k++ {
			f := open(t, a, inRow(k), unix.O_WRONLY)
			mustWrite(t, f, late, 0)
			must(t, f.Close())
		}
		if held {
			close(data.hold)
		}
		for k := 4; k < 20; k++ {
			wantFile(t, b, inRow(k), late)
		}
	}
}

func TestWhatIsWrittenHereMeanwhileIsRead(t *testing.T) {
	for _, held := range []bool{false, true} {
		_, b, data := rowOfFiles(t, 20)
		if held {
			data.hold, b.ahead.patience = make(chan struct{}), aheadWait
		}
		wantRow(t, b, 0, 4)
		late := noise(99, 100)
		for k := 4; k < 20; k++ {
			switch k % 3 {
			case 0:
				f := open(t, b, inRow(k), unix.O_RDWR)
				mustWrite(t, f, late, 0)
				must(t, f.Truncate(t.Context(), 100))
				must(t, f.Close())
			case 1:
				must(t, open(t, b, inRow(k), unix.O_RDWR|unix.O_TRUNC).Close())
			default:
				attr, err := b.Stat(t.Context(), inRow(k))
				must(t, err)
				size := uint64(100)
				_, err = b.SetAttr(t.Context(), root, attr.Inode, SetAttr{Size: &size})
				must(t, err)
			}
		}
		if held {
			close(data.hold)
		}
		for k := 4; k < 20; k++ {
			want := [][]byte{late, nil, noise(uint64(k), smallFile)[:100]}[k%3]
			wantFile(t, b, inRow(k), want)
		}
	}
}

// A file that was opened with what was fetched of it, and is then written to.
func TestWhatIsWrittenAfterTheOpenIsRead(t *testing.T) {
	a, b, _ := rowOfFiles(t, 20)
	wantRow(t, b, 0, 4)
	for k, who := range map[int]*Client{4: a, 5: b} {
		f := open(t, b, inRow(k), unix.O_RDONLY)
		g := open(t, who, inRow(k), unix.O_WRONLY)
		late := noise(99, smallFile)
		mustWrite(t, g, late, 0)
		must(t, g.Sync(t.Context()))
		if got := contents(t, f); !bytes.Equal(got, late) {
			t.Errorf("file %d: what was written before the read is not there", k)
		}
		must(t, g.Close())
		must(t, f.Close())
	}
}

func TestWhatCouldNotBeReadAheadIsRead(t *testing.T) {
	_, b, data := rowOfFiles(t, 30)
	data.fail = true
	wantRow(t, b, 0, 30)
	if data.ahead.Load() == 0 {
		t.Error("nothing was tried")
	}
	wantNothingHeld(t, b)
}

// What nobody is known to have is not asked for ahead, but in the usual way.
func TestWhatNobodyHasIsNotReadAhead(t *testing.T) {
	_, b, _ := rowOfFiles(t, 30)
	for k := 5; k < 30; k++ {
		attr, err := b.Stat(t.Context(), inRow(k))
		must(t, err)
		loc, ok := b.locations.get(attr.Inode, 0)
		if !ok {
			t.Fatalf("file %d is nowhere", k)
		}
		loc.version, loc.chain = loc.version+1, nil
		b.locations.put(attr.Inode, 0, loc)
	}
	wantRow(t, b, 0, 5)
	f := open(t, b, inRow(5), unix.O_RDONLY)
	defer f.Close()
	if f.ino.fetched != nil {
		t.Error("it was asked for all the same")
	}
}

func TestNobodyWaitsLongForWhatIsReadAhead(t *testing.T) {
	_, b, data := rowOfFiles(t, 30)
	data.hold, b.ahead.patience = make(chan struct{}), aheadWait
	wantRow(t, b, 0, 30)
	close(data.hold)
	wantNothingHeld(t, b)
}

func TestFilesAheadAreBounded(t *testing.T) {
	table := newFilesAhead(connect(t, clienttest.New(t, clienttest.Options{})).readBudget)
	var all []*aheadFile
	for k := range 3 * aheadTable / aheadLargest {
		f := &aheadFile{ino: proto.InodeID(100 + k), size: aheadLargest, ready: make(chan struct{})}
		if !table.add(f) {
			t.Fatalf("no room for file %d", k)
		}
		all = append(all, f)
	}
	if table.bytes != aheadTable || len(table.files) != aheadTable/aheadLargest || table.used.Len() != len(table.files) {
		t.Errorf("%d bytes in %d files, %d of them in order", table.bytes, len(table.files), table.used.Len())
	}
	for _, f := range all {
		if oldest := f.ino < all[2*len(all)/3].ino; (table.take(f.ino) == nil) != oldest {
			t.Fatalf("file %d: the oldest are to go", f.ino)
		} else if !oldest {
			table.done(f)
		}
		table.arrived(f, true)
	}
	if !table.budget.TryAcquire(DefaultReadBuffer) {
		t.Error("memory was not given back")
	}
	if table.bytes != 0 {
		t.Errorf("%d bytes are left", table.bytes)
	}
}
