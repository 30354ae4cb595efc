package main

import (
	"context"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/distrifs/distrifs/client"
	"github.com/distrifs/distrifs/proto"
	"golang.org/x/sys/unix"
)

// info is what cp wants to know of a file, wherever it is.
type info struct {
	mode         uint32 // type and permission bits, as st_mode
	uid, gid     uint32
	size         int64 // bytes
	atime, mtime time.Time
	id           fileID
}

// fileID tells whether two paths are one file. Remote ones have the cluster's
// name for device.
type fileID struct {
	device string
	inode  uint64
}

func (i info) isDir() bool     { return i.mode&syscall.S_IFMT == syscall.S_IFDIR }
func (i info) isLink() bool    { return i.mode&syscall.S_IFMT == syscall.S_IFLNK }
func (i info) isRegular() bool { return i.mode&syscall.S_IFMT == syscall.S_IFREG }
func (i info) perm() uint32    { return i.mode & 0o7777 }

// place is a filesystem that cp copies from or to: this machine's, or a
// cluster's. Errors for names that are not there are fs.ErrNotExist.
type place interface {
	stat(ctx context.Context, name string, follow bool) (info, error)
	list(ctx context.Context, name string) ([]string, error)
	readLink(ctx context.Context, name string) (string, error)
	symlink(ctx context.Context, target, name string) error
	mkdir(ctx context.Context, name string, mode uint32) error
	remove(ctx context.Context, name string) error
	chmod(ctx context.Context, name string, mode uint32) error
	// preserve gives the name the owner (where permitted), mode and times of i.
	preserve(ctx context.Context, name string, i info) error
	join(dir, name string) string
	base(name string) string
}

// localPlace is this machine.
type localPlace struct{}

func (localPlace) stat(_ context.Context, name string, follow bool) (info, error) {
	var st unix.Stat_t
	call := unix.Lstat
	if follow {
		call = unix.Stat
	}
	if err := call(name, &st); err != nil {
		return info{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return info{
		mode: st.Mode, uid: st.Uid, gid: st.Gid, size: st.Size,
		atime: time.Unix(st.Atim.Unix()), mtime: time.Unix(st.Mtim.Unix()),
		id: fileID{device: strconv.FormatUint(st.Dev, 10), inode: st.Ino},
	}, nil
}

func (localPlace) list(_ context.Context, name string) ([]string, error) {
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, nil
}

func (localPlace) readLink(_ context.Context, name string) (string, error) { return os.Readlink(name) }
func (localPlace) symlink(_ context.Context, target, name string) error {
	return os.Symlink(target, name)
}
func (localPlace) mkdir(_ context.Context, name string, mode uint32) error {
	return pathError("mkdir", name, unix.Mkdir(name, mode))
}
func (localPlace) remove(_ context.Context, name string) error { return os.Remove(name) }
func (localPlace) chmod(_ context.Context, name string, mode uint32) error {
	return pathError("chmod", name, unix.Chmod(name, mode))
}
func (localPlace) join(dir, name string) string { return filepath.Join(dir, name) }
func (localPlace) base(name string) string      { return filepath.Base(name) }

func (p localPlace) preserve(ctx context.Context, name string, i info) error {
	if err := unix.Lchown(name, int(i.uid), int(i.gid)); err != nil && err != unix.EPERM {
		return pathError("chown", name, err)
	}
	if !i.isLink() {
		if err := p.chmod(ctx, name, i.perm()); err != nil {
			return err
		}
	}
	times := []unix.Timespec{timespec(i.atime), timespec(i.mtime)}
	return pathError("set the times of", name, unix.UtimesNanoAt(unix.AT_FDCWD, name, times, unix.AT_SYMLINK_NOFOLLOW))
}

func timespec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// remotePlace is a cluster.
type remotePlace struct {
	c    *client.Client
	cred client.Cred
}

func (p remotePlace) attr(ctx context.Context, name string, follow bool) (client.Attr, error) {
	if follow {
		return p.c.Stat(ctx, name)
	}
	return p.c.Lstat(ctx, name)
}

func (p remotePlace) stat(ctx context.Context, name string, follow bool) (info, error) {
	a, err := p.attr(ctx, name, follow)
	if err != nil {
		return info{}, remoteError(err)
	}
	return info{
		mode: a.Mode, uid: a.UID, gid: a.GID, size: int64(a.Size), atime: a.Atime, mtime: a.Mtime,
		id: fileID{device: p.c.Cluster().String(), inode: uint64(a.Inode)},
	}, nil
}

func (p remotePlace) list(ctx context.Context, name string) ([]string, error) {
	entries, err := p.c.List(ctx, name)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name
	}
	return names, nil
}

func (p remotePlace) readLink(ctx context.Context, name string) (string, error) {
	a, err := p.c.Lstat(ctx, name)
	if err != nil {
		return "", err
	}
	return p.c.ReadLink(ctx, a.Inode)
}

// parent is the directory that a name is to be made in.
func (p remotePlace) parent(ctx context.Context, name string) (client.Attr, error) {
	return p.c.Stat(ctx, path.Dir(name))
}

func (p remotePlace) symlink(ctx context.Context, target, name string) error {
	dir, err := p.parent(ctx, name)
	if err != nil {
		return err
	}
	_, err = p.c.Symlink(ctx, p.cred, dir.Inode, path.Base(name), target)
	return err
}

func (p remotePlace) mkdir(ctx context.Context, name string, mode uint32) error {
	dir, err := p.parent(ctx, name)
	if err != nil {
		return err
	}
	_, err = p.c.Mkdir(ctx, p.cred, dir.Inode, path.Base(name), mode)
	if proto.KindOf(err) == proto.Exists {
		return proto.E(proto.Exists, "mkdir", name, "")
	}
	return err
}

func (p remotePlace) remove(ctx context.Context, name string) error { return p.c.Remove(ctx, name) }

func (p remotePlace) chmod(ctx context.Context, name string, mode uint32) error {
	a, err := p.c.Stat(ctx, name)
	if err != nil {
		return err
	}
	_, err = p.c.SetAttr(ctx, p.cred, a.Inode, client.SetAttr{Mode: &mode})
	return err
}

func (p remotePlace) preserve(ctx context.Context, name string, i info) error {
	a, err := p.c.Lstat(ctx, name)
	if err != nil {
		return err
	}
	if a.UID != i.uid || a.GID != i.gid {
		_, err := p.c.SetAttr(ctx, p.cred, a.Inode, client.SetAttr{UID: &i.uid, GID: &i.gid})
		if err != nil && !isNotPermitted(err) {
			return err
		}
	}
	set := client.SetAttr{Atime: &client.TimeSet{Time: i.atime}, Mtime: &client.TimeSet{Time: i.mtime}}
	if perm := i.perm(); !i.isLink() {
		set.Mode = &perm
	}
	_, err = p.c.SetAttr(ctx, p.cred, a.Inode, set)
	return err
}

func (remotePlace) join(dir, name string) string { return path.Join(dir, name) }
func (remotePlace) base(name string) string      { return path.Base(name) }
