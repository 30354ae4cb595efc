package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// FS is a filesystem. Every method may be called from any goroutine.
type FS interface {
	// OpenFile opens a file. flag is made of os.O_RDONLY or os.O_RDWR and of
	// os.O_CREATE, os.O_EXCL and os.O_TRUNC.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)

	Mkdir(name string, perm fs.FileMode) error
	MkdirAll(name string, perm fs.FileMode) error // nil when it is there already
	Remove(name string) error                     // a file, or an empty directory
	Rename(from, to string) error                 // atomic; replaces a file

	ReadDir(name string) ([]fs.DirEntry, error) // in order of names
	Stat(name string) (fs.FileInfo, error)

	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error

	// Lock takes the exclusive lock on the file of that name, which it makes if
	// need be and leaves there, until the Closer is closed or the process ends.
	// It does not wait: when another holds it the error is a *proto.Error of
	// kind InUse which names the holder's pid.
	Lock(name string) (io.Closer, error)

	// Usage gives the size of the filesystem that holds dir, and what an
	// unprivileged user may still write there, in bytes.
	Usage(dir string) (total, free uint64, err error)
}

// File is an open file. Every method may be called from any goroutine.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer

	// Sync makes the bytes and the size durable (fdatasync). After an error
	// nothing is known of what was written since the last success, and a later
	// success says nothing about it (L9).
	Sync() error

	// WriteSynced is WriteAt of bytes that are durable when it returns nil. What else was
	// written need not be. An error is like one of Sync.
	WriteSynced(p []byte, off int64) error

	Truncate(size int64) error
	Size() (int64, error)

	// Allocate reserves space for n bytes at off, which read as zero where
	// nothing was written, and makes the file at least off+n bytes long.
	Allocate(off, n int64) error

	// PunchHole gives the space of n bytes at off back: they read as zero. The
	// size stays.
	PunchHole(off, n int64) error

	Name() string // as given to OpenFile
}

// ReadFile reads a whole file of at most limit bytes.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%d bytes, more than the %d expected: %w", size, limit, syscall.EFBIG)}
	}
	data := make([]byte, size)
	if n, err := f.ReadAt(data, 0); n < len(data) {
		return nil, fmt.Errorf("read %s: %d of %d bytes: %w", name, n, size, err)
	}
	return data, nil
}

// ReplaceFile writes a file so that after a crash at any moment there is the old
// one or the new one, whole; when it returns nil the new one is durable. It uses
// name+".tmp", which an interrupted call may leave behind.
func ReplaceFile(fsys FS, name string, data []byte, perm fs.FileMode) error {
	temporary := name + ".tmp"
	if err := writeSynced(fsys, temporary, data, perm); err != nil {
		return errors.Join(err, ignoreAbsent(fsys.Remove(temporary)))
	}
	if err := fsys.Rename(temporary, name); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

func writeSynced(fsys FS, name string, data []byte, perm fs.FileMode) error {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(data, 0); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
