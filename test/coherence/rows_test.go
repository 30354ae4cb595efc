package coherence

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/distrifs/distrifs/test/cluster"
)

func init() {
	cluster.Register("rows", rows)
}

// Files that are read one behind the other are fetched before they are opened: never with bytes that
// were overwritten before that, by the other mount or by this one. G3
func TestFilesOfARowAreNeverStale(t *testing.T) {
	c, a, b := two(t)
	if out, err := c.Job("rows", a.Path, b.Path).Wait(cluster.JobLimit); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// rowFile is a file that holds the number of its last write, again and again.
type rowFile struct {
	name string

	mu   sync.Mutex // one write at a time
	last uint64
}

const rowFileWords = 512

// write overwrites the file with the next number.
func (f *rowFile) write(mount string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := os.OpenFile(filepath.Join(mount, "row", f.name), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	content := bytes.Repeat(binary.LittleEndian.AppendUint64(nil, f.last+1), rowFileWords)
	if _, err := file.WriteAt(content, 0); err != nil {
		return err
	}
	f.last++
	return file.Close()
}

// read wants every number in the file to be at least that of the last write before.
func (f *rowFile) read(mount string) error {
	f.mu.Lock()
	least := f.last
	f.mu.Unlock()
	content, err := os.ReadFile(filepath.Join(mount, "row", f.name))
	if err != nil {
		return err
	}
	if len(content) != 8*rowFileWords {
		return fmt.Errorf("%s has %d bytes", f.name, len(content))
	}
	for at := 0; at < len(content); at += 8 {
		if n := binary.LittleEndian.Uint64(content[at:]); n < least {
			return fmt.Errorf("%s: write %d at byte %d, after write %d", f.name, n, at, least)
		}
	}
	return nil
}

// rows overwrites files on one mount, and some on the other, which reads all of them in the order of
// its listing, or of their names.
func rows(args []string) error {
	const count, rounds = 60, 25
	c := &check{}
	a, b := args[0], args[1]
	c.done(os.Mkdir(filepath.Join(a, "row"), 0o755), "mkdir")
	files := make([]*rowFile, count)
	byName := map[string]*rowFile{}
	for k := range files {
		files[k] = &rowFile{name: fmt.Sprintf("file-%02d", k)}
		byName[files[k].name] = files[k]
		c.done(files[k].write(a), "make")
	}
	over := make(chan error, 1)
	go func() {
		var err error
		for k := 0; k < count*rounds && err == nil; k++ {
			err = files[k*7%count].write(a)
		}
		over <- err
	}()
	for round := 0; ; round++ {
		dir, err := os.Open(filepath.Join(b, "row"))
		c.done(err, "open folder")
		names, err := dir.Readdirnames(-1) // as they are listed; os.ReadDir sorts them
		c.done(err, "list")
		c.done(dir.Close(), "close folder")
		c.that(len(names) == count, "%d names", len(names))
		for k := range names {
			f := byName[names[k]]
			if round%2 == 1 {
				f = files[k]
			}
			if k%11 == 10 {
				c.done(f.write(b), "write where it is read")
			}
			c.done(f.read(b), "read")
		}
		select {
		case err := <-over:
			c.done(err, "write")
			return c.err()
		default:
		}
		if len(c.errs) > 0 {
			return c.err()
		}
	}
}
