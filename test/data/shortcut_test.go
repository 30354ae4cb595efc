package data

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/distrifs/distrifs/test/cluster"
)

func init() {
	cluster.Register("compare", compare)
	cluster.Register("rewrite", rewrite)
}

const comparePiece = 64 << 10

// compare reads a file past the kernel's cache again and again, and fails at the first byte
// that is not that of a local one, until a third file is there. Arguments: the three.
func compare(args []string) error {
	want, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	file, err := os.OpenFile(args[0], os.O_RDONLY|syscall.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	got := make([]byte, comparePiece)
	for {
		for at := 0; at < len(want); at += comparePiece {
			if _, err := file.ReadAt(got, int64(at)); err != nil {
				return err
			}
			if !bytes.Equal(got, want[at:at+comparePiece]) {
				return fmt.Errorf("at %d: %s", at, firstDifference(got, want[at:at+comparePiece]))
			}
		}
		if _, err := os.Stat(args[2]); err == nil {
			return nil
		}
	}
}

// rewrite has one mount write, and another one read at once, without either closing the
// file. Arguments: the file in both.
func rewrite(args []string) error {
	writer, err := os.OpenFile(args[0], os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer writer.Close()
	reader, err := os.OpenFile(args[1], os.O_RDONLY|syscall.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer reader.Close()
	want, got := make([]byte, comparePiece), make([]byte, comparePiece)
	for round := range 20 {
		rand.Read(want)
		if _, err := writer.WriteAt(want, 0); err != nil {
			return err
		}
		for again := range 5 { // the later ones without a chunkserver
			if _, err := reader.ReadAt(got, 0); err != nil {
				return err
			}
			if !bytes.Equal(got, want) {
				return fmt.Errorf("round %d, read %d: %s", round, again, firstDifference(got, want))
			}
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

// borrowed lists the chunk files that a mount has open.
func borrowed(m *cluster.Mount) (paths []string) {
	dir := fmt.Sprintf("/proc/%d/fd", m.Pid())
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		path, _ := os.Readlink(filepath.Join(dir, e.Name()))
		if strings.HasPrefix(filepath.Base(path), "chunk-") {
			paths = append(paths, path)
		}
	}
	return paths
}

func awaitBorrowed(t *testing.T, m *cluster.Mount) (path string) {
	t.Helper()
	cluster.Until(t, cluster.StartLimit, "a chunk is borrowed", func() error {
		paths := borrowed(m)
		if len(paths) == 0 {
			return errors.New("none is")
		}
		path = paths[0]
		return nil
	})
	return path
}

// A reader of chunk files on its own host gets no wrong byte when one rots, when its
// chunkserver is killed, and when another mount writes.
func TestShortCircuitReads(t *testing.T) { // G3, G5
	cluster.NeedsLeases(t)
	const chunk = 1 << 20
	c := cluster.Start(t, cluster.Options{ChunkSize: chunk})
	m, other := c.Mount(), c.Mount("-o", "no-short-circuit")
	content := make([]byte, 3*chunk)
	rand.Read(content)
	dir := t.TempDir()
	local, stop := filepath.Join(dir, "file"), filepath.Join(dir, "stop")
	if err := os.WriteFile(local, content, 0o644); err != nil {
		t.Fatal(err)
	}
	c.Shell(m.Path, "cp "+local+" file")
	jobs := []*cluster.Job{
		c.Job("compare", filepath.Join(m.Path, "file"), local, stop),
		c.Job("compare", filepath.Join(other.Path, "file"), local, stop),
	}

	path := awaitBorrowed(t, m)
	lender := c.Chunkservers[slices.IndexFunc(c.Chunkservers, func(p *cluster.Process) bool { return strings.HasPrefix(path, p.Dir) })]
	rot(t, path)
	cluster.Until(t, cluster.StartLimit, "the chunkserver hears of its rotten replica", func() error {
		if !strings.Contains(lender.Output(), "corrupt") {
			return errors.New("it has not said so")
		}
		return nil
	})
	lender.Kill()
	lender.Launch()
	c.WaitAlive()
	awaitBorrowed(t, m)

	if err := os.WriteFile(stop, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, job := range jobs {
		job.Must()
	}
	if paths := borrowed(other); len(paths) > 0 {
		t.Errorf("with no-short-circuit, %v is open", paths)
	}
	c.Job("rewrite", filepath.Join(other.Path, "file"), filepath.Join(m.Path, "file")).Must()
}

// rot changes a few bytes of a chunk file.
func rot(t *testing.T, path string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte("rotten"), 70_000); err != nil {
		t.Fatal(err)
	}
}
