package client

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/client/clienttest"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

const mib = 1 << 20 // the chunk size of these tests

// copyAll copies as cp does, in as many calls as it takes.
func copyAll(t *testing.T, f, dst *File, off, dstOff, n int64) (calls int) {
	t.Helper()
	for n > 0 {
		copied, err := f.CopyRange(t.Context(), dst, off, dstOff, n)
		if err != nil || copied <= 0 || copied > n {
			t.Fatalf("CopyRange(%d, %d, %d) = %d, %v", off, dstOff, n, copied, err)
		}
		off, dstOff, n = off+copied, dstOff+copied, n-copied
		calls++
	}
	return calls
}

func same(t *testing.T, what string, f *File, want []byte) {
	t.Helper()
	if got := contents(t, f); !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes, want %d; the first difference is at %d", what, len(got), len(want), differ(got, want))
	}
}

// written counts the bytes that chunkservers were sent.
func sentTo(cluster *clienttest.Cluster) (frames int) {
	for _, n := range cluster.Nodes {
		frames += n.Count("write") + n.Count("zero")
	}
	return frames
}

func TestCopiesShareWholeChunks(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	a, b := create(t, c, "/a"), create(t, c, "/b")
	want := noise(1, 5*mib+5000)
	mustWrite(t, a, want, 0) // unwritten yet when it is copied
	must(t, a.Flush(t.Context()))
	before := sentTo(cluster)
	if calls := copyAll(t, a, b, 0, 0, int64(len(want))); calls != 1 {
		t.Errorf("%d calls", calls)
	}
	if after := sentTo(cluster); after != before {
		t.Errorf("%d frames were written", after-before)
	}
	same(t, "the copy", b, want)
	same(t, "elsewhere", open(t, connect(t, cluster), "/b", unix.O_RDONLY), want)
	if n, err := a.CopyRange(t.Context(), b, int64(len(want)), 0, 100); n != 0 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}

	// Each goes its own way from here, whichever is written to, and how.
	wantA, wantB := slices.Clone(want), slices.Clone(want)
	mustWrite(t, a, []byte("only in a"), 2*mib+7)
	copy(wantA[2*mib+7:], "only in a")
	mustWrite(t, b, []byte("only in b"), 3*mib-4)
	copy(wantB[3*mib-4:], "only in b")
	must(t, b.PunchHole(t.Context(), 100, 200))
	clear(wantB[100:300])
	must(t, a.Truncate(t.Context(), 4*mib+10))
	must(t, a.Truncate(t.Context(), 4*mib+20))
	wantA = append(wantA[:4*mib+10], make([]byte, 10)...)
	must(t, b.Truncate(t.Context(), int64(len(want)+10)))
	wantB = append(wantB, make([]byte, 10)...)
	must(t, a.Sync(t.Context()))
	must(t, b.Sync(t.Context()))
	same(t, "a", a, wantA)
	same(t, "b", b, wantB)
	other := connect(t, cluster)
	same(t, "a elsewhere", open(t, other, "/a", unix.O_RDONLY), wantA)
	same(t, "b elsewhere", open(t, other, "/b", unix.O_RDONLY), wantB)
	if !cluster.Shared(a.Inode(), 1) || cluster.Shared(a.Inode(), 2) || cluster.Shared(b.Inode(), 0) {
		t.Error("not what is written to is cloned, and nothing else")
	}
}

// What does not lie right, or not on whole chunks, is read and written.
func TestCopiesOfParts(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	a, b := create(t, c, "/a"), create(t, c, "/b")
	source := noise(2, 6*mib+123)
	mustWrite(t, a, source, 0)
	for _, x := range []struct {
		name            string
		off, dstOff, n  int64
		calls           int
		shared, private []uint64
	}{
		{"head, chunks and tail", mib - 10, 3*mib - 10, 2*mib + 30, 3, []uint64{3, 4}, []uint64{2, 5}},
		{"another place in the chunks", 5, 10, 3 * mib, 1, nil, []uint64{0, 1, 2, 3}},
		{"the end of the file", 5 * mib, 9 * mib, 10 * mib, 1, []uint64{9, 10}, nil},
		{"an end in the middle", 6 * mib, 3 * mib, 123, 1, nil, []uint64{3}},
	} {
		t.Run(x.name, func(t *testing.T) {
			must(t, b.Truncate(t.Context(), 0))
			want := noise(3, 8*mib)
			mustWrite(t, b, want, 0)
			n := min(x.n, int64(len(source))-x.off)
			if end := int(x.dstOff + n); end > len(want) {
				want = append(want, make([]byte, end-len(want))...)
			}
			copy(want[x.dstOff:], source[x.off:x.off+n])
			if calls := copyAll(t, a, b, x.off, x.dstOff, n); calls != x.calls {
				t.Errorf("%d calls", calls)
			}
			same(t, "the copy", b, want)
			must(t, b.Flush(t.Context()))
			for _, index := range x.shared {
				if !cluster.Shared(b.Inode(), index) {
					t.Errorf("chunk %d is not shared", index)
				}
			}
			for _, index := range x.private {
				if cluster.Shared(b.Inode(), index) {
					t.Errorf("chunk %d is shared", index)
				}
			}
		})
	}
}

func TestCopiesWithinAFile(t *testing.T) {
	c := connect(t, clienttest.New(t, clienttest.Options{}))
	f := create(t, c, "/f")
	want := noise(4, 4*mib)
	mustWrite(t, f, want, 0)
	copyAll(t, f, f, 0, 2*mib, 2*mib)
	copy(want[2*mib:], want[:2*mib])
	mustWrite(t, f, []byte("x"), 5)
	want[5] = 'x'
	same(t, "the file", f, want)
	_, err := f.CopyRange(t.Context(), f, 0, mib, mib+1)
	wantKind(t, "overlapping", err, proto.Invalid)
}

func TestCopiesThatMakeNoSense(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	f := create(t, c, "/f")
	mustWrite(t, f, []byte("something"), 0)
	must(t, f.Flush(t.Context()))
	reader, writer := open(t, c, "/f", unix.O_RDONLY), open(t, c, "/f", unix.O_WRONLY)
	foreign := create(t, connect(t, cluster), "/g")
	for _, x := range []struct {
		what           string
		from, to       *File
		off, dstOff, n int64
		kind           proto.Kind
	}{
		{"from a writer", writer, f, 0, 100, 1, proto.BadHandle},
		{"to a reader", f, reader, 0, 100, 1, proto.BadHandle},
		{"to another client", f, foreign, 0, 0, 1, proto.CrossDevice},
		{"before the start", f, f, -1, 100, 1, proto.Invalid},
		{"beyond all", f, f, 0, 1<<63 - 1, 5, proto.FileTooBig},
	} {
		_, err := x.from.CopyRange(t.Context(), x.to, x.off, x.dstOff, x.n)
		wantKind(t, x.what, err, x.kind)
	}
}

// A file that another client has open is copied by its bytes, as it stands.
func TestWhatOthersHaveOpenIsCopied(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c, other := connect(t, cluster), connect(t, cluster)
	a := create(t, c, "/a")
	want := noise(5, 2*mib)
	mustWrite(t, a, want, 0)
	must(t, a.Flush(t.Context()))
	writer := open(t, other, "/a", unix.O_RDWR)
	same(t, "the source", writer, want) // its client knows where the chunks are
	b := create(t, c, "/b")
	copyAll(t, a, b, 0, 0, 2*mib)
	mustWrite(t, writer, []byte("later"), 0)
	must(t, writer.Close())
	same(t, "the copy", b, want)
	if cluster.Shared(a.Inode(), 0) {
		t.Error("it is shared all the same")
	}

	// Once it is closed it is shared, and who opened it before asks where to write.
	eventually(t, "release", func() bool { return cluster.Opens(a.Inode()) == 1 })
	must(t, b.Truncate(t.Context(), 0))
	a.ino.unshared = a.ino.unshared.Add(-retryShare)
	copy(want, "later")
	copyAll(t, a, b, 0, 0, 2*mib)
	if !cluster.Shared(a.Inode(), 0) {
		t.Error("it is not shared")
	}
	writer = open(t, other, "/a", unix.O_RDWR)
	mustWrite(t, writer, []byte("later still"), 0)
	must(t, writer.Close())
	same(t, "the copy", b, want)
}

// An answer that is under way while chunks become shared must not lead a write to them.
func TestAnOldAnswerDoesNotUnshare(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	a, b := create(t, c, "/a"), create(t, c, "/b")
	want := noise(6, mib)
	mustWrite(t, a, want, 0)
	must(t, a.Flush(t.Context()))
	old, err := c.locate(t.Context(), a.Inode(), 0)
	must(t, err)
	asked := c.locations.asking()
	copyAll(t, a, b, 0, 0, mib)
	c.locations.putAsked(asked, a.Inode(), 0, old)
	mustWrite(t, a, []byte("only in a"), 0)
	must(t, a.Flush(t.Context()))
	same(t, "the copy", b, want)
}

// Who does not hear whether a copy was made must not write to what it may have shared:
// neither if it was made, nor if it would be later.
func TestACopyOfUnknownFate(t *testing.T) {
	for _, made := range []bool{true, false} {
		cluster := clienttest.New(t, clienttest.Options{})
		c := connect(t, cluster)
		a, b := create(t, c, "/a"), create(t, c, "/b")
		want := noise(7, mib)
		mustWrite(t, a, want, 0)
		must(t, a.Flush(t.Context()))
		late := &pb.CopyRangeRequest{Count: 1, Size: mib, FromChange: a.Attr().Change}
		ctx, cancel := context.WithCancel(t.Context())
		cluster.Hook(func(method string, _ any, after bool) error {
			if method == "CopyRange" && after == made {
				cancel()
				return proto.Unavailable
			}
			return nil
		})
		if _, err := a.CopyRange(ctx, b, 0, 0, mib); err == nil {
			t.Fatal("an answer that was lost is an answer")
		}
		cluster.Hook(nil)
		mustWrite(t, a, []byte("only in a"), 0)
		must(t, a.Flush(t.Context()))
		if !made { // it arrives now
			_, err := a.ino.askShare(t.Context(), b, late)
			wantKind(t, "a copy of an earlier state", err, proto.Busy)
			continue
		}
		same(t, "the copy", open(t, connect(t, cluster), "/b", unix.O_RDONLY), want)
	}
}

// Random copies among two files against a model.
func TestCopiesAgainstModel(t *testing.T) {
	cluster := clienttest.New(t, clienttest.Options{})
	c := connect(t, cluster)
	files := []*File{create(t, c, "/a"), create(t, c, "/b")}
	models := make([][]byte, 2)
	r := rand.New(rand.NewPCG(8, 8))
	place := func() int64 {
		at := r.Int64N(4) * mib
		if r.IntN(2) == 0 {
			at += r.Int64N(mib)
		}
		return at
	}
	put := func(m *[]byte, p []byte, off int64) {
		if end := int(off) + len(p); end > len(*m) {
			*m = append(*m, make([]byte, end-len(*m))...)
		}
		copy((*m)[off:], p)
	}
	for step := range 120 {
		k := r.IntN(2)
		f, m := files[k], &models[k]
		switch r.IntN(6) {
		case 0, 1:
			p, off := noise(uint64(step), 1+r.IntN(mib)), place()
			mustWrite(t, f, p, off)
			put(m, p, off)
		case 2:
			size := place()
			must(t, f.Truncate(t.Context(), size))
			*m = append(*m, make([]byte, max(0, int(size)-len(*m)))...)[:size]
		default:
			l := r.IntN(2)
			off, dstOff, n := place(), place(), place()
			n = min(n, int64(len(*m))-off)
			if n <= 0 || k == l && off < dstOff+n && dstOff < off+n {
				continue
			}
			copyAll(t, f, files[l], off, dstOff, n)
			put(&models[l], slices.Clone((*m)[off:off+n]), dstOff)
		}
		if step%10 == 0 {
			same(t, "a", files[0], models[0])
			same(t, "b", files[1], models[1])
		}
	}
	for k, f := range files {
		must(t, f.Sync(t.Context()))
		same(t, "at the end", f, models[k])
	}
}
