package wal

import (
	"bytes"
	"context"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/distrifs/distrifs/internal/disk"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden is a folder with a checkpoint after two records and a third behind it.
func golden(t *testing.T) *disk.Mem {
	m := disk.NewMem()
	g, _ := start(t, tiny(m))
	propose(t, g, "first", "")
	must(t, g.Checkpoint(context.Background()))
	propose(t, g, "third")
	clone := crash(m)
	must(t, g.Close())
	return clone
}

// What this program writes is what it always wrote, byte by byte.
func TestGoldenFiles(t *testing.T) {
	m := golden(t)
	for _, name := range []string{segmentName(1), checkpointName(2)} {
		got := read(t, m, name)
		if name == segmentName(1) {
			got = bytes.TrimRight(got, "\x00") // the space prepared
		}
		got = []byte(hex.Dump(got))
		path := filepath.Join("testdata", name+".hex")
		if *update {
			must(t, os.WriteFile(path, got, 0o644))
		}
		want, err := os.ReadFile(path)
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\n%swant\n%s", name, got, want)
		}
	}
}

// What earlier programs wrote is understood.
func TestGoldenFilesAreRead(t *testing.T) {
	m := disk.NewMem()
	must(t, m.Mkdir("/meta", 0o755))
	for _, name := range []string{segmentName(1), checkpointName(2)} {
		dump, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
		must(t, err)
		write(t, m, name, undump(t, dump))
	}
	j := &replayCounter{}
	g, err := Open(tiny(m), j)
	must(t, err)
	equal(t, j.list(t), []string{"first", "", "third"})
	if j.applied != 1 || g.Status().CheckpointIndex != 2 {
		t.Errorf("%d records were replayed; status %+v", j.applied, g.Status())
	}
	must(t, g.Close())
}

func undump(t *testing.T, dump []byte) (data []byte) {
	t.Helper()
	for line := range bytes.Lines(dump) {
		if len(line) < 60 {
			break
		}
		digits := bytes.ReplaceAll(line[10:59], []byte(" "), nil)
		part, err := hex.DecodeString(string(digits))
		must(t, err)
		data = append(data, part...)
	}
	return data
}
