package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// A segment is a file "master-<index of its first record, 20 digits>.log". It
// opens with a header whose layout is the same in all versions:
//
//	offset size
//	     0    8  magic "DFS-LOG\n"
//	     8    4  format version of what follows: 1
//	    12    4  zero
//	    16    8  index of the first record
//	    24    4  zero
//	    28    4  CRC-32C of bytes 0 to 27
//
// Records follow one another without gaps. Behind the last one there are zeros
// to the end of the file: space prepared for the next, so that a sync has data to
// write and no metadata. A record never crosses into the next segment. A segment
// gets a successor only when all its records are durable.

const (
	segmentMagic   = "DFS-LOG\n"
	segmentVersion = 1
	segmentHeader  = 32
	maxSegment     = 1 << 30 // bytes, for the option
	temporary      = ".tmp"  // suffix of a file that is not whole
)

func segmentName(first uint64) string { return fmt.Sprintf("master-%020d.log", first) }

// parseName finds the index in a name made of prefix, 20 digits and suffix.
func parseName(name, prefix, suffix string) (index uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	digits, ok = strings.CutSuffix(digits, suffix)
	if !ok || len(digits) != 20 || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	index, err := strconv.ParseUint(digits, 10, 64)
	return index, err == nil
}

func encodeSegmentHeader(first uint64) []byte {
	b := make([]byte, segmentHeader)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint32(b[8:], segmentVersion)
	binary.LittleEndian.PutUint64(b[16:], first)
	binary.LittleEndian.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli))
	return b
}

func checkSegmentHeader(b []byte, first uint64) *proto.Error {
	switch {
	case len(b) < segmentHeader || string(b[:8]) != segmentMagic ||
		binary.LittleEndian.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli):
		return proto.E(proto.Damaged, "", "", "this is no header of a log segment")
	case binary.LittleEndian.Uint32(b[8:]) > segmentVersion:
		return newerFormat(binary.LittleEndian.Uint32(b[8:]), segmentVersion)
	case binary.LittleEndian.Uint32(b[8:]) == 0 || binary.LittleEndian.Uint64(b[16:]) != first:
		return proto.E(proto.Damaged, "", "", "the header does not agree with the file's name")
	}
	return nil
}

func newerFormat(version, known uint32) *proto.Error {
	return proto.E(proto.NewerFormat, "", "", fmt.Sprintf(
		"format version %d, and this program knows up to %d; start the program that wrote it, or a later one", version, known))
}

// createSegment makes a segment with prepared bytes of zeros behind the header.
// Its name is durable when it returns. When it fails with a noRoom, there is none.
func createSegment(fsys disk.FS, dir string, first uint64, prepared int64) (disk.File, error) {
	name := filepath.Join(dir, segmentName(first))
	f, err := fsys.OpenFile(name+temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, roomFor(err)
	}
	_, err = f.WriteAt(encodeSegmentHeader(first), 0)
	if err == nil {
		err = writeZeros(f, segmentHeader, segmentHeader+prepared)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		// Nothing depends on the file yet: its space is given back.
		return nil, roomFor(errors.Join(err, fsys.Remove(name+temporary)))
	}
	if err := fsys.Rename(name+temporary, name); err != nil {
		return nil, err
	}
	if err := fsys.SyncDir(dir); err != nil {
		return nil, err
	}
	return fsys.OpenFile(name, os.O_RDWR, 0)
}

var zeros [64 << 10]byte

func writeZeros(f disk.File, off, end int64) error {
	for off < end {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), end-off)], off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// scan is what reading a segment found.
type scan struct {
	end     int64  // offset behind the last good record
	last    uint64 // index of that record; that of the segment's first less 1 when there is none
	term    uint64 // of that record
	durable uint64 // index that the good records prove to be durable

	// tail is the offset of the first record not proven to be durable: that of
	// the last batch, or end.
	tail int64

	// bad is why the bytes at end are no record, nil when nothing but zeros
	// follow. later is the durable index that records behind them prove.
	bad   error
	later uint64
}

// scanSegment reads a segment and calls visit for each record in it, in order.
// It returns an error when reading fails, when visit does, or when the header is
// none; what is wrong with the records it says in the scan. Data is valid until
// visit returns.
func scanSegment(src io.ReaderAt, size int64, first, term uint64, visit func(Record) error) (scan, error) {
	w := &window{src: src, size: size}
	header, err := w.at(0, segmentHeader)
	if err != nil {
		return scan{}, err
	}
	if err := checkSegmentHeader(header, first); err != nil {
		return scan{}, err
	}
	s := scan{end: segmentHeader, tail: segmentHeader, last: first - 1, term: term, durable: first - 1}
	for {
		b, err := w.at(s.end, maxRecord)
		if err != nil {
			return s, err
		}
		r, durable, n, bad := parseRecord(b)
		if bad == nil && (r.Index != s.last+1 || r.Term < s.term || durable < s.durable) {
			bad = errSequence
		}
		if bad != nil {
			return s, s.judge(w, bad)
		}
		if err := visit(r); err != nil {
			return s, err
		}
		if durable > s.durable {
			s.durable, s.tail = durable, s.end
		}
		s.end += int64(n)
		s.last, s.term = r.Index, r.Term
	}
}

// judge looks at what stands behind the last good record: zeros are the end of
// the log, anything else is bad.
func (s *scan) judge(w *window, bad error) error {
	blank, err := w.blank(s.end)
	if err != nil || blank {
		return err
	}
	s.bad = bad
	s.later, err = w.laterDurable(s.end, s.last)
	return err
}

// window reads a file piece by piece.
type window struct {
	src  io.ReaderAt
	size int64
	buf  []byte
	off  int64 // of buf in the file
}

const windowSize = 4 * maxRecord

// at gives up to n bytes at off, fewer at the end of the file, valid until the
// next call. n is at most maxRecord.
func (w *window) at(off int64, n int) ([]byte, error) {
	n = int(min(int64(n), w.size-off))
	if n <= 0 {
		return nil, nil
	}
	if off < w.off || off+int64(n) > w.off+int64(len(w.buf)) {
		if w.buf == nil {
			w.buf = make([]byte, 0, min(windowSize, w.size))
		}
		want := int(min(int64(cap(w.buf)), w.size-off))
		w.buf, w.off = w.buf[:want], off
		if got, err := w.src.ReadAt(w.buf, off); got < want {
			w.buf = w.buf[:0]
			return nil, fmt.Errorf("read %d bytes at offset %d: %w", want, off, err)
		}
	}
	return w.buf[off-w.off:][:n], nil
}

// blank says whether there are only zeros from off to the end of the file.
func (w *window) blank(off int64) (bool, error) {
	for off < w.size {
		b, err := w.at(off, len(zeros))
		if err != nil {
			return false, err
		}
		if string(b) != string(zeros[:len(b)]) {
			return false, nil
		}
		off += int64(len(b))
	}
	return true, nil
}

// laterDurable looks for records at any offset behind off, whose index is beyond
// last, and returns the highest durable index that one of them proves.
func (w *window) laterDurable(off int64, last uint64) (uint64, error) {
	var later uint64
	for ; off+recordHeader <= w.size; off++ {
		b, err := w.at(off, recordHeader)
		if err != nil {
			return 0, err
		}
		// Before the costly checksum: an index that the space could hold.
		index := binary.LittleEndian.Uint64(b[9:])
		if b[0] == 0 || index <= last || index-last > uint64(w.size)/recordHeader {
			continue
		}
		if b, err = w.at(off, maxRecord); err != nil {
			return 0, err
		}
		if _, durable, _, bad := parseRecord(b); bad == nil {
			later = max(later, durable)
		}
	}
	return later, nil
}
