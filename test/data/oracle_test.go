package data

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

// maxSize keeps the random file within a dozen chunks of 1 MiB.
const maxSize = 12 << 20

// Random writes, overwrites, copies, allocations, holes and truncations over many chunks, compared
// with a local file byte by byte: at once, on a second mount, by a new mount and
// after every server was killed.
func TestRandomCallsMatchALocalFile(t *testing.T) { // G1, G3, G5
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20})
	m, other := c.Mount(), c.Mount()
	seed := rand.Uint64()
	for round := range uint64(4) {
		name := fmt.Sprintf("random-%d", round)
		t.Logf("%s: seed %d", name, seed+round)
		oracle := filepath.Join(t.TempDir(), name)
		same := func(m *cluster.Mount, when string) {
			t.Helper()
			if out, err := c.Command("/", "cmp", oracle, filepath.Join(m.Path, name)).Wait(cluster.JobLimit); err != nil {
				t.Fatalf("%s: %v: %s", when, err, out)
			}
		}
		c.Job("random calls", filepath.Join(m.Path, name), oracle, strconv.FormatUint(seed+round, 10)).Must()
		same(other, "on another mount, after close")
		m.Remount()
		same(m, "after a remount")
		for _, p := range append(c.Chunkservers, c.Master) {
			p.Kill()
			p.Launch()
		}
		c.WaitAlive()
		m.DropCaches()
		same(m, "after every server was killed and started again")
	}
}

func init() { cluster.Register("random calls", randomCalls) }

// twin is one file on the mount and its oracle on a local disk: every call goes to
// both, and both must answer the same.
type twin struct {
	mount, oracle *os.File
	random        *rand.Rand
}

func randomCalls(args []string) error {
	seed, err := strconv.ParseUint(args[2], 10, 64)
	if err != nil {
		return err
	}
	w := &twin{random: rand.New(rand.NewPCG(seed, 0))}
	if w.mount, err = os.OpenFile(args[0], os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o644); err != nil {
		return err
	}
	if w.oracle, err = os.Create(args[1]); err != nil {
		return err
	}
	var history []string
	for range 120 {
		what, err := w.step()
		history = append(history, what)
		if err != nil {
			return fmt.Errorf("%w\nafter %q", err, history)
		}
	}
	return w.mount.Close()
}

func (w *twin) step() (string, error) {
	switch n := w.random.IntN(30); {
	case n < 9:
		return w.write()
	case n < 11:
		return w.truncate()
	case n < 19:
		return w.read()
	case n < 23:
		return w.allocate()
	case n < 25:
		return w.seek()
	case n < 29:
		return w.copyRange()
	default:
		return "fsync", w.mount.Sync()
	}
}

func (w *twin) offset() int64 {
	if w.random.IntN(3) == 0 { // close to a border between chunks
		return max(0, int64(w.random.IntN(maxSize>>20))<<20-int64(w.random.IntN(8192)))
	}
	return int64(w.random.IntN(maxSize))
}

func (w *twin) length() int {
	switch w.random.IntN(4) {
	case 0:
		return 1 + w.random.IntN(100)
	case 1:
		return 4096 * (1 + w.random.IntN(8))
	case 2:
		return 1 + w.random.IntN(3<<20)
	default:
		return 1 + w.random.IntN(20000)
	}
}

func (w *twin) write() (string, error) {
	data := make([]byte, w.length())
	for i := range data {
		data[i] = byte(w.random.Uint32())
	}
	at := w.offset()
	what := fmt.Sprintf("write %d bytes at %d", len(data), at)
	if _, err := w.oracle.WriteAt(data, at); err != nil {
		return what, err
	}
	_, err := w.mount.WriteAt(data, at)
	return what, err
}

func (w *twin) truncate() (string, error) {
	size := w.offset()
	what := fmt.Sprintf("truncate to %d", size)
	if err := w.oracle.Truncate(size); err != nil {
		return what, err
	}
	return what, w.mount.Truncate(size)
}

func (w *twin) read() (string, error) {
	want := make([]byte, w.length())
	got := make([]byte, len(want))
	at := w.offset()
	what := fmt.Sprintf("read %d bytes at %d", len(want), at)
	wantN, wantErr := w.oracle.ReadAt(want, at)
	gotN, gotErr := w.mount.ReadAt(got, at)
	if gotErr != nil && gotErr != io.EOF {
		return what, gotErr
	}
	if gotN != wantN || gotErr != wantErr {
		return what, fmt.Errorf("%d, %v; the local file gives %d, %v", gotN, gotErr, wantN, wantErr)
	}
	if !bytes.Equal(got[:gotN], want[:wantN]) {
		return what, fmt.Errorf("bytes differ, %s", firstDifference(got[:gotN], want[:wantN]))
	}
	return what, nil
}

func firstDifference(got, want []byte) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("first at %d: %#x, want %#x", i, got[i], want[i])
		}
	}
	return "in length only"
}
