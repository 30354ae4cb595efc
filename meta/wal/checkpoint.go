package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// A checkpoint is a file "checkpoint-<index, 20 digits>". Numbers are
// little-endian. It opens with a header whose layout is the same in all versions:
//
//	offset size
//	     0    8  magic "DFS-CKP\n"
//	     8    4  format version of what follows: 1
//	    12    4  zero
//	    16    8  index: the state is that after this record
//	    24    8  term of that record
//	    32    8  length of the content in bytes
//	    40   20  zero
//	    60    4  CRC-32C of bytes 0 to 59
//
// The content, which is what the Machine's Snapshot wrote, follows in pieces of
// 64 KiB, of which the last may be shorter, and then the file ends:
//
//	     0    4  CRC-32C of the number of the piece (8 bytes, from 0) and its bytes
//	     4    n  bytes
//
// So it is written and read as a stream, and the reader is given no byte that
// was not verified.

const (
	checkpointMagic   = "DFS-CKP\n"
	checkpointVersion = 1
	checkpointHeader  = 64
	pieceSize         = 64 << 10
	piecePrefix       = 4
)

const checkpointPrefix = "checkpoint-"

func checkpointName(index uint64) string { return fmt.Sprintf("%s%020d", checkpointPrefix, index) }

// checkpointSize is the size of the file for so many bytes of content.
func checkpointSize(length int64) int64 {
	return checkpointHeader + length + (length+pieceSize-1)/pieceSize*piecePrefix
}

func pieceSum(number uint64, piece []byte) uint32 {
	var prefix [8]byte
	binary.LittleEndian.PutUint64(prefix[:], number)
	return crc32.Update(crc32.Checksum(prefix[:], castagnoli), castagnoli, piece)
}

// syncEvery keeps a checkpoint from filling the page cache with unwritten pages
// that a sync of the log would then have to wait for.
const syncEvery = 16 << 20

// checkpointWriter cuts what is written to it into pieces.
type checkpointWriter struct {
	file     disk.File
	pace     func(n int) // called before n bytes go to disk; may wait
	piece    []byte      // prefix and bytes of the piece being filled
	number   uint64      // of it
	off      int64       // of it in the file
	length   int64       // of the content, less piece
	unsynced int64
}

func newCheckpointWriter(f disk.File, pace func(n int)) *checkpointWriter {
	return &checkpointWriter{file: f, pace: pace, piece: make([]byte, piecePrefix, piecePrefix+pieceSize), off: checkpointHeader}
}

func (w *checkpointWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n := min(len(p), cap(w.piece)-len(w.piece))
		w.piece = append(w.piece, p[:n]...)
		p = p[n:]
		if len(w.piece) == cap(w.piece) {
			if err := w.flush(); err != nil {
				return total - len(p), err
			}
		}
	}
	return total, nil
}

func (w *checkpointWriter) flush() error {
	w.pace(len(w.piece))
	content := w.piece[piecePrefix:]
	binary.LittleEndian.PutUint32(w.piece, pieceSum(w.number, content))
	if _, err := w.file.WriteAt(w.piece, w.off); err != nil {
		return err
	}
	w.number++
	w.off += int64(len(w.piece))
	w.length += int64(len(content))
	w.unsynced += int64(len(w.piece))
	w.piece = w.piece[:piecePrefix]
	if w.unsynced < syncEvery {
		return nil
	}
	w.unsynced = 0
	return w.file.Sync()
}

// finish writes the last piece and the header, and makes the file durable.
func (w *checkpointWriter) finish(index, term uint64) error {
	if len(w.piece) > piecePrefix {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if _, err := w.file.WriteAt(encodeCheckpointHeader(index, term, w.length), 0); err != nil {
		return err
	}
	return w.file.Sync()
}

func encodeCheckpointHeader(index, term uint64, length int64) []byte {
	b := make([]byte, checkpointHeader)
	copy(b, checkpointMagic)
	binary.LittleEndian.PutUint32(b[8:], checkpointVersion)
	binary.LittleEndian.PutUint64(b[16:], index)
	binary.LittleEndian.PutUint64(b[24:], term)
	binary.LittleEndian.PutUint64(b[32:], uint64(length))
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// writeCheckpoint makes a checkpoint that is durable under its name when it
// returns, with the length of its content. After an error there is none.
func writeCheckpoint(fsys disk.FS, dir string, index, term uint64, content io.WriterTo, pace func(int)) (int64, error) {
	name := filepath.Join(dir, checkpointName(index))
	f, err := fsys.OpenFile(name+temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return 0, err
	}
	w := newCheckpointWriter(f, pace)
	_, err = content.WriteTo(w)
	if err == nil {
		err = w.finish(index, term)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.Rename(name+temporary, name)
	}
	if err != nil {
		// Should the removal fail as well, the next start removes it.
		_ = fsys.Remove(name + temporary)
		return 0, err
	}
	return w.length, fsys.SyncDir(dir)
}

// checkpointReader gives the content of a checkpoint, verified piece by piece.
type checkpointReader struct {
	src    io.ReaderAt
	index  uint64
	term   uint64
	length int64 // of the content
	left   int64 // of it, not yet read from src
	number uint64
	off    int64 // in the file
	buf    []byte
	ready  []byte // verified, not yet given away
	err    error  // what was found; stays
}

// damage is a place in a file that is not what was written there.
type damage struct {
	offset int64
	what   string
}

func (d *damage) Error() string { return fmt.Sprintf("offset %d: %s", d.offset, d.what) }

// newCheckpointReader reads the header of a checkpoint of size bytes. The error
// is a *damage, a *proto.Error of kind NewerFormat, or that of reading.
func newCheckpointReader(src io.ReaderAt, size int64, index uint64) (*checkpointReader, error) {
	b := make([]byte, checkpointHeader)
	if size < checkpointHeader {
		return nil, &damage{0, "the file is shorter than a checkpoint's header"}
	}
	if n, err := src.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	r := &checkpointReader{
		src:    src,
		index:  binary.LittleEndian.Uint64(b[16:]),
		term:   binary.LittleEndian.Uint64(b[24:]),
		length: int64(binary.LittleEndian.Uint64(b[32:])),
		off:    checkpointHeader,
	}
	r.left = r.length
	version := binary.LittleEndian.Uint32(b[8:])
	switch {
	case string(b[:8]) != checkpointMagic || binary.LittleEndian.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli):
		return nil, &damage{0, "this is no header of a checkpoint"}
	case version > checkpointVersion:
		return nil, newerFormat(version, checkpointVersion)
	case version == 0 || r.index != index:
		return nil, &damage{0, "the header does not agree with the file's name"}
	case r.length < 0 || r.length > size || checkpointSize(r.length) != size:
		return nil, &damage{size, "the file does not end where its header says"}
	}
	return r, nil
}

func (r *checkpointReader) Read(p []byte) (int, error) {
	for len(r.ready) == 0 {
		if r.err == nil {
			r.err = r.fill()
		}
		if r.err != nil {
			return 0, r.err
		}
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

// fill reads and verifies the next piece.
func (r *checkpointReader) fill() error {
	if r.left == 0 {
		return io.EOF
	}
	if r.buf == nil {
		r.buf = make([]byte, piecePrefix+min(pieceSize, r.left))
	}
	b := r.buf[:piecePrefix+min(pieceSize, r.left)]
	if n, err := r.src.ReadAt(b, r.off); n < len(b) {
		return err
	}
	content := b[piecePrefix:]
	if binary.LittleEndian.Uint32(b) != pieceSum(r.number, content) {
		return &damage{r.off, fmt.Sprintf("piece %d does not match its checksum", r.number)}
	}
	r.number++
	r.off += int64(len(b))
	r.left -= int64(len(content))
	r.ready = content
	return nil
}

// finish is for after the Machine has read all it wanted, which must be all.
func (r *checkpointReader) finish() error {
	if r.err != nil && r.err != io.EOF {
		return r.err
	}
	if rest := int64(len(r.ready)) + r.left; rest > 0 {
		return proto.E(proto.Damaged, "", "", fmt.Sprintf("the last %d bytes of its content were not understood", rest))
	}
	return nil
}
