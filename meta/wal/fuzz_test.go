package wal

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/distrifs/distrifs/proto"
)

// FuzzRecord: a record that is understood is what appendRecord writes.
func FuzzRecord(f *testing.F) {
	good := appendRecord(nil, Record{Op: 7, Index: 9, Term: 2, Data: []byte("data")}, 8)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{1, 255, 255, 255, 255})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, durable, n, err := parseRecord(b)
		if err != nil {
			if !errors.As(err, new(badRecord)) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if !bytes.Equal(appendRecord(nil, r, durable), b[:n]) {
			t.Fatalf("record %+v was not %x", r, b[:n])
		}
	})
}

// FuzzSegment: whatever is in the file, the records found are in sequence and
// fill the file up to where the scan says that they end.
func FuzzSegment(f *testing.F) {
	segment := encodeSegmentHeader(5)
	for i, data := range []string{"one", "", "three"} {
		segment = appendRecord(segment, Record{Op: 1, Index: uint64(5 + i), Term: uint64(1 + i/2), Data: []byte(data)}, uint64(4+i))
	}
	f.Add(segment)
	f.Add(append(bytes.Clone(segment), make([]byte, 100)...))
	f.Add(append(segment[:70:70], segment[80:]...))
	f.Add(segment[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		again := bytes.Clone(b[:min(segmentHeader, len(b))])
		next, durables := uint64(5), uint64(4)
		s, err := scanSegment(bytes.NewReader(b), int64(len(b)), 5, 0, func(r Record) error {
			if r.Index != next {
				t.Fatalf("record %d, want %d", r.Index, next)
			}
			next++
			_, durable, _, err := parseRecord(b[len(again):])
			if err != nil || durable < durables {
				t.Fatalf("record %d: durable %d after %d, %v", r.Index, durable, durables, err)
			}
			durables = durable
			again = appendRecord(again, r, durable)
			return nil
		})
		if err != nil {
			if !errors.Is(err, proto.Damaged) && !errors.Is(err, proto.NewerFormat) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if s.end != int64(len(again)) || !bytes.Equal(b[:s.end], again) {
			t.Fatalf("ends at %d, want %d", s.end, len(again))
		}
		if s.last != next-1 || s.tail < segmentHeader || s.tail > s.end || s.durable > s.last {
			t.Fatalf("%+v", s)
		}
		if rest := bytes.TrimLeft(b[s.end:], "\x00"); (len(rest) > 0) != (s.bad != nil) {
			t.Fatalf("%d bytes left, bad %v", len(rest), s.bad)
		}
	})
}

// FuzzCheckpoint: a checkpoint that is read to its end is what the writer writes.
func FuzzCheckpoint(f *testing.F) {
	for _, size := range []int{0, 10, pieceSize, pieceSize + 1} {
		f.Add(checkpointOf(f, bytes.Repeat([]byte("c"), size), 5, 3))
	}
	f.Add([]byte(checkpointMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := newCheckpointReader(bytes.NewReader(b), int64(len(b)), 5)
		var content []byte
		if err == nil {
			if content, err = io.ReadAll(r); err == nil {
				err = r.finish()
			}
		}
		if err != nil {
			if !errors.As(err, new(*damage)) && !errors.Is(err, proto.NewerFormat) {
				t.Fatalf("error %v", err)
			}
			return
		}
		again := checkpointOf(t, content, r.index, r.term)
		// Zeros that may come to mean something are not looked at yet.
		copy(again[12:16], b[12:16])
		copy(again[40:64], b[40:64])
		if !bytes.Equal(again, b) {
			t.Fatalf("%d bytes of content", len(content))
		}
	})
}

// memory is a file that is written once.
type memory struct {
	bytes []byte
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.bytes).ReadAt(p, off)
}
func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.bytes = append(m.bytes, make([]byte, max(0, int(off)+len(p)-len(m.bytes)))...)
	return copy(m.bytes[off:], p), nil
}
func (m *memory) Close() error                          { return nil }
func (m *memory) Sync() error                           { return nil }
func (m *memory) WriteSynced(p []byte, off int64) error { _, err := m.WriteAt(p, off); return err }
func (m *memory) Truncate(int64) error                  { return nil }
func (m *memory) Size() (int64, error)                  { return int64(len(m.bytes)), nil }
func (m *memory) Allocate(int64, int64) error           { return nil }
func (m *memory) PunchHole(int64, int64) error          { return nil }
func (m *memory) Name() string                          { return "memory" }

func checkpointOf(t testing.TB, content []byte, index, term uint64) []byte {
	m := &memory{}
	w := newCheckpointWriter(m, func(int) {})
	_, err := w.Write(content)
	must(t, errors.Join(err, w.finish(index, term)))
	return m.bytes
}

// A Machine that reads less than there is has not understood it.
func TestCheckpointMustBeReadWhole(t *testing.T) {
	b := checkpointOf(t, make([]byte, 3*pieceSize+5), 7, 1)
	r, err := newCheckpointReader(bytes.NewReader(b), int64(len(b)), 7)
	must(t, err)
	_, err = io.CopyN(io.Discard, r, 3*pieceSize)
	must(t, err)
	if err := r.finish(); !errors.Is(err, proto.Damaged) {
		t.Errorf("finish: %v", err)
	}
	_, err = io.CopyN(io.Discard, r, 5)
	must(t, errors.Join(err, r.finish()))
}
