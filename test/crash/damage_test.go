package crash

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// The log as this test reads it, independently of the code under test: segments
// named by their first index, a header, and records of
// [op code 1][length 4, little endian][payload].
const (
	segmentHeader = 32
	recordHeader  = 5
)

// newestLog is the segment that the master writes to.
func newestLog(t *testing.T, dir string) string {
	t.Helper()
	return newest(t, filepath.Join(dir, "master-*.log"))
}

func newest(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	slices.Sort(found)
	return found[len(found)-1]
}

// checkpoints gives the files, oldest first.
func checkpoints(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "checkpoint-*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// lastRecord gives the bytes of the last record and the offset where the log ends.
func lastRecord(t *testing.T, path string) (record []byte, end int64) {
	t.Helper()
	log := read(t, path)
	at := segmentHeader
	for at+recordHeader <= len(log) && log[at] != 0 {
		next := at + recordHeader + int(binary.LittleEndian.Uint32(log[at+1:]))
		if next > len(log) {
			break
		}
		record, at = log[at:next], next
	}
	if record == nil {
		t.Fatalf("%s holds no record", path)
	}
	return slices.Clone(record), int64(at)
}

func overwrite(t *testing.T, path string, at int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
}

func flipByte(t *testing.T, path string, at int64) {
	t.Helper()
	overwrite(t, path, at, []byte{read(t, path)[at] ^ 0x55})
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// smallDisk mounts a tmpfs of so many bytes for the length of the test.
func smallDisk(t *testing.T, dir string, bytes int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.Itoa(bytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}
