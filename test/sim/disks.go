package sim

import (
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/distrifs/distrifs/internal/disk"
)

// flipBit flips a bit of a replica on a disk, if there is one.
func (m *machine) flipBit(random *rand.Rand) (file string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	files := chunkFiles(m.disk, "/disk")
	if len(files) == 0 {
		return ""
	}
	file = files[random.IntN(len(files))]
	f, err := m.disk.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, 1)
	off := random.Int64N(16 << 10)
	if n, _ := f.ReadAt(b, off); n == 0 {
		return ""
	}
	b[0] ^= 1 << random.IntN(8)
	if _, err := f.WriteAt(b, off); err != nil {
		return ""
	}
	return path.Base(file)
}

// chunkFiles are the files of chunks in a folder, in order.
func chunkFiles(fs *disk.Mem, folder string) (files []string) {
	entries, err := fs.ReadDir(folder)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		switch name := path.Join(folder, e.Name()); {
		case e.IsDir() && len(e.Name()) == 2:
			files = append(files, chunkFiles(fs, name)...)
		case strings.HasPrefix(e.Name(), "chunk-"):
			files = append(files, name)
		}
	}
	slices.Sort(files)
	return files
}

// sicken has calls on chunks fail on a disk, until the function that it returns is called.
func (m *machine) sicken(random *rand.Rand) (f disk.Fault, cure func()) {
	f = disk.Fault{
		Op:   []disk.Op{disk.OpWrite, disk.OpSync, disk.OpRead, disk.OpOpen}[random.IntN(4)],
		Path: "chunk-*", Err: syscall.EIO, Partial: random.IntN(2) == 0,
	}
	if f.Op == disk.OpWrite && random.IntN(2) == 0 {
		f.Err = syscall.ENOSPC
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return f, m.disk.Inject(f)
}
