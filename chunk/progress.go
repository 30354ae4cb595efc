package chunk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
)

// The progress of the scrub of a data folder is the text file "scrub" of three lines,
// each ended by a newline, at most 1024 bytes together:
//
//	distrifs scrub, format 1
//	{"began":"2026-01-02T03:04:05Z","after":4711,"finished":"2026-01-01T00:00:00Z","passes":3,"damaged":1}
//	crc32c 0123abcd
//
// The third line is the CRC-32C, in 8 hexadecimal digits, of the two lines before it
// with their newlines. The second is JSON with exactly these fields:
//
//	began     when the pass under way began, or the last one if none is
//	after     id of the chunk that was verified last; 0: no pass is under way
//	finished  when the last pass ended; year 1: none has
//	passes    that ended
//	damaged   replicas that were found damaged
//
// Nothing but time is lost with it: a file that cannot be understood counts as absent.
const (
	progressName  = "scrub"
	progressFirst = "distrifs scrub, format 1\n"
	progressLimit = 1024 // bytes
)

// progress of the scrub of a folder.
type progress struct {
	Began    time.Time     `json:"began"`
	After    proto.ChunkID `json:"after"`
	Finished time.Time     `json:"finished"`
	Passes   uint64        `json:"passes"`
	Damaged  uint64        `json:"damaged"`
}

func (p progress) encode() []byte {
	p.Began, p.Finished = p.Began.UTC().Truncate(time.Second), p.Finished.UTC().Truncate(time.Second)
	body, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("progress %+v: %v", p, err)) // fixed fields: cannot fail
	}
	text := fmt.Appendf(nil, "%s%s\n", progressFirst, body)
	return fmt.Appendf(text, "crc32c %08x\n", crc32.Checksum(text, castagnoli))
}

// decodeProgress reads what encode wrote. The error is of kind Damaged.
func decodeProgress(text []byte) (progress, error) {
	rest, ok := strings.CutPrefix(string(text), progressFirst)
	if !ok || len(text) > progressLimit {
		return progress{}, damaged("the first line is not %q", progressFirst)
	}
	body, last, _ := strings.Cut(rest, "\n")
	covered := text[:min(len(text), len(progressFirst)+len(body)+1)]
	if want := fmt.Sprintf("crc32c %08x\n", crc32.Checksum(covered, castagnoli)); last != want {
		return progress{}, damaged("the checksum does not match")
	}
	var p progress
	decoder := json.NewDecoder(bytes.NewReader([]byte(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		return progress{}, damaged("the second line: %v", err)
	}
	for _, at := range []time.Time{p.Began.UTC(), p.Finished.UTC()} {
		if at.Year() < 1 || at.Year() > 9000 {
			return progress{}, damaged("the year %d", at.Year())
		}
	}
	return p, nil
}

// loadProgress is zero where there is none. A beginning in the future is a clock's
// fault and counts as now.
func (f *folder) loadProgress() progress {
	text, err := disk.ReadFile(f.fs, filepath.Join(f.path, progressName), progressLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return progress{}
	}
	var p progress
	if err == nil {
		p, err = decodeProgress(text)
	}
	if err != nil {
		f.log.Warn("the progress of the scrub cannot be read: it begins anew", "error", err)
		return progress{}
	}
	if now := time.Now(); p.Began.After(now) {
		p.Began = now
	}
	return p
}

func (f *folder) saveProgress(p progress) error {
	return disk.ReplaceFile(f.fs, filepath.Join(f.path, progressName), p.encode(), 0o644)
}

// scrubbed takes note of how far the scrub is, for status.
func (f *folder) scrubbed(done, of int64, finished time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scrub = scrubNote{done, of, finished}
}

// scrubNote is what status tells of a scrub.
type scrubNote struct {
	done, of int64     // bytes of the pass
	finished time.Time // end of the last pass; zero: none has ended
}
