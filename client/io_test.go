package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/proto"
)

func TestSmallFile(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/small")
	data := noise(1, 5000)
	mustWrite(t, f, data[:3000], 0)
	mustWrite(t, f, data[3000:], 3000)
	if got := f.Attr().Size; got != 5000 {
		t.Errorf("size %d before the close", got)
	}
	ino := f.Inode()
	must(t, f.Close())
	// Not one call more than create and commit.
	if n := cluster.Count("AssignChunk") + cluster.Count("GetChunkLocation") + cluster.Count("Open"); n != 0 {
		t.Errorf("%d calls too many", n)
	}
	if n := cluster.Count("Commit"); n != 1 {
		t.Errorf("%d commits", n)
	}
	for _, node := range cluster.Nodes { // G1: what close returned is on every replica
		if got, _, ok := cluster.Replica(node, ino, 0); !ok || !bytes.Equal(got, data) {
			t.Errorf("node %d holds %d bytes, %v", node.ID, len(got), ok)
		}
	}
	other := connect(t, cluster) // an open sees what was closed before it
	g := open(t, other, "/small", unix.O_RDONLY)
	if got := contents(t, g); !bytes.Equal(got, data) {
		t.Errorf("another client reads %d bytes", len(got))
	}
	must(t, g.Close())
	eventually(t, "release", func() bool { return cluster.Opens(ino) == 0 })
}

func TestSyncReachesEveryDisk(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	mustWrite(t, f, noise(1, 3<<20), 0)
	must(t, f.Sync(t.Context()))
	for index := range uint64(3) { // G1
		for _, node := range cluster.Nodes {
			if _, synced, ok := cluster.Replica(node, f.Inode(), index); !ok || !synced {
				t.Errorf("chunk %d on node %d: there %v, synced %v", index, node.ID, ok, synced)
			}
		}
	}
	before := cluster.Count("Commit")
	must(t, f.Sync(t.Context()))
	if cluster.Count("Commit") != before {
		t.Error("a sync of nothing cost a commit")
	}
}

// TestOracle compares a random history of two files open of one inode with a
// byte slice.
func TestOracle(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			runOracle(t, seed, 400)
		})
	}
}

type oracle struct {
	t       *testing.T
	rnd     *rand.Rand
	cluster *clienttest.Cluster
	c       *Client
	files   [2]*File
	want    []byte
}

const oracleMax = 5<<20 + 4321 // bytes of the file

func runOracle(t *testing.T, seed uint64, steps int) {
	cluster := clienttest.New(t, clienttest.Options{})
	o := &oracle{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), cluster: cluster, c: connect(t, cluster, func(o *Options) { o.WriteBuffer = minBuffer })}
	o.files[0] = create(t, o.c, "/f")
	o.files[1] = open(t, o.c, "/f", unix.O_RDWR)
	for step := range steps {
		o.step(step)
	}
	for _, f := range o.files {
		must(t, f.Close())
	}
	o.compare(open(t, connect(t, cluster), "/f", unix.O_RDONLY))
}

func (o *oracle) step(step int) {
	f := o.files[o.rnd.IntN(2)]
	switch k := o.rnd.IntN(100); {
	case k < 45:
		o.write(f, uint64(step))
	case k < 70:
		o.read(f)
	case k < 80:
		o.space(f)
	case k < 86:
		o.seek(f)
	case k < 90:
		o.truncate(f)
	case k < 94:
		must(o.t, f.Flush(o.t.Context()))
	case k < 96:
		must(o.t, f.Sync(o.t.Context()))
	case k < 98:
		o.cluster.Bump(f.Inode())
	default:
		which := o.rnd.IntN(2)
		must(o.t, o.files[which].Close())
		o.files[which] = open(o.t, o.c, "/f", unix.O_RDWR)
	}
	if got := int(f.Attr().Size); !f.closed.Load() && got != len(o.want) {
		o.t.Fatalf("step %d: size %d, want %d", step, got, len(o.want))
	}
}

// span picks a range, often around a border or the end of the file.
func (o *oracle) span() (off, n int) {
	switch o.rnd.IntN(4) {
	case 0:
		off = o.rnd.IntN(oracleMax)
	case 1:
		off = max(0, min(oracleMax, len(o.want))-o.rnd.IntN(10000))
	case 2:
		off = max(0, o.rnd.IntN(6)<<20-o.rnd.IntN(5000))
	default:
		off = len(o.want)
	}
	n = 1 + o.rnd.IntN(1<<(1+o.rnd.IntN(21)))
	return off, max(0, min(n, oracleMax-off))
}

func (o *oracle) write(f *File, seed uint64) {
	off, n := o.span()
	p := noise(seed, n)
	mustWrite(o.t, f, p, int64(off))
	if n > 0 && off+n > len(o.want) {
		o.want = append(o.want, make([]byte, off+n-len(o.want))...)
	}
	copy(o.want[min(off, len(o.want)):], p)
	clear(p) // the caller may do with it what it likes
}

func (o *oracle) read(f *File) {
	off, n := o.span()
	got := make([]byte, n)
	k, err := f.ReadAt(got, int64(off))
	want := o.want[min(off, len(o.want)):min(off+n, len(o.want))]
	if k != len(want) || !bytes.Equal(got[:k], want) || (err == io.EOF) != (k < n) || err != nil && err != io.EOF {
		o.t.Fatalf("ReadAt(%d bytes, %d) = %d, %v; want %d bytes; first difference at %d", n, off, k, err, len(want), differ(got[:k], want))
	}
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func (o *oracle) truncate(f *File) {
	size := o.rnd.IntN(oracleMax)
	if o.rnd.IntN(2) == 0 && len(o.want) > 0 {
		size = len(o.want) - o.rnd.IntN(min(len(o.want), 100000))
	}
	must(o.t, f.Truncate(o.t.Context(), int64(size)))
	if size <= len(o.want) {
		clear(o.want[size:])
		o.want = o.want[:size]
		return
	}
	o.want = append(o.want, make([]byte, size-len(o.want))...)
}

// space allocates, zeroes or punches a range.
func (o *oracle) space(f *File) {
	off, n := o.span()
	if o.rnd.IntN(3) == 0 { // whole chunks, to the end of the file or short of it
		off = off >> 20 << 20
		n = 1 << 20 * (1 + o.rnd.IntN(3))
	}
	n = max(n, 1)
	ctx, keep := o.t.Context(), o.rnd.IntN(2) == 0
	if o.rnd.IntN(4) == 0 {
		must(o.t, f.Allocate(ctx, int64(off), int64(n), keep))
	} else {
		must(o.t, f.ZeroRange(ctx, int64(off), int64(n), keep))
		clear(o.want[min(off, len(o.want)):min(off+n, len(o.want))])
	}
	if !keep && off+n > len(o.want) {
		o.want = append(o.want, make([]byte, off+n-len(o.want))...)
	}
}

// seek goes through the whole file: between holes and data nothing may be missing,
// and no hole may hold anything.
func (o *oracle) seek(f *File) {
	ctx := o.t.Context()
	size := int64(len(o.want))
	for at := int64(0); at < size; {
		data, err := f.SeekData(ctx, at)
		if proto.KindOf(err) == proto.NoData {
			data, err = size, nil
		}
		must(o.t, err)
		if data < at || data > size || len(bytes.TrimLeft(o.want[at:data], "\x00")) > 0 {
			o.t.Fatalf("data at %d is said to begin at %d of %d", at, data, size)
		}
		if data == size {
			break
		}
		if hole, err := f.SeekHole(ctx, at); err != nil || data > at && hole != at {
			o.t.Fatalf("hole from %d on at %d, %v; data is at %d", at, hole, err, data)
		}
		if at, err = f.SeekHole(ctx, data); err != nil || at <= data || at > size {
			o.t.Fatalf("data at %d ends at %d, %v", data, at, err)
		}
	}
	for _, off := range []int64{-1, size, size + 1} {
		_, err := f.SeekHole(ctx, off)
		wantKind(o.t, "seek beyond the file", err, proto.NoData)
	}
}

func (o *oracle) compare(f *File) {
	got := contents(o.t, f)
	if !bytes.Equal(got, o.want) {
		o.t.Fatalf("%d bytes, want %d; first difference at %d", len(got), len(o.want), differ(got, o.want))
	}
	must(o.t, f.Close())
}

func TestHolesReadZero(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	mustWrite(t, f, []byte("end"), 5<<20)
	want := append(make([]byte, 5<<20), "end"...)
	if got := contents(t, f); !bytes.Equal(got, want) {
		t.Error("before the flush")
	}
	must(t, f.Flush(t.Context()))
	if got := contents(t, f); !bytes.Equal(got, want) {
		t.Error("after the flush")
	}
	if chain := cluster.Chain(f.Inode(), 2); chain != nil {
		t.Error("a hole got a chunk")
	}
}

func TestTailIsZeroedBeforeItComesBack(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	for name, grow := range map[string]func(f *File) error{
		"write over a gap": func(f *File) error { _, err := f.WriteAt([]byte("x"), 300000); return err },
		"next chunk":       func(f *File) error { _, err := f.WriteAt([]byte("x"), 1<<20+5); return err },
		"truncate upwards": func(f *File) error { return f.Truncate(t.Context(), 300000) },
		"by inode": func(f *File) error {
			size := uint64(300000)
			_, err := c.SetAttr(t.Context(), root, f.Inode(), SetAttr{Size: &size})
			return err
		},
	} {
		f := create(t, c, "/f")
		mustWrite(t, f, bytes.Repeat([]byte{0xff}, 500000), 0)
		must(t, f.Truncate(t.Context(), 1000))
		must(t, f.Close())
		f = open(t, c, "/f", unix.O_RDWR)
		must(t, grow(f))
		must(t, f.Flush(t.Context()))
		got := contents(t, f)
		for i := 1000; i < min(len(got), 300000); i++ {
			if got[i] != 0 {
				t.Errorf("%s: byte %d came back", name, i)
				break
			}
		}
		must(t, f.Close())
	}
}

func TestTruncatingOpenDropsWhatIsUnwritten(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	for name, again := range map[string]func() (*File, error){
		"open": func() (*File, error) { return c.OpenFile(t.Context(), "/f", unix.O_RDWR|unix.O_TRUNC, 0) },
		"create": func() (*File, error) {
			return c.CreateInode(t.Context(), root, 1, "f", 0o644, unix.O_RDWR|unix.O_TRUNC)
		},
	} {
		f := create(t, c, "/f")
		mustWrite(t, f, noise(1, 3<<20), 0)
		g, err := again()
		must(t, err)
		if size := f.Attr().Size; size != 0 {
			t.Errorf("%s: size %d", name, size)
		}
		mustWrite(t, g, []byte("new"), 0)
		must(t, f.Close())
		if got := contents(t, g); string(got) != "new" {
			t.Errorf("%s: %d bytes", name, len(got))
		}
		must(t, g.Close())
	}
}

func TestAppend(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/log")
	a := open(t, c, "/log", unix.O_WRONLY|unix.O_APPEND)
	b := open(t, c, "/log", unix.O_WRONLY|unix.O_APPEND)
	done := make(chan error)
	const each = 200
	for _, f := range []*File{a, b} {
		go func() {
			for range each {
				if _, err := f.WriteAt([]byte("a line of a log\n"), 0); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	must(t, errors.Join(<-done, <-done))
	want := bytes.Repeat([]byte("a line of a log\n"), 2*each)
	if got := contents(t, f); !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

func TestAccessModes(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	must(t, f.Close())
	_, err := f.WriteAt([]byte("x"), 0)
	wantKind(t, "write after close", err, proto.BadHandle)
	wantKind(t, "second close", f.Close(), proto.BadHandle)
	r := open(t, c, "/f", unix.O_RDONLY)
	_, err = r.WriteAt([]byte("x"), 0)
	wantKind(t, "write to a file open for reading", err, proto.BadHandle)
	wantKind(t, "truncate of one", r.Truncate(t.Context(), 0), proto.BadHandle)
	w := open(t, c, "/f", unix.O_WRONLY)
	_, err = w.ReadAt(make([]byte, 1), 0)
	wantKind(t, "read of a file open for writing", err, proto.BadHandle)
	_, err = w.WriteAt([]byte("x"), -1)
	wantKind(t, "write before the start", err, proto.Invalid)
	_, err = w.WriteAt([]byte("x"), 1<<63-1)
	wantKind(t, "write behind the end of all files", err, proto.FileTooBig)
}
