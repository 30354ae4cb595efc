package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/distrifs/distrifs/test/cluster"
)

// damage does something to a file that a good chunkserver never does, and gives a
// function that tells whether it is still there.
type damage func(random *rand.Rand, path string) (present func() bool, err error)

// damageFiles damages replicas on one chunkserver, and ends when none of the damage is
// there any more: a scrub, a reader or a writer has found it.
func damageFiles(verb string, do damage) func(*stage, fault) {
	return func(s *stage, f fault) {
		random := rand.New(rand.NewPCG(f.seed, 2))
		victims := s.victims(random, f)
		files := "files"
		if len(victims) == 1 {
			files = "file"
		}
		s.say("%s %d chunk %s of %s", verb, len(victims), files, s.c.Chunkservers[f.server].Name)
		present := map[string]func() bool{}
		for _, v := range victims {
			look, err := do(random, v.Path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // its file was deleted meanwhile
			}
			if err != nil {
				s.t.Fatal(err)
			}
			present[v.Path] = look
		}
		s.until("no damage is left", func() error {
			for path, look := range present {
				if look() {
					return fmt.Errorf("%s is still damaged", path)
				}
			}
			return s.complete(victims)
		})
	}
}

// victims picks files of one chunkserver whose chunks have enough other replicas.
func (s *stage) victims(random *rand.Rand, f fault) (victims []cluster.ChunkFile) {
	for _, files := range s.c.ChunkFiles() {
		for _, file := range files {
			if file.Server == s.c.Chunkservers[f.server] && len(files) >= replicas {
				victims = append(victims, file)
			}
		}
	}
	slices.SortFunc(victims, func(a, b cluster.ChunkFile) int { return strings.Compare(a.UUID, b.UUID) })
	random.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	return victims[:min(len(victims), f.files)]
}

// complete is nil when each of the chunks has all its replicas, or is deleted.
func (s *stage) complete(chunks []cluster.ChunkFile) error {
	all := s.c.ChunkFiles()
	for _, c := range chunks {
		if n := len(all[c.UUID]); n > 0 && n < replicas {
			return fmt.Errorf("chunk %s has %d files", c.UUID, n)
		}
	}
	return nil
}

// flip inverts bits within one block.
func flip(random *rand.Rand, path string) (func() bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	bad := make([]byte, 16)
	at := random.Int64N(firstBytes)
	if _, err := f.ReadAt(bad, at); err != nil {
		return nil, err
	}
	for i := range bad {
		bad[i] ^= 1 << random.IntN(8)
	}
	if _, err := f.WriteAt(bad, at); err != nil {
		return nil, err
	}
	same, err := sameFile(path)
	return func() bool { return same() && bytes.Equal(readAt(path, at, len(bad)), bad) }, err
}

// firstBytes of a chunk are flipped: further behind a short one has none.
const firstBytes = 512

// cutShort takes the end of a file away: some of the checksums, all of them, or data, too.
func cutShort(random *rand.Rand, path string) (func() bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	size := info.Size() - 1 - random.Int64N(info.Size())
	if random.IntN(4) == 0 {
		size = 0
	}
	if err := os.Truncate(path, size); err != nil {
		return nil, err
	}
	same, err := sameFile(path)
	return func() bool {
		info, err := os.Stat(path)
		return same() && err == nil && info.Size() == size
	}, err
}

// remove takes a file away altogether.
func remove(_ *rand.Rand, path string) (func() bool, error) {
	return func() bool { return false }, os.Remove(path)
}

// sameFile gives a function that tells whether the file at a path is the one that is there now.
func sameFile(path string) (func() bool, error) {
	number := func() (uint64, error) {
		var st syscall.Stat_t
		err := syscall.Stat(path, &st)
		return st.Ino, err
	}
	was, err := number()
	return func() bool {
		is, err := number()
		return err == nil && is == was
	}, err
}

func readAt(path string, at int64, n int) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, n)
	n, _ = f.ReadAt(b, at) // what is not there is not the damage
	return b[:n]
}
