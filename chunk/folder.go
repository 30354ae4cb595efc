package chunk

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/google/uuid"

	"github.com/distrifs/distrifs/internal/disk"
	"github.com/distrifs/distrifs/proto"
	"github.com/distrifs/distrifs/proto/pb"
)

// A data folder holds:
//
//	superblock                       superblock.go
//	lock                             held while a process uses the folder
//	00/ ... ff/chunk-<uuid>          footer.go; in the folder of the chunk id's low byte
//	boot                             boot.go
//	tmp/                             replicas not whole yet; emptied at each start
//	scrub                            progress.go
//	probe                            probe.go
//	quarantine/chunk-<uuid>.<n>      what start found twice; for a person to judge
const (
	lockName      = "lock"
	tmpDir        = "tmp"
	quarantineDir = "quarantine"
	chunkPrefix   = "chunk-"
)

// minFree is the free space in bytes below which a folder takes no new replica.
const minFree = 1 << 20

// folder is one data folder in use.
type folder struct {
	fs   disk.FS
	path string
	log  *slog.Logger
	lock io.Closer

	intact      bool          // all that was written before the last stop is there, synced or not
	temporaries atomic.Uint64 // names given out in tmp/
	condition   atomic.Uint32 // a condition; set with mu held
	told        condition     // that the master was told; see tellConditions

	mu     sync.Mutex // protects all below
	sb     superblock // as on disk
	total  uint64     // bytes, at the last refresh
	free   uint64     // bytes, at the last refresh
	placed uint64     // bytes that replicas made since may come to need
	full   bool       // a write was refused for lack of space
	fault  error      // the disk failed: out of service for writes; nil: healthy
	pulse  pulse
	scrub  scrubNote

	absences int // looks in a row that did not find the superblock
}

// lockFolder takes the folder, which it makes if need be (L15).
func lockFolder(fsys disk.FS, path string, log *slog.Logger) (*folder, error) {
	f := &folder{fs: fsys, path: path, log: log.With("folder", path)}
	err := makeDurably(fsys, path)
	if err != nil {
		return nil, fmt.Errorf("open data folder: %w", err)
	}
	if f.lock, err = fsys.Lock(filepath.Join(path, lockName)); err != nil {
		return nil, fmt.Errorf("open data folder: %w", err)
	}
	return f, nil
}

// makeDurably makes a directory with its parents, so that a crash cannot take
// away those that are new.
func makeDurably(fsys disk.FS, path string) error {
	if _, err := fsys.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := makeDurably(fsys, parent); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return fsys.SyncDir(parent)
}

// load reads the superblock; found is false for a folder without one.
func (f *folder) load() (found bool, err error) {
	text, err := disk.ReadFile(f.fs, filepath.Join(f.path, superblockName), superblockLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return false, f.checkEmpty()
	}
	if err == nil {
		f.sb, err = decodeSuperblock(text)
	}
	if err != nil {
		return false, f.refuse(err)
	}
	return true, nil
}

// checkEmpty refuses a folder with things in it that are not ours. What a start
// that was interrupted before the superblock leaves behind is allowed, and so are notes
// without which nothing is lost.
func (f *folder) checkEmpty() error {
	entries, err := f.fs.ReadDir(f.path)
	if err != nil {
		return f.refuse(err)
	}
	for _, e := range entries {
		switch name := e.Name(); name {
		case lockName, superblockName + ".tmp", bootName, probeName, progressName, tmpDir, quarantineDir, "lost+found":
		default:
			if !isBucketDir(name) {
				return f.refuse(proto.E(proto.Invalid, "", "", fmt.Sprintf("it holds %q and no superblock: use an empty folder, or bring the superblock back", name)))
			}
			if inside, err := f.fs.ReadDir(filepath.Join(f.path, name)); err != nil || len(inside) > 0 {
				return f.refuse(damaged("it holds chunks and no superblock: bring the superblock back from another copy"))
			}
		}
	}
	return nil
}

// refuse puts the folder's name before the reason why it cannot be used.
func (f *folder) refuse(err error) error {
	return fmt.Errorf("open data folder %s: %w", f.path, err)
}

// format gives a new folder its superblock and subfolders, durably.
func (f *folder) format(instance uuid.UUID) error {
	f.sb = superblock{Instance: instance, Folder: uuid.New()}
	if err := f.makeDirs(); err != nil {
		return err
	}
	return f.saveSuperblock(f.sb)
}

func (f *folder) makeDirs() error {
	names := []string{tmpDir, quarantineDir}
	for b := range 256 {
		names = append(names, bucketDir(proto.ChunkID(b)))
	}
	there, err := f.fs.ReadDir(f.path)
	if err != nil {
		return f.refuse(err)
	}
	for _, e := range there {
		if i := slices.Index(names, e.Name()); i >= 0 && e.IsDir() {
			names = slices.Delete(names, i, i+1)
		}
	}
	for _, name := range names {
		if err := f.fs.MkdirAll(filepath.Join(f.path, name), 0o755); err != nil {
			return f.refuse(err)
		}
	}
	return f.fs.SyncDir(f.path)
}

// saveSuperblock makes sb durable. Needs mu, or that nobody else has the folder.
func (f *folder) saveSuperblock(sb superblock) error {
	if err := disk.ReplaceFile(f.fs, filepath.Join(f.path, superblockName), sb.encode(), 0o644); err != nil {
		return fmt.Errorf("write superblock of data folder %s: %w", f.path, err)
	}
	f.sb = sb
	return nil
}

// updateSuperblock changes the superblock durably.
func (f *folder) updateSuperblock(change func(*superblock)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	sb := f.sb
	change(&sb)
	if sb == f.sb {
		return nil
	}
	return f.saveSuperblock(sb)
}

func bucketDir(id proto.ChunkID) string { return hex.EncodeToString([]byte{uint8(id)}) }

func isBucketDir(name string) bool {
	var b uint8
	_, err := fmt.Sscanf(name, "%02x", &b)
	return err == nil && name == bucketDir(proto.ChunkID(b))
}

func (f *folder) dirOf(id proto.ChunkID) string { return filepath.Join(f.path, bucketDir(id)) }

func (f *folder) chunkPath(id proto.ChunkID, name uuid.UUID) string {
	return filepath.Join(f.dirOf(id), chunkPrefix+name.String())
}

func (f *folder) tmpPath(name uuid.UUID) string {
	return filepath.Join(f.path, tmpDir, fmt.Sprintf("%s%s.%d", chunkPrefix, name, f.temporaries.Add(1)))
}

// failed takes note of an error of the disk, of doing op to subject, and gives it its kind:
// NoSpace, or IO, which puts the folder out of service for writes.
func (f *folder) failed(op, subject string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		f.mu.Lock()
		f.full = true
		f.mu.Unlock()
		return &proto.Error{Kind: proto.NoSpace, Op: op, Subject: subject, Detail: "delete files or add data folders", Err: err}
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) { // not the disk's fault
		return &proto.Error{Kind: proto.Unavailable, Op: op, Subject: subject, Detail: "raise the limit of open files", Err: err}
	}
	failure := &proto.Error{Kind: proto.IO, Op: op, Subject: subject, Err: err}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault == nil {
		f.fault = failure
		f.judge()
		f.log.Error("disk failed: folder is out of service for writes", "error", failure)
	}
	return failure
}

// writable is nil, or why the folder takes no writes.
func (f *folder) writable() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault != nil {
		return &proto.Error{Kind: proto.IO, Op: "write to", Subject: f.path, Detail: "out of service since", Err: f.fault}
	}
	return nil
}

func (f *folder) isFull() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.full
}

// refresh asks the disk for its free space.
func (f *folder) refresh() {
	total, free, err := f.fs.Usage(f.path)
	if err != nil {
		_ = f.failed("ask for free space", f.path, err) // noted in f.fault, which status reports
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total, f.free, f.placed = total, free, 0
	if free >= minFree {
		f.full = false
	}
}

// room ranks the folder for new replicas: bytes, 0 where none may be placed.
func (f *folder) room() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault != nil || f.full || f.free < minFree {
		return 0
	}
	return max(1, f.free-min(f.free, f.placed)) // what was placed seldom fills its room
}

// place counts a new replica of at most n bytes until the next refresh.
func (f *folder) place(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.placed += uint64(n)
}

func (f *folder) status() *pb.DiskStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := &pb.DiskStatus{
		Path: f.path, TotalBytes: f.total, FreeBytes: f.free, ScrubDone: uint64(f.scrub.done), ScrubBytes: uint64(f.scrub.of),
		LatencyUs: uint64(f.pulse.median().Microseconds()), Sick: !f.is(healthy),
	}
	if !f.scrub.finished.IsZero() {
		st.ScrubFinished = f.scrub.finished.Unix()
	}
	switch {
	case f.fault != nil:
		st.Fault, st.FreeBytes = f.fault.Error(), 0
	case f.pulse.slow:
		st.Fault, st.FreeBytes = f.pulse.reason(), 0
	case f.full:
		st.Fault, st.FreeBytes = "full", 0
	}
	return st
}
