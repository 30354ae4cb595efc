package data

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

// Holes take no chunks and read as zeros; so does what truncation cut off and
// uncovered again.
func TestHolesReadAsZeros(t *testing.T) {
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20})
	m := c.Mount()
	const far = 50<<20 + 12345
	c.Shell(m.Path, fmt.Sprintf(`printf end | dd of=sparse bs=1 seek=%d conv=notrunc,fsync status=none`, far))
	if n := len(c.ChunkFiles()); n != 1 {
		t.Errorf("a file 51 chunks long, written in one of them, has %d chunks", n)
	}
	c.Shell(m.Path, fmt.Sprintf(`
		head -c 10000 /dev/zero | tr '\0' x | dd of=sparse conv=notrunc status=none
		truncate -s 5000 sparse
		truncate -s %d sparse`, far+3))
	want := filepath.Join(t.TempDir(), "want")
	c.Shell("/", fmt.Sprintf(`head -c 5000 /dev/zero | tr '\0' x >%s; truncate -s %d %[1]s`, want, far+3))
	c.Shell(m.Path, "cmp sparse "+want)
	m.Remount()
	c.Shell(m.Path, "cmp sparse "+want)
}

// Each chunk is three identical files on three chunkservers, and they begin with
// the file's own bytes.
func TestChunksAreThreeEqualPlainFiles(t *testing.T) { // G1
	const chunk = 1 << 20
	c := cluster.Start(t, cluster.Options{ChunkSize: chunk})
	m := c.Mount()
	content := make([]byte, 5*chunk+777)
	rand.NewChaCha8([32]byte{1}).Read(content)
	local := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(local, content, 0o644); err != nil {
		t.Fatal(err)
	}
	c.Shell(m.Path, "cp "+local+" file")

	found := c.ChunkFiles()
	if len(found) != 6 {
		t.Fatalf("%d chunks, want 6", len(found))
	}
	seen := map[int]bool{}
	for uuid, replicas := range found {
		servers := map[*cluster.Process]bool{}
		for _, r := range replicas {
			servers[r.Server] = true
		}
		if len(replicas) != 3 || len(servers) != 3 {
			t.Errorf("chunk %s: %d replicas on %d chunkservers, want 3 on 3", uuid, len(replicas), len(servers))
		}
		// A chunk that was written a moment ago is marked so in its footer, until each server has settled it.
		var first []byte
		cluster.Until(t, cluster.StartLimit, "all replicas of chunk "+uuid+" are equal", func() error {
			first = read(t, replicas[0].Path)
			for _, r := range replicas[1:] {
				if got := read(t, r.Path); !bytes.Equal(got, first) {
					return fmt.Errorf("%s and %s differ, %s", r.Path, replicas[0].Path, firstDifference(got, first))
				}
			}
			return nil
		})
		index := indexOf(first, content, chunk)
		if index < 0 || seen[index] {
			t.Errorf("chunk %s begins with the bytes of no chunk of the file, or of one seen before (%d)", uuid, index)
		}
		seen[index] = true
	}
}

// indexOf finds which chunk of the content a chunk file begins with.
func indexOf(file, content []byte, chunk int) int {
	for i := 0; i*chunk < len(content); i++ {
		if bytes.HasPrefix(file, content[i*chunk:min(len(content), (i+1)*chunk)]) {
			return i
		}
	}
	return -1
}

// Deleting gives the space back, but not under an open file.
func TestDeletedFilesFreeTheirChunks(t *testing.T) {
	c := cluster.Start(t, cluster.Options{ChunkSize: 1 << 20})
	m := c.Mount()
	c.Shell(m.Path, `for i in 1 2 3 4 5; do head -c 2M /dev/urandom >$i; done; sha256sum <5 >`+m.Path+`/sum`)
	chunks := func(want int) {
		t.Helper()
		cluster.Until(t, cluster.StartLimit, fmt.Sprintf("%d chunks are left", want), func() error {
			if n := len(c.ChunkFiles()); n != want {
				return fmt.Errorf("there are %d", n)
			}
			return nil
		})
	}
	chunks(11)
	release := filepath.Join(t.TempDir(), "release")
	reader := c.Command(m.Path, "bash", "-ec", `exec 3<5; rm 1 2 3 4 5; until test -e "$0"; do sleep 0.05; done; sha256sum <&3 | cmp - sum`, release)
	chunks(3)
	if err := os.WriteFile(release, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	reader.Must()
	chunks(1)
}

func TestNamesAndSizesOutOfBounds(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	m := c.Mount()
	c.Job("out of bounds", m.Path).Must()
}

func init() { cluster.Register("out of bounds", outOfBounds) }

func outOfBounds(args []string) error {
	long := string(bytes.Repeat([]byte{'n'}, 256))
	if _, err := os.Create(filepath.Join(args[0], long)); !errors.Is(err, syscall.ENAMETOOLONG) {
		return fmt.Errorf("a name of 256 bytes: %w", err)
	}
	f, err := os.Create(filepath.Join(args[0], long[:255]))
	if err != nil {
		return fmt.Errorf("a name of 255 bytes: %w", err)
	}
	// The kernel's own bound is ours too: a sparse file may be as long as an offset can say.
	const last = 1<<63 - 2
	if _, err := f.WriteAt([]byte{1}, last); err != nil {
		return fmt.Errorf("the last byte there can be: %w", err)
	}
	got := make([]byte, 2)
	if n, err := f.ReadAt(got, last-1); n != 2 || got[0] != 0 || got[1] != 1 {
		return fmt.Errorf("the last two bytes: %v, %d, %w", got, n, err)
	}
	if err := syscall.Truncate(f.Name(), -1); !errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("a negative size: %w", err)
	}
	return f.Close()
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
