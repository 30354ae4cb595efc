package wal

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// journal is the smallest Machine: it remembers every command in order.
type journal struct {
	mu      sync.Mutex
	entries []string
	last    uint64
	wrong   error // a call that breaks the contract
	refuse  string
}

func (j *journal) Apply(r Record) any {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r.Index != j.last+1 {
		j.wrong = fmt.Errorf("record %d applied after %d", r.Index, j.last)
	}
	if j.refuse != "" && string(r.Data) == j.refuse {
		return proto.E(proto.Malformed, "apply", "", "not understood")
	}
	j.last = r.Index
	j.entries = append(j.entries, string(r.Data))
	return len(j.entries)
}

func (j *journal) Snapshot() (Snapshot, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return &journalSnapshot{last: j.last, entries: slices.Clone(j.entries)}, nil
}

func (j *journal) Restore(r io.Reader) error {
	in := bufio.NewReader(r)
	var prefix [8]byte
	if _, err := io.ReadFull(in, prefix[:]); err != nil {
		return err
	}
	last := binary.LittleEndian.Uint64(prefix[:])
	var entries []string
	for {
		if _, err := io.ReadFull(in, prefix[:]); err == io.EOF {
			break
		} else if err != nil {
			return fmt.Errorf("entry %d: %w", len(entries), err)
		}
		data := make([]byte, binary.LittleEndian.Uint64(prefix[:]))
		if _, err := io.ReadFull(in, data); err != nil {
			return fmt.Errorf("entry %d: %w", len(entries), err)
		}
		entries = append(entries, string(data))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last, j.entries = last, entries
	return nil
}

// list is what was applied; it fails the test if that broke the contract.
func (j *journal) list(t testing.TB) []string {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.wrong != nil {
		t.Fatal(j.wrong)
	}
	return slices.Clone(j.entries)
}

type journalSnapshot struct {
	last     uint64
	entries  []string
	released bool
}

func (s *journalSnapshot) WriteTo(w io.Writer) (int64, error) {
	b := binary.LittleEndian.AppendUint64(nil, s.last)
	for _, e := range s.entries {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(e)))
		b = append(b, e...)
	}
	n, err := w.Write(b)
	return int64(n), err
}

func (s *journalSnapshot) Release() {
	if s.released {
		panic("released twice")
	}
	s.released = true
}

// tiny makes a few records fill a segment; checkpoints are taken when asked for.
func tiny(fsys disk.FS) Options {
	return Options{FS: fsys, Dir: "/meta", SegmentSize: 4 << 10, CheckpointBytes: 1 << 40, CheckpointEvery: -1, CheckpointRate: -1}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func start(t testing.TB, opts Options) (*Group, *journal) {
	t.Helper()
	j := &journal{}
	g, err := Open(opts, j)
	must(t, err)
	return g, j
}

func propose(t testing.TB, g *Group, entries ...string) {
	t.Helper()
	for _, e := range entries {
		_, err := g.Propose(context.Background(), 1, []byte(e))
		must(t, err)
	}
}

// numbered makes entries of some 100 bytes.
func numbered(from, to int) []string {
	var entries []string
	for i := from; i < to; i++ {
		entries = append(entries, fmt.Sprintf("%d %s", i, strings.Repeat("x", 100+i%7)))
	}
	return entries
}

// crash is the disk after a power cut in which all that was written was kept, so
// that no Close touches it.
func crash(m *disk.Mem) *disk.Mem {
	for seed := uint64(0); ; seed++ {
		// One seed in four keeps everything. See which by a mark that is not synced.
		f, err := m.OpenFile("/mark", os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			panic(err)
		}
		if _, err := f.WriteAt(make([]byte, 1<<16), 0); err != nil {
			panic(err)
		}
		clone := m.CrashClone(seed)
		if info, err := clone.Stat("/mark"); err == nil && info.Size() == 1<<16 {
			return clone
		}
	}
}

func files(t testing.TB, fsys disk.FS) []string {
	t.Helper()
	list, err := fsys.ReadDir("/meta")
	must(t, err)
	var names []string
	for _, e := range list {
		if e.Name() != "lock" {
			names = append(names, e.Name())
		}
	}
	return names
}

func segmentFiles(t testing.TB, fsys disk.FS) []string {
	t.Helper()
	return slices.DeleteFunc(files(t, fsys), func(name string) bool { return !strings.HasSuffix(name, ".log") })
}

func checkpointFiles(t testing.TB, fsys disk.FS) []string {
	t.Helper()
	return slices.DeleteFunc(files(t, fsys), func(name string) bool { return !strings.HasPrefix(name, "checkpoint-") })
}

func read(t testing.TB, fsys disk.FS, name string) []byte {
	t.Helper()
	data, err := disk.ReadFile(fsys, "/meta/"+name, 1<<30)
	must(t, err)
	return data
}

// write replaces the content of a file.
func write(t testing.TB, fsys disk.FS, name string, data []byte) {
	t.Helper()
	f, err := fsys.OpenFile("/meta/"+name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	must(t, err)
	_, err = f.WriteAt(data, 0)
	must(t, errors.Join(err, f.Sync(), f.Close()))
}

func equal(t testing.TB, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%d entries, want %d: %.60q, want %.60q", len(got), len(want), got, want)
	}
}

// refused expects Open to fail with a kind, in one line that says all of those.
func refused(t testing.TB, opts Options, kind proto.Kind, says ...string) {
	t.Helper()
	g, err := Open(opts, &journal{})
	if err == nil {
		g.Close()
		t.Fatal("the start was not refused")
	}
	if !errors.Is(err, kind) {
		t.Errorf("kind %v: %v", proto.KindOf(err), err)
	}
	for _, part := range says {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q: %v", part, err)
		}
	}
}
