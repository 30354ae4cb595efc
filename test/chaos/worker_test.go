package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/test/cluster"
)

const (
	mostFiles = 12      // of a worker
	mostBytes = 2 << 20 // of a file
	pieceMost = 256 << 10
	restLeast = 2 * time.Millisecond // between operations
	restMost  = 50 * time.Millisecond
)

// worker is a program that uploads, overwrites, appends, cuts, renames, deletes and reads
// files in a folder of its own, and knows at any time what each byte of them has to be. It reaches the
// folder through several mounts, any of them for any operation. The first error and the first wrong
// byte end it.
type worker struct {
	tell    *teller
	random  *rand.Rand
	content *rand.ChaCha8
	folders []string          // the same one, on each mount
	files   map[string][]byte // what they hold
	next    int               // number of the next name
	journal *os.File          // open, and synced after each record; nil: none
}

func init() { cluster.Register("worker", workerJob) }

// workerJob has as arguments a seed, the folder in which it tells how it gets on, its name,
// and its folder on each mount. It ends when a file named stop appears beside what it tells,
// compares all, and leaves a copy of what must be there under its name.
func workerJob(args []string) error {
	seed, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		return err
	}
	dir, name := args[1], args[2]
	w := &worker{
		tell: newTeller(filepath.Join(dir, name+".progress")), random: rand.New(rand.NewPCG(seed, 3)),
		content: rand.NewChaCha8([32]byte{byte(seed)}), folders: args[3:], files: map[string][]byte{},
	}
	if err := w.call("mkdir", func() error { return os.Mkdir(w.folders[0], 0o755) }); err != nil {
		return err
	}
	for {
		if _, err := os.Lstat(filepath.Join(dir, "stop")); err == nil {
			break
		}
		began := time.Now()
		if err := w.step(); err != nil {
			return err
		}
		time.Sleep(min(max(time.Since(began), restLeast), restMost))
	}
	if err := w.closeJournal(); err != nil {
		return err
	}
	if err := w.compareAll(); err != nil {
		return err
	}
	w.tell.write()
	return w.leave(filepath.Join(dir, name))
}

// call is a system call, or a few of them, as a program makes it.
func (w *worker) call(what string, f func() error) error {
	w.tell.begin(what)
	err := f()
	w.tell.end()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (w *worker) step() error {
	switch n := w.random.IntN(20); {
	case len(w.files) < 3 || n < 3 && len(w.files) < mostFiles:
		return w.upload()
	case n < 6:
		return w.change(os.O_WRONLY, w.overwrite)
	case n < 9:
		return w.change(os.O_WRONLY|os.O_APPEND, w.append)
	case n < 10:
		return w.change(os.O_RDWR, w.resize)
	case n < 12:
		return w.rename()
	case n < 13 && len(w.files) > mostFiles/2:
		return w.remove()
	case n < 16:
		return w.record()
	default:
		return w.compare(w.any())
	}
}

// path on any of the mounts.
func (w *worker) path(name string) string {
	return filepath.Join(w.folders[w.random.IntN(len(w.folders))], name)
}

func (w *worker) newName() string { w.next++; return fmt.Sprintf("file-%d", w.next) }

// any of the files but the journal.
func (w *worker) any() string {
	names := slices.Sorted(maps.Keys(w.files))
	if w.journal != nil {
		names = slices.DeleteFunc(names, func(name string) bool { return name == filepath.Base(w.journal.Name()) })
	}
	return names[w.random.IntN(len(names))]
}

// bytes that nobody has written before.
func (w *worker) bytes(n int) []byte {
	b := make([]byte, n)
	w.content.Read(b)
	return b
}

// size is of any order of magnitude.
func (w *worker) size(most int) int { return 1 + w.random.IntN(most>>w.random.IntN(10)) }

// change opens a file, changes it, and closes it.
func (w *worker) change(flags int, how func(f *os.File, name string) error) error {
	return w.changeFile(w.any(), flags, how)
}

func (w *worker) changeFile(name string, flags int, how func(f *os.File, name string) error) error {
	path := w.path(name)
	var f *os.File
	if err := w.call("open "+path, func() (err error) {
		f, err = os.OpenFile(path, flags, 0o644)
		return err
	}); err != nil {
		return err
	}
	err := how(f, name)
	if err == nil && w.random.IntN(2) == 0 {
		err = w.call("fsync "+path, f.Sync)
	}
	return errors.Join(err, w.call("close "+path, f.Close))
}

func (w *worker) upload() error {
	name := w.newName()
	w.files[name] = nil
	return w.changeFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, func(f *os.File, name string) error {
		for left := w.size(mostBytes); left > 0; {
			n := min(left, w.size(pieceMost))
			if err := w.write(f, name, n); err != nil {
				return err
			}
			left -= n
		}
		return nil
	})
}

// write goes on where the file ends.
func (w *worker) write(f *os.File, name string, n int) error {
	b := w.bytes(n)
	if err := w.call("write "+f.Name(), func() error { _, err := f.Write(b); return err }); err != nil {
		return err
	}
	w.files[name] = append(w.files[name], b...)
	w.tell.written(n)
	return nil
}

func (w *worker) append(f *os.File, name string) error {
	if len(w.files[name]) > mostBytes {
		return nil
	}
	return w.write(f, name, w.size(pieceMost))
}

func (w *worker) overwrite(f *os.File, name string) error {
	for range 1 + w.random.IntN(4) {
		was := w.files[name]
		if len(was) == 0 {
			return nil
		}
		at := w.random.IntN(len(was))
		b := w.bytes(min(w.size(pieceMost), len(was)-at))
		if err := w.call("pwrite "+f.Name(), func() error { _, err := f.WriteAt(b, int64(at)); return err }); err != nil {
			return err
		}
		copy(was[at:], b)
		w.tell.written(len(b))
	}
	return nil
}

func (w *worker) resize(f *os.File, name string) error {
	size := w.random.IntN(mostBytes)
	if err := w.call("ftruncate "+f.Name(), func() error { return f.Truncate(int64(size)) }); err != nil {
		return err
	}
	was := w.files[name]
	w.files[name] = append(was[:min(len(was), size)], make([]byte, max(0, size-len(was)))...)
	return nil
}

// rename gives a file a new name, or that of another file.
func (w *worker) rename() error {
	from, to := w.any(), w.newName()
	if w.random.IntN(3) == 0 {
		to = w.any()
	}
	if from == to {
		return nil
	}
	path := w.path(from)
	if err := w.call("rename "+path, func() error { return os.Rename(path, filepath.Join(filepath.Dir(path), to)) }); err != nil {
		return err
	}
	w.files[to] = w.files[from]
	delete(w.files, from)
	return nil
}

func (w *worker) remove() error {
	name := w.any()
	path := w.path(name)
	if err := w.call("unlink "+path, func() error { return os.Remove(path) }); err != nil {
		return err
	}
	delete(w.files, name)
	return nil
}

// record appends to the journal as a database does.
func (w *worker) record() error {
	if w.journal == nil {
		name := w.newName()
		path := w.path(name)
		if err := w.call("create "+path, func() (err error) {
			w.journal, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
			return err
		}); err != nil {
			return err
		}
		w.files[name] = nil
	}
	name := filepath.Base(w.journal.Name())
	for range 4 {
		if err := w.write(w.journal, name, 4096); err != nil {
			return err
		}
		if err := w.call("fsync "+w.journal.Name(), w.journal.Sync); err != nil {
			return err
		}
	}
	if len(w.files[name]) > mostBytes/4 {
		return w.closeJournal()
	}
	return w.compare(name)
}

func (w *worker) closeJournal() error {
	f := w.journal
	if f == nil {
		return nil
	}
	w.journal = nil
	return w.call("close "+f.Name(), f.Close)
}

// compare reads a file, by the kernel's cache or past it, and compares every byte.
func (w *worker) compare(name string) error {
	return w.comparePath(name, w.path(name))
}

func (w *worker) comparePath(name, path string) error {
	flags := os.O_RDONLY
	if w.random.IntN(2) == 0 {
		flags |= unix.O_DIRECT
	}
	var got []byte
	if err := w.call("read "+path, func() error {
		f, err := os.OpenFile(path, flags, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		got, err = io.ReadAll(f)
		return err
	}); err != nil {
		return err
	}
	if want := w.files[name]; !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		return fmt.Errorf("WRONG: %s (flags %#x): %d bytes, which differ from the %d that were written, from byte %d on", path, flags, len(got), len(want), at)
	}
	w.tell.verified(len(got))
	return nil
}

// compareAll looks for every file on every mount, and for files that must not be there.
func (w *worker) compareAll() error {
	for _, folder := range w.folders {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if _, ok := w.files[entry.Name()]; !ok {
				return fmt.Errorf("WRONG: %s in %s: it was renamed or deleted", entry.Name(), folder)
			}
		}
		for name := range w.files {
			if err := w.comparePath(name, filepath.Join(folder, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// leave writes what must be there to a folder that is not on a mount.
func (w *worker) leave(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for name, content := range w.files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
