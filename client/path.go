package client

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/distrifs/distrifs/proto"
)

// WalkFunc is called by Walk for every file, a directory before its entries. An
// error of SkipDir leaves the entries of a directory out, or those behind a file
// in its directory; any other ends the walk. err tells that a directory could not
// be listed.
type WalkFunc func(path string, attr Attr, err error) error

// SkipDir is what a WalkFunc answers to leave entries out.
var SkipDir = fs.SkipDir

// Open opens a file for reading.
func (c *Client) Open(ctx context.Context, name string) (*File, error) {
	return c.OpenFile(ctx, name, unix.O_RDONLY, 0)
}

// Create makes or truncates a file and opens it for reading and writing, mode 0666.
func (c *Client) Create(ctx context.Context, name string) (*File, error) {
	return c.OpenFile(ctx, name, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC, 0o666)
}

// OpenFile opens a file with flags of open(2); mode is for O_CREAT.
func (c *Client) OpenFile(ctx context.Context, name string, flags int, mode uint32) (*File, error) {
	exclusive := flags&unix.O_CREAT != 0 && flags&unix.O_EXCL != 0
	at, err := c.resolve(ctx, name, !exclusive && flags&unix.O_NOFOLLOW == 0)
	switch {
	case err != nil:
	case !at.exists && flags&unix.O_CREAT == 0:
		err = proto.NotFound
	case at.exists && exclusive:
		err = proto.Exists
	case at.exists && at.attr.isDir():
		err = proto.IsDir
	case at.exists && at.attr.isSymlink():
		err = proto.Loop
	}
	var f *File
	if err == nil {
		if at.exists {
			f, err = c.OpenInode(ctx, c.cred, at.attr.Inode, uint32(flags))
		} else {
			f, err = c.CreateInode(ctx, c.cred, at.parent, at.name, mode, uint32(flags))
		}
	}
	return f, pathError("open", name, err)
}

// Stat follows symlinks.
func (c *Client) Stat(ctx context.Context, name string) (Attr, error) {
	at, err := c.find(ctx, "stat", name, true)
	return at.attr, err
}

// Lstat does not follow a symlink at the end of the path.
func (c *Client) Lstat(ctx context.Context, name string) (Attr, error) {
	at, err := c.find(ctx, "stat", name, false)
	return at.attr, err
}

// List returns all entries of a directory with their attributes, by name.
func (c *Client) List(ctx context.Context, name string) ([]DirEntry, error) {
	at, err := c.find(ctx, "list", name, true)
	if err != nil {
		return nil, err
	}
	if !at.attr.isDir() {
		return nil, proto.E(proto.NotDir, "list", name, "")
	}
	entries, err := c.listInode(ctx, at.attr.Inode)
	return entries, pathError("list", name, err)
}

func (c *Client) listInode(ctx context.Context, ino proto.InodeID) ([]DirEntry, error) {
	var entries []DirEntry
	cookie := uint64(0)
	for {
		page, err := c.ReadDir(ctx, c.cred, ino, cookie, true)
		if err != nil {
			return nil, err
		}
		entries = append(entries, page.Entries...)
		if page.End || len(page.Entries) == 0 {
			break
		}
		cookie = page.Entries[len(page.Entries)-1].Cookie
	}
	slices.SortFunc(entries, func(a, b DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// MkdirAll makes a directory and its missing parents.
func (c *Client) MkdirAll(ctx context.Context, name string, mode uint32) error {
	at, err := c.resolve(ctx, name, true)
	if proto.KindOf(err) == proto.NotFound && clean(name) != "/" {
		if err := c.MkdirAll(ctx, path.Dir(clean(name)), mode); err != nil {
			return err
		}
		at, err = c.resolve(ctx, name, true)
	}
	switch {
	case err != nil:
	case at.exists && !at.attr.isDir():
		err = proto.NotDir
	case !at.exists:
		_, err = c.Mkdir(ctx, c.cred, at.parent, at.name, mode)
		if proto.KindOf(err) == proto.Exists {
			return c.MkdirAll(ctx, name, mode) // somebody else was faster
		}
	}
	return pathError("mkdir", name, err)
}

// Remove removes a file or an empty directory.
func (c *Client) Remove(ctx context.Context, name string) error {
	at, err := c.find(ctx, "remove", name, false)
	if err != nil {
		return err
	}
	return pathError("remove", name, c.removeAt(ctx, at))
}

func (c *Client) removeAt(ctx context.Context, at place) error {
	switch {
	case at.parent == 0:
		return proto.Busy
	case at.attr.isDir():
		return c.Rmdir(ctx, c.cred, at.parent, at.name)
	}
	return c.Unlink(ctx, c.cred, at.parent, at.name)
}

// RemoveAll removes a path and all below it; what is not there is no error.
func (c *Client) RemoveAll(ctx context.Context, name string) error {
	at, err := c.resolve(ctx, name, false)
	if proto.KindOf(err) == proto.NotFound || err == nil && !at.exists {
		return nil
	}
	if err == nil {
		err = c.removeTree(ctx, at)
	}
	return pathError("remove", name, err)
}

func (c *Client) removeTree(ctx context.Context, at place) error {
	for at.attr.isDir() {
		entries, err := c.listInode(ctx, at.attr.Inode)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			below := place{parent: at.attr.Inode, name: entry.Name, attr: Attr{Inode: entry.Inode, Mode: entry.Type}, exists: true}
			if err := c.removeTree(ctx, below); err != nil && proto.KindOf(err) != proto.NotFound {
				return err
			}
		}
		err = c.removeAt(ctx, at)
		if proto.KindOf(err) == proto.NotEmpty && len(entries) > 0 {
			continue // somebody else made more
		}
		return err
	}
	return c.removeAt(ctx, at)
}

// RenamePath moves a file or directory, replacing what has the new name.
func (c *Client) RenamePath(ctx context.Context, from, to string) error {
	src, err := c.find(ctx, "rename", from, false)
	if err != nil {
		return err
	}
	dst, err := c.resolve(ctx, to, false)
	if err == nil && (src.parent == 0 || dst.parent == 0) {
		err = proto.Busy
	}
	if err != nil {
		return pathError("rename", to, err)
	}
	return pathError("rename", from+" to "+to, c.Rename(ctx, c.cred, src.parent, src.name, dst.parent, dst.name, 0))
}

// Walk visits a file tree in order of names without following symlinks.
func (c *Client) Walk(ctx context.Context, name string, fn WalkFunc) error {
	at, err := c.find(ctx, "walk", name, false)
	if err != nil {
		return err
	}
	if err := c.walk(ctx, name, at.attr, fn); !errors.Is(err, SkipDir) {
		return err
	}
	return nil
}

func (c *Client) walk(ctx context.Context, name string, attr Attr, fn WalkFunc) error {
	if err := fn(name, attr, nil); err != nil || !attr.isDir() {
		return err
	}
	entries, err := c.listInode(ctx, attr.Inode)
	if err != nil {
		return fn(name, attr, pathError("list", name, err))
	}
	for _, entry := range entries {
		below := Attr{Inode: entry.Inode, Mode: entry.Type}
		if entry.Attr != nil {
			below = *entry.Attr
		}
		err := c.walk(ctx, path.Join(name, entry.Name), below, fn)
		if errors.Is(err, SkipDir) && below.isDir() {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}
