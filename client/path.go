package client

import (
	"context"

	"github.com/distrifs/distrifs/proto"
)

// WalkFunc is called by Walk for every file, parents before children. An error
// of SkipDir for a directory leaves its entries out; any other ends the walk.
type WalkFunc func(path string, attr Attr, err error) error

// SkipDir is what a WalkFunc answers to leave a directory out.
var SkipDir = proto.E(proto.Invalid, "walk", "", "skip this directory")

// Open opens a file for reading.
func (c *Client) Open(ctx context.Context, name string) (*File, error) {
	return nil, proto.NotSupported
}

// Create makes or truncates a file and opens it for reading and writing, mode 0666.
func (c *Client) Create(ctx context.Context, name string) (*File, error) {
	return nil, proto.NotSupported
}

// OpenFile opens a file with flags of open(2); mode is for O_CREAT.
func (c *Client) OpenFile(ctx context.Context, name string, flags int, mode uint32) (*File, error) {
	return nil, proto.NotSupported
}

// Stat follows symlinks.
func (c *Client) Stat(ctx context.Context, name string) (Attr, error) {
	return Attr{}, proto.NotSupported
}

// Lstat does not follow a symlink at the end of the path.
func (c *Client) Lstat(ctx context.Context, name string) (Attr, error) {
	return Attr{}, proto.NotSupported
}

// List returns all entries of a directory with their attributes, by name.
func (c *Client) List(ctx context.Context, name string) ([]DirEntry, error) {
	return nil, proto.NotSupported
}

// MkdirAll makes a directory and its missing parents.
func (c *Client) MkdirAll(ctx context.Context, name string, mode uint32) error {
	return proto.NotSupported
}

// Remove removes a file or an empty directory.
func (c *Client) Remove(ctx context.Context, name string) error { return proto.NotSupported }

// RemoveAll removes a path and all below it; what is not there is no error.
func (c *Client) RemoveAll(ctx context.Context, name string) error { return proto.NotSupported }

// RenamePath moves a file or directory, replacing what has the new name.
func (c *Client) RenamePath(ctx context.Context, from, to string) error { return proto.NotSupported }

// Walk visits a file tree in order of names without following symlinks.
func (c *Client) Walk(ctx context.Context, name string, fn WalkFunc) error {
	return proto.NotSupported
}

