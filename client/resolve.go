package client

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/distrifs/distrifs/proto"
)

// maxSymlinks is how many symlinks one path may lead through, as in Linux.
const maxSymlinks = 40

func clean(name string) string { return path.Clean("/" + name) }

// components splits a path; "." and empty ones are left out.
func components(name string) []string {
	return slices.DeleteFunc(strings.Split(name, "/"), func(s string) bool { return s == "" || s == "." })
}

// place is where a path leads. Parent is 0 when the path ends in a directory
// by way of "/" or "..".
type place struct {
	parent proto.InodeID
	name   string
	attr   Attr
	exists bool
}

// resolve follows a path from the root of the client. The last component need
// not exist; if it is a symlink, it is followed on request. ".." goes to the
// parent of the directory reached, not of the text.
func (c *Client) resolve(ctx context.Context, name string, follow bool) (place, error) {
	parts := components(name)
	dirs := []proto.InodeID{c.root}
	links := 0
	for len(parts) > 0 {
		part, dir := parts[0], dirs[len(dirs)-1]
		parts = parts[1:]
		if part == ".." {
			dirs = dirs[:max(len(dirs)-1, 1)]
			continue
		}
		lookup := c.Find
		if len(parts) == 0 {
			lookup = c.Lookup
		}
		attr, err := lookup(ctx, c.cred, dir, part)
		if proto.KindOf(err) == proto.NotFound && len(parts) == 0 {
			return place{parent: dir, name: part}, nil
		}
		if err != nil {
			return place{}, err
		}
		if attr.isSymlink() && (follow || len(parts) > 0) {
			if links++; links > maxSymlinks {
				return place{}, proto.Loop
			}
			target, err := c.ReadLink(ctx, attr.Inode)
			if err != nil {
				return place{}, err
			}
			if strings.HasPrefix(target, "/") {
				dirs = dirs[:1]
			}
			parts = append(components(target), parts...)
			continue
		}
		if len(parts) == 0 {
			return place{parent: dir, name: part, attr: attr, exists: true}, nil
		}
		if !attr.isDir() {
			return place{}, proto.NotDir
		}
		dirs = append(dirs, attr.Inode)
	}
	attr, err := c.GetAttr(ctx, dirs[len(dirs)-1])
	return place{attr: attr, exists: err == nil}, err
}

// find is resolve for what must exist.
func (c *Client) find(ctx context.Context, op, name string, follow bool) (place, error) {
	at, err := c.resolve(ctx, name, follow)
	if err == nil && !at.exists {
		err = proto.NotFound
	}
	return at, pathError(op, name, err)
}

// pathError says which path a call was about. What an application expects
// (NotFound and the like) needs no more words.
func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	wrapped := &proto.Error{Kind: proto.KindOf(err), Op: op, Subject: name}
	var e *proto.Error
	if wrapped.Kind <= proto.Stale && errors.As(err, &e) {
		wrapped.Detail = e.Detail
	} else if wrapped.Kind > proto.Stale {
		wrapped.Err = err
	}
	return wrapped
}
