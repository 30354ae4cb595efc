package chunk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// scanners bounds how many subfolders are read at once.
const scanners = 4

// scan fills the index from what stands in the folders, and empties tmp/.
func (s *Store) scan() error {
	var group errgroup.Group
	group.SetLimit(scanners)
	for _, f := range s.folders {
		if err := f.emptyTmp(); err != nil {
			return err
		}
		if s.membership.Load() == nil {
			continue
		}
		for b := range 256 {
			group.Go(func() error { return s.scanDir(f, proto.ChunkID(b)) })
		}
	}
	return group.Wait()
}

func (f *folder) emptyTmp() error {
	dir := filepath.Join(f.path, tmpDir)
	entries, err := f.fs.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, f.fs.Remove(filepath.Join(dir, e.Name())))
	}
	if err != nil {
		return f.refuse(fmt.Errorf("remove unfinished replicas: %w", err))
	}
	return nil
}

func (s *Store) scanDir(f *folder, bucket proto.ChunkID) error {
	entries, err := f.fs.ReadDir(f.dirOf(bucket))
	if err != nil {
		_ = f.failed("list chunks", f.path, err) // noted: the folder is out of service and reported
		return nil
	}
	cluster := s.membership.Load().cluster
	for _, e := range entries {
		text, isChunk := strings.CutPrefix(e.Name(), chunkPrefix)
		name, err := uuid.Parse(text)
		id, ours := cluster.ChunkOf(name)
		if !isChunk || err != nil || !ours || name.String() != text || uint8(id) != uint8(bucket) {
			f.log.Warn("foreign file is left alone", "file", e.Name())
			continue
		}
		if err := s.found(f, id); err != nil {
			return err
		}
	}
	return nil
}

// found takes a chunk's file into the index. The error is NewerFormat; a damaged
// file becomes a lost replica, which the master has replaced.
func (s *Store) found(f *folder, id proto.ChunkID) error {
	r := s.newReplica(id, 0)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.folder, r.state = f, whole
	if err := r.inspect(); errors.Is(err, proto.NewerFormat) {
		return fmt.Errorf("%s: %w", r.path(), err)
	} else if err != nil {
		_ = r.lose(err) // remembered in r
	}
	if s.insert(r) {
		return nil
	}
	return s.double(r)
}

// inspect reads a chunk's file for the first time and, if it was being written
// when the last process ended, recovers it.
func (r *replica) inspect() error {
	file, err := r.folder.fs.OpenFile(r.path(), os.O_RDWR, 0)
	if err != nil {
		return r.folder.failed("open", r.path(), err)
	}
	err = r.adoptFooter(file)
	if err == nil && r.flags&flagWriting != 0 {
		r.file = file
		err = r.recover()
		r.file, r.table = nil, nil
	}
	return errors.Join(err, file.Close())
}

func (r *replica) adoptFooter(file disk.File) error {
	size, err := file.Size()
	if err != nil {
		return r.folder.failed("read size of", r.path(), err)
	}
	if size != r.layout().fileSize() {
		return damaged("file has %d bytes instead of %d", size, r.layout().fileSize())
	}
	var page [footerPageSize]byte
	if n, err := file.ReadAt(page[:], r.layout().footerAt()); n < len(page) {
		return r.folder.failed("read footer of", r.path(), err)
	}
	f, err := decodeFooter(page[:])
	if err != nil {
		return err
	}
	if f.chunk != r.name || layout(f.capacity) != r.layout() {
		return damaged("footer is that of chunk %v with chunk size %d", f.chunk, f.capacity)
	}
	r.version, r.length, r.flags = f.version, f.length, f.flags
	r.gaps = f.flags&flagUnclean != 0
	r.unclean = r.gaps
	return nil
}

// double decides between two files of one chunk in different folders, which an
// interrupted copy leaves behind: the newer version serves, the other goes to
// quarantine (L2).
func (s *Store) double(r *replica) error {
	other := s.find(r.id)
	other.mu.Lock()
	defer other.mu.Unlock()
	loser := r
	if other.version < r.version || other.version == r.version && (other.lost.Load() != nil || other.unclean && !r.unclean) {
		loser = other
		s.replace(other, r)
	}
	s.dirty.remove(loser)
	loser.state = gone
	f := loser.folder
	to := filepath.Join(f.path, quarantineDir, fmt.Sprintf("%s.%d", filepath.Base(loser.path()), s.incarnation))
	f.log.Warn("a chunk stands in two data folders: the older file goes to quarantine", "chunk", r.id, "version", loser.version, "file", to)
	if err := f.fs.Rename(loser.path(), to); err != nil {
		_ = f.failed("quarantine", loser.path(), err) // noted: the folder is out of service and reported
	}
	return nil
}

// recover makes a replica readable that was being written when the process or the
// machine died (doc.go, 2 and 3). Blocks that match their entry stay as they are.
// For one that does not, the bytes that stand get a new entry: they belong to a
// write that was never acknowledged, or, after a power cut, never synced. The flag
// stays until the next sync. Needs mu for writing, and an open file.
func (r *replica) recover() error {
	r.unclean, r.fresh = true, true
	r.store.dirty.add(r)
	if r.gaps = r.gaps || !r.folder.intact; r.gaps && r.flags&flagUnclean == 0 {
		if err := r.writeFooter(r.flags | flagUnclean); err != nil { // a later start of this boot must know
			return err
		}
	}
	raw := make([]byte, r.layout().blocks()*entrySize)
	if n, err := r.file.ReadAt(raw, r.layout().tableAt()); n < len(raw) {
		return r.folder.failed("read table of", r.path(), err)
	}
	r.table = decodeEntries(raw)
	blocks := max(blocksOf(r.length), r.table.used())
	r.table = r.table[:blocks]
	torn, end, err := r.rescan(blocks)
	if err != nil {
		return err
	}
	r.writes++
	if err := r.file.PunchHole(blocks*blockSize, int64(r.layout())-blocks*blockSize); err != nil { // doc.go, 4
		return r.folder.failed("punch hole into", r.path(), err)
	}
	if torn == 0 && end <= r.length {
		return nil
	}
	r.store.log.Warn("chunk was torn by the unclean stop: what stands is kept", "chunk", r.id, "version", r.version, "folder", r.folder.path, "blocks", torn)
	r.length = max(r.length, end)
	return r.rewrite()
}

// used counts the entries up to the last that is not 0.
func (t table) used() int64 {
	n := len(t)
	for n > 0 && t[n-1] == 0 {
		n--
	}
	return int64(n)
}

// rescan gives every block of the replica the entry of its bytes. It returns how
// many had another, and where the last byte ends that is not zero.
func (r *replica) rescan(blocks int64) (torn int, end int64, err error) {
	buffer := make([]byte, min(copyPiece, blocks*blockSize))
	for off := int64(0); off < blocks*blockSize; off += int64(len(buffer)) {
		buffer = buffer[:min(int64(len(buffer)), blocks*blockSize-off)]
		if n, err := r.file.ReadAt(buffer, off); n < len(buffer) && !errors.Is(err, io.EOF) {
			return 0, 0, r.folder.failed("read", r.path(), err)
		} else if n < len(buffer) {
			return 0, 0, damaged("file ends at %d", off+int64(n))
		}
		for i, sum := range blockSums(buffer) {
			block := off/blockSize + int64(i)
			if entry := entryOf(sum); r.table[block] != entry {
				r.table[block] = entry
				torn++
			}
			if sum != zeroSum || !isZero(buffer[i*blockSize:(i+1)*blockSize]) {
				end = block*blockSize + lastByte(buffer[i*blockSize:(i+1)*blockSize])
			}
		}
	}
	return torn, end, nil
}

// lastByte is where the last byte of block ends that is not zero.
func lastByte(block []byte) int64 {
	n := len(block)
	for n > 0 && block[n-1] == 0 {
		n--
	}
	return int64(n)
}
