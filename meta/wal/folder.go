package wal

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distrifs/distrifs/internal/disk"
)

func lockName(dir string) string { return filepath.Join(dir, "lock") }

// makeFolder sees to it that a folder is there, durably. One that is there may
// have been made by a start that did not get as far as syncing its name; what is
// above it was synced before it was made.
func makeFolder(fsys disk.FS, dir string) error {
	_, err := fsys.Stat(dir)
	if err == nil {
		if err = fsys.SyncDir(filepath.Dir(dir)); errors.Is(err, fs.ErrPermission) {
			return nil // above it nothing is ours: another made it for us
		}
		return err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeFolder(fsys, filepath.Dir(dir)); err != nil {
		return err
	}
	if err := fsys.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(dir))
}

// folder is what a folder holds of ours, in order of index.
type folder struct {
	segments    []uint64
	checkpoints []uint64
	leftovers   []string // of writes that a crash cut short
}

func listFolder(fsys disk.FS, dir string) (folder, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return folder{}, err
	}
	var f folder
	for _, e := range entries {
		whole, isTemporary := strings.CutSuffix(e.Name(), temporary)
		segment, isSegment := parseName(whole, "master-", ".log")
		checkpoint, isCheckpoint := parseName(whole, checkpointPrefix, "")
		switch {
		case isTemporary && (isSegment || isCheckpoint):
			f.leftovers = append(f.leftovers, e.Name())
		case isSegment:
			f.segments = append(f.segments, segment)
		case isCheckpoint:
			f.checkpoints = append(f.checkpoints, checkpoint)
		}
	}
	slices.Sort(f.segments)
	slices.Sort(f.checkpoints)
	return f, nil
}
